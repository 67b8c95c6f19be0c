/** A week without a hub: what waits for it has to fit, and to tell afterwards what happened. */
import {
  AuditRecordSchema,
  DecisionRecordSchema,
  IncidentSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import {
  type Record as LinkRecord,
  type Reading,
  ReadingBatchSchema,
  ReadingSchema,
  RecordSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { beforeEach, expect, test } from "vitest";
import { FakeMachine } from "../../test/support/fake-process.ts";
import { FakeRemedies } from "../../test/support/fake-remedies.ts";
import { MemoryAgentStore, MemoryDisk } from "../../test/support/memory-agent-store.ts";
import { MemoryDatabase, MemoryFile } from "../../test/support/memory-database.ts";
import { specOf } from "../../test/support/spec.ts";
import { superviseAll } from "../supervise/supervisor.driver.ts";
import { keeps } from "./agent-store.ts";
import { DurableOutbox } from "./outbox.ts";
import type { StepWrite } from "./ports.ts";
import { type Part, writeParts } from "./rows.ts";

const dayMs = 86_400_000;
const startWallMs = Date.UTC(2026, 10, 26);

let file: MemoryFile;
let outbox: DurableOutbox;
let wall = startWallMs;
beforeEach(async () => {
  file = new MemoryFile();
  wall = startWallMs;
  await open();
});

/** The agent's outbox over a disk in memory: what is looked at is what it keeps, and not the pace of a disk. */
async function open(): Promise<void> {
  const database: MemoryDatabase = new MemoryDatabase(file, () => outbox.synced());
  outbox = new DurableOutbox(database, { wallMs: () => wall }, keeps.outbox);
  await outbox.load();
  write = (make) => writeParts(database, false, make);
}
let write: (make: () => readonly Part[]) => Promise<void>;

const encoded = new Map<number, Uint8Array>();
/** The n-th look; they come again and again, because encoding them is no matter here. */
const readings = (n: number) => {
  const bytes =
    encoded.get(n % 50) ?? toBinary(ReadingBatchSchema, create(ReadingBatchSchema, { readings: look(n % 50) }));
  encoded.set(n % 50, bytes);
  return write(() => [outbox.stage({ kind: "r", bytes })]);
};
/** As the agent's store puts a step into its outbox. */
const step = ({ decision, incident, audit = [] }: StepWrite) =>
  write(() => [
    ...(decision ? [outbox.stage({ kind: "d", bytes: toBinary(DecisionRecordSchema, decision) })] : []),
    ...(incident ? outbox.stageIncident(incident.id, toBinary(IncidentSchema, incident)) : []),
    ...audit.map((record) => outbox.stage({ kind: "a", bytes: toBinary(AuditRecordSchema, record) })),
  ]);

const ofNode = [
  "cpu_busy_ratio",
  "load_1m_ratio",
  "memory_used_bytes",
  "memory_total_bytes",
  "swap_used_bytes",
  "disk_used_bytes",
];
const more = [
  "disk_free_bytes",
  "network_received_bytes_per_second",
  "network_sent_bytes_per_second",
  "network_up_ratio",
];
const ofWorkload = ["process_cpu_ratio", "process_memory_bytes", "error_lines_per_minute", "progress_age_ms", "trust"];
/** What a node with five workloads keeps of one look. */
function look(n: number): Reading[] {
  const node = [...ofNode, ...more].map((sensor) => create(ReadingSchema, { sensor, value: n * 1.1 }));
  const of = (w: number) =>
    ofWorkload.map((sensor) => create(ReadingSchema, { sensor, subject: `workload/service-${w}`, value: n + w * 0.7 }));
  return [...node, ...[1, 2, 3, 4, 5].flatMap(of)];
}

/** What the supervisor itself writes down of one crash and its recovery. */
async function crash(): Promise<StepWrite[]> {
  const virtual = new VirtualClock(1_000_000);
  const machine = new FakeMachine();
  const port = machine.attach();
  const specs = [specOf({ name: "service-1" })];
  const writes: StepWrite[] = [];
  const kept = new MemoryAgentStore(new MemoryDisk(), () => undefined);
  const supervisor = await superviseAll({
    nodeId: "n1",
    site: "s",
    bootId: "b",
    specs,
    store: {
      workloads: () => kept.workloads(),
      forgetWorkload: (name) => kept.forgetWorkload(name),
      saveStep: async (write) => void writes.push(write),
    },
    processes: port,
    signs: { watch: () => undefined, unwatch: () => undefined },
    remedies: new FakeRemedies(specs),
    clock: virtual,
    random: seeded(1),
    envFor: () => ({}),
    changed: () => undefined,
    log: () => undefined,
  });
  const settle = async () => {
    for (let n = 0; n < 6; n++) await new Promise((resolve) => setImmediate(resolve));
  };
  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 1000) {
      virtual.advance(1000);
      await settle();
    }
  };
  await supervisor.boot();
  await pass(60_000);
  writes.length = 0;
  const [one] = machine.alive("service-1");
  if (one) port.end(one, 1, null);
  await pass(300_000);
  supervisor.close();
  return writes;
}

/** The same crash another time: an incident of its own. */
const again = (writes: readonly StepWrite[], n: number): StepWrite[] =>
  writes.map((write) => ({
    ...write,
    ...(write.incident && { incident: { ...write.incident, id: `incident-${n}` } }),
  }));

async function drained(): Promise<{ records: LinkRecord[]; bytes: number }> {
  const records: LinkRecord[] = [];
  let bytes = 0;
  for (let through = 0n; ; ) {
    const found = await outbox.read(through, 500, 1e9);
    if (found.length === 0) return { records, bytes };
    for (const one of found) {
      bytes += one.bytes.byteLength;
      records.push(fromBinary(RecordSchema, one.bytes));
    }
    through = found.at(-1)?.seq ?? 0n;
    await outbox.acknowledge(through);
  }
}

async function live(ms: number, everyMs: number, crashes: number): Promise<void> {
  const writes = await crash();
  let crashed = 0;
  for (let n = 0; n * everyMs < ms; n++) {
    wall = startWallMs + n * everyMs;
    await readings(n);
    for (; crashed < (crashes * n * everyMs) / ms; crashed++) {
      for (const one of again(writes, crashed)) await step(one);
    }
    if (n % Math.round(3_600_000 / everyMs) === 0) {
      const audit = [create(AuditRecordSchema, { id: `${n}`, action: "trigger.cpu_spike", because: "hourly" })];
      await step({ workload: "", audit });
    }
  }
  await outbox.read(0n, 0, 0); // takes its turn behind what is being rolled up
}

test("PHX-11 GRC-7 a week without a hub at the default rates, with ten crashes of each of five workloads a day, fits: nothing is dropped", async () => {
  await live(7 * dayMs, 60_000, 350);
  const waits = Number(outbox.depth());
  const { records, bytes } = await drained();
  const by = Map.groupBy(records, ({ kind }) => kind.case);
  const count = (kind: LinkRecord["kind"]["case"]) => by.get(kind)?.length ?? 0;
  console.log(
    `a week offline: ${waits} of ${keeps.outbox.records} records, ${bytes} of ${keeps.outbox.bytes} bytes when unpacked; ` +
      `${count("readings")} of readings, ${count("decision")} decisions, ${count("audit")} audit, ${count("incident")} incidents`,
  );
  expect(waits).toBeLessThan(keeps.outbox.records / 4);
  expect(bytes).toBeLessThan(keeps.outbox.bytes);
  expect([count("dropped"), count("incident"), count("audit")]).toEqual([0, 350, 168 + 350 * 2]);
  // The whole week is told: no stretch of more than a quarter of an hour is without a figure.
  const told = (by.get("readings") ?? []).map(({ at, kind }) => {
    const toMs = at ? timestampMs(at) : 0;
    const span = kind.case === "readings" && kind.value.span ? durationMs(kind.value.span) : 0;
    return { fromMs: toMs - span, toMs };
  });
  let endMs = startWallMs;
  for (const { fromMs, toMs } of told) {
    expect(fromMs - endMs).toBeLessThanOrEqual(900_000);
    endMs = toMs;
  }
  expect(endMs).toBe(startWallMs + 7 * dayMs - 60_000);
  const values = (by.get("readings") ?? []).flatMap(({ kind }) =>
    kind.case === "readings" ? kind.value.readings : [],
  );
  const cpu = values.filter(({ sensor }) => sensor === "cpu_busy_ratio");
  expect(cpu.reduce((sum, { count }) => sum + Math.max(1, count), 0)).toBe(7 * 1440);
  for (const { value, lowest = value, highest = value } of cpu) {
    expect(lowest).toBeLessThanOrEqual(value);
    expect(highest).toBeGreaterThanOrEqual(value);
  }
});

/** `DAYS=7 npx vitest run agent/store/outbox-week.test.ts` for the whole week; most of it is decoding. */
const days = Number(process.env.DAYS ?? 0.25);

test("readings every 5 s, the fastest a config allows, fit as well", async () => {
  await live(days * dayMs, 5000, 5 * days);
  const waits = Number(outbox.depth());
  const { records, bytes } = await drained();
  console.log(`${days} days with readings every 5 s: ${waits} records, ${bytes} bytes when unpacked`);
  expect(records.filter(({ kind }) => kind.case === "dropped")).toEqual([]);
  expect(waits).toBeLessThan(keeps.outbox.records / 10);
  expect(bytes).toBeLessThan(keeps.outbox.bytes / 4);
});

test("what the hub may have seen is not rolled up, by the next agent neither", async () => {
  for (let n = 0; n < 100; n++) await readings(n);
  const sent = await outbox.read(0n, 1000, 1e9);
  await open();
  for (let n = 0; n < 2000; n++) {
    wall += 5000;
    await readings(n);
  }
  const now = new Map((await outbox.read(0n, 100_000, 1e9)).map(({ seq, bytes }) => [seq, bytes]));
  for (const { seq, bytes } of sent) expect(now.get(seq)).toEqual(bytes);
  expect(now.size).toBeLessThan(1700); // and the others are
});
