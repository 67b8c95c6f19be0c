// What a disk did not take, and gets once it is well: on virtual time, and on a small disk that is really full.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import {
  AuditRecordSchema,
  DecisionRecordSchema,
  IncidentSchema,
  IncidentState,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { RecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { create, fromBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { canMount, type SmallDisk, smallDisk } from "../../test/contract/small-disk.ts";
import { RefusingDisk } from "../../test/support/refusing-disk.ts";
import { openAgentStore } from "./agent-store.ts";
import { Arrears } from "./arrears.ts";
import { Unmirrored } from "./deferred-mirror.ts";
import type { AgentStore, StepWrite } from "./ports.ts";

const random = seeded(1);
const clock = new VirtualClock(1_000_000);
const owedBy = (store: Pick<AgentStore, "saveStep">) =>
  new Arrears({ nodeId: "n1", store, clock, random, log: () => undefined });
const incident = (id: string, revision: number, state: IncidentState) =>
  create(IncidentSchema, { id, revision: BigInt(revision), state });
const record = (id: string) => create(AuditRecordSchema, { id, action: "test.act" });
const { OPEN, PROBATION, CLOSED } = IncidentState;

async function pass(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 50) {
    clock.advance(50);
    for (let n = 0; n < 4; n++) await new Promise((resolve) => setImmediate(resolve));
  }
}
/** Writes one step, and says whether it was taken. */
const taken = (arrears: Arrears, write: StepWrite) =>
  arrears.saveStep(write, "batched").then(
    () => true,
    () => false,
  );

test("PHX-11 SYN-10 audit records that a full disk refused were dropped without a word", async () => {
  const disk = new RefusingDisk();
  const arrears = owedBy(disk);
  disk.refuses = true;
  for (const id of ["a", "b", "c"]) await arrears.audit(record(id));
  await pass(5000);
  disk.refuses = false;
  await pass(1000);
  expect(disk.holes()).toMatchObject([{ missing: { decisions: 0, audit: 3, incidents: 0 } }]);
  const asked = disk.asked;
  await pass(10_000);
  expect(disk.asked).toBe(asked);
});

test("SYN-10 more audit records than a silent disk may hold are counted, and named once, when it answers", async () => {
  const disk = new RefusingDisk();
  const arrears = owedBy(disk);
  disk.silent = true;
  for (let n = 0; n < 1010; n++) void arrears.audit(record(`${n}`));
  expect(disk.asked).toBe(1000);
  await pass(5000);
  disk.answer();
  await pass(3000);
  expect(disk.holes()).toMatchObject([{ missing: { audit: 10 } }]);
});

test("an older revision of an incident never overwrites a newer one, whatever of them was refused", async () => {
  const disk = new RefusingDisk();
  const arrears = owedBy(disk);
  disk.refuses = true;
  expect(await taken(arrears, { workload: "w", state: 1, incident: incident("i", 1, OPEN) })).toBe(false);
  disk.refuses = false;
  disk.silent = true;
  const second = taken(arrears, { workload: "w", state: 2, incident: incident("i", 2, CLOSED) });
  await pass(3000);
  disk.answer();
  expect(await second).toBe(true);
  await pass(3000);
  expect(disk.revisions().map(({ revision }) => revision)).toEqual([2n]);
  expect(disk.writes.map(({ state }) => state)).toEqual([2]);
});

test("what is owed goes with the next write of its workload, and with no other's", async () => {
  const disk = new RefusingDisk();
  const arrears = owedBy(disk);
  disk.refuses = true;
  await taken(arrears, { workload: "w", state: "old", incident: incident("i", 3, CLOSED) });
  disk.refuses = false;
  await taken(arrears, { workload: "other", state: 1 });
  await taken(arrears, { workload: "w", state: "new", incident: incident("j", 1, OPEN) });
  const ids = disk.writes.map(({ incident: own, others = [] }) =>
    [...others, ...(own ? [own] : [])].map(({ id }) => id),
  );
  expect(ids).toEqual([[], ["i", "j"]]);
  await pass(3000);
  expect(disk.writes).toHaveLength(2);
});

test("of incidents that began and ended while the disk refused 200 are kept, the rest is counted, and what is open in the store is closed", async () => {
  const disk = new RefusingDisk();
  const arrears = owedBy(disk);
  await taken(arrears, { workload: "w", incident: incident("open", 1, PROBATION) });
  disk.refuses = true;
  await taken(arrears, { workload: "w", incident: incident("open", 2, CLOSED) });
  for (let n = 0; n < 250; n++) await taken(arrears, { workload: "w", incident: incident(`i${n}`, 1, CLOSED) });
  disk.refuses = false;
  await pass(2000);
  expect(disk.open()).toEqual([]);
  expect(new Set(disk.revisions().map(({ id }) => id)).size).toBe(201);
  expect(disk.holes()).toMatchObject([{ missing: { incidents: 50 } }]);
});

test("what lies beside the store and lags behind repeats neither an incident nor a record of the audit", async () => {
  const disk = new RefusingDisk();
  let lags = true;
  const arrears = owedBy({
    async saveStep(write) {
      await disk.saveStep(write);
      if (lags) throw new Unmirrored("STORE_WRITE_FAILED", "the mirror cannot be written");
    },
  });
  const audit = [record("a")];
  expect(await taken(arrears, { workload: "w", state: 1, incident: incident("i", 1, OPEN), audit })).toBe(false);
  await pass(3000);
  lags = false;
  await pass(3000);
  expect(disk.writes.length).toBeGreaterThan(3); // its state, each second, until the mirror has it
  expect(disk.revisions()).toHaveLength(1);
  expect(disk.writes.flatMap(({ audit: said = [] }) => said).map(({ id }) => id)).toEqual(["a"]);
});

test("GRC-8 alerts that were told while the disk refused are crossed off once it takes it, one write at a time", async () => {
  const disk = new RefusingDisk();
  const arrears = owedBy(disk);
  disk.silent = true;
  for (let n = 100; n >= 0; n--) void arrears.untold(Array.from({ length: n }));
  await pass(100);
  expect(disk.asked).toBe(1);
  disk.refuses = true;
  disk.answer();
  await pass(100);
  disk.refuses = false;
  await pass(2000);
  expect(disk.writes.at(-1)?.untold).toEqual([]);
});

test("a revision that had landed although it was refused is not written a second time, and no older one behind it", async () => {
  const dir = mkdtempSync(join(tmpdir(), "bf-arrears-"));
  const store = await openAgentStore(dir, { clock: realClock(), random, nodeId: "n1", bootId: "b" });
  try {
    await store.saveStep({ workload: "w", incident: incident("open", 2, PROBATION) }, "synced");
    await store.saveStep({ workload: "w", incident: incident("ended", 3, CLOSED) }, "synced");
    const depth = store.outbox.depth();
    const again = [incident("open", 2, PROBATION), incident("open", 1, OPEN), incident("ended", 2, PROBATION)];
    for (const one of again) await store.saveStep({ workload: "w", others: [one] }, "synced");
    expect(store.outbox.depth()).toBe(depth);
    await store.saveStep({ workload: "w", others: [incident("open", 3, CLOSED), incident("new", 1, OPEN)] }, "synced");
    expect((await store.incidents(10, true)).map(({ id }) => id)).toEqual(["new"]);
  } finally {
    await store.close();
    rmSync(dir, { recursive: true, force: true });
  }
});

describe.skipIf(!canMount())("on a small disk (needs the right to mount)", () => {
  let disk: SmallDisk;
  beforeEach(() => {
    disk = smallDisk(24 * 1024 * 1024);
  });
  afterEach(() => disk.remove());

  test("PHX-11 SYN-10 an incident that was closed on a full disk is closed in the store, and reaches the hub once, when there is room", async () => {
    const options = { clock: realClock(), random, nodeId: "n1", bootId: "b", repair: false };
    const store = await openAgentStore(disk.dir, options);
    const arrears = new Arrears({ nodeId: "n1", store, clock: options.clock, random, log: () => undefined });
    try {
      await arrears.saveStep({ workload: "w", state: { n: 1 }, incident: incident("i", 1, PROBATION) }, "synced");
      const [first] = await store.outbox.read(0n, 10, 1_000_000);
      disk.fill(0);
      const decision = create(DecisionRecordSchema, { id: "d", inputJson: "x".repeat(512 * 1024) });
      const closed = { workload: "w", state: { n: 2 }, incident: incident("i", 2, CLOSED), audit: [record("a")] };
      const refused = await arrears.saveStep({ ...closed, decision }, "batched").catch((error: unknown) => error);
      expect(isFault(refused, "STORE_WRITE_FAILED")).toBe(true);
      disk.free();
      while ((await store.incidents(10, false))[0]?.revision !== 2n) await pause(50);
      expect(await store.incidents(10, true)).toEqual([]);
      expect(await store.workloads()).toEqual([{ name: "w", state: { n: 2 } }]);
      expect((await store.audit(10)).map(({ action }) => action)).toEqual(["store.writes_again", "audit.begin"]);
      await pause(1500); // and nothing is written twice
      const told = (await store.outbox.read(first?.seq ?? 0n, 100, 1_000_000)).map(({ bytes }) =>
        fromBinary(RecordSchema, bytes),
      );
      const kinds = told.map(({ kind }) => kind.case);
      expect(kinds.filter((one) => one === "incident")).toHaveLength(1);
      expect(kinds).not.toContain("decision");
    } finally {
      arrears.close();
      disk.free();
      await store.close();
    }
  });
});
