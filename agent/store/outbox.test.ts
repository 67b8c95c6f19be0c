import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import {
  AuditRecordSchema,
  DecisionRecordSchema,
  IncidentSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import {
  type Record as LinkRecord,
  OrderOutcome,
  OrderResultSchema,
  ReadingSchema,
  RecordSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { create, fromBinary } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { afterEach, beforeEach, expect, test } from "vitest";
import { keeps, type OpenedAgentStore, openAgentStore } from "./agent-store.ts";
import type { OutboxMax } from "./outbox.ts";
import { encodeRecord, kindFields, payloadOf } from "./outbox-record.ts";

const many = 1_000_000;
let dir = "";
let store: OpenedAgentStore;
let opened: OpenedAgentStore[] = [];
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "bf-outbox-"));
  opened = [];
});
afterEach(async () => {
  for (const one of opened) await one.close();
  await rm(dir, { recursive: true, force: true });
});

async function open(outboxMax: OutboxMax = keeps.outbox, clock = realClock()): Promise<OpenedAgentStore> {
  store = await openAgentStore(dir, { clock, random: seeded(1), nodeId: "n1", bootId: "b", outboxMax });
  opened.push(store);
  return store;
}
const all = async (): Promise<LinkRecord[]> =>
  (await store.outbox.read(0n, many, 1e12)).map(({ bytes }) => fromBinary(RecordSchema, bytes));
const readings = (count = 1) => store.appendReadings(Array.from({ length: count }, () => create(ReadingSchema, {})));
const decision = () =>
  store.saveStep({ workload: "w", decision: create(DecisionRecordSchema, { id: "d" }) }, "batched");
const audit = () => store.appendAudit([create(AuditRecordSchema, { id: "a" })]);
let incidents = 0;
const incident = (id = `i${incidents++}`) =>
  store.saveStep({ workload: "w", incident: create(IncidentSchema, { id, revision: BigInt(incidents) }) }, "batched");
const result = () =>
  store.outbox.append(
    create(RecordSchema, { kind: { case: "orderResult", value: create(OrderResultSchema, { orderId: "o" }) } }),
  );
/** Until the bound is kept and nothing is on its way. */
async function quiet(): Promise<void> {
  for (let depth = -1n; depth !== store.outbox.depth(); ) {
    depth = store.outbox.depth();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

test("the numbers of a record's kinds are those of the protocol", () => {
  for (const { name, written } of kindFields()) expect(name).toBe(written);
});

test("a record is read as what was put in, with its seq and the wall time", async () => {
  const value = create(OrderResultSchema, { orderId: "o1", outcome: OrderOutcome.DONE, because: "done" });
  const wallMs = Date.UTC(2026, 10, 22, 1, 2, 3, 456);
  const payload = payloadOf(create(RecordSchema, { kind: { case: "orderResult", value } }));
  const record = fromBinary(RecordSchema, encodeRecord(2 ** 40, wallMs, payload));
  expect(record.seq).toBe(BigInt(2 ** 40));
  expect(record.at && timestampMs(record.at)).toBe(wallMs);
  expect(record.kind).toEqual({ case: "orderResult", value });
  await open();
  const refused = store.outbox.append(create(RecordSchema, {})).catch((error) => isFault(error, "BAD_REQUEST"));
  expect(await refused).toBe(true);
});

test("records come out in the order of their seqs, page by page, within limit and bytes", async () => {
  await open();
  for (let at = 0; at < 10; at++) await (at % 2 ? readings(50) : result());
  const seen: bigint[] = [];
  for (;;) {
    const page = await store.outbox.read(seen.at(-1) ?? 0n, 3, 1e6);
    if (page.length === 0) break;
    expect(page.length).toBeLessThanOrEqual(3);
    seen.push(...page.map(({ seq }) => seq));
  }
  expect(seen).toEqual(Array.from({ length: 10 }, (_, at) => BigInt(at + 1)));
  expect(await store.outbox.read(0n, 10, 1)).toHaveLength(1); // one at least, or it would never get on
  expect((await store.outbox.read(0n, 10, 300)).length).toBeLessThan(10);
});

test("what was acknowledged is forgotten, and its seqs are never given again, not even by an empty outbox", async () => {
  await open();
  for (let at = 0; at < 5; at++) await result();
  await store.outbox.acknowledge(3n);
  expect((await all()).map(({ seq }) => seq)).toEqual([4n, 5n]);
  await store.outbox.acknowledge(99n);
  expect([store.outbox.depth(), store.outbox.lastSeq()]).toEqual([0n, 5n]);
  await store.close();
  await open();
  expect([store.outbox.depth(), store.outbox.lastSeq()]).toEqual([0n, 5n]);
  await result();
  expect((await all()).map(({ seq }) => seq)).toEqual([6n]);
});

test("no record is announced before it would survive a power cut, and then it is without anybody asking", async () => {
  const clock = new VirtualClock();
  await open(keeps.outbox, clock);
  let woken = 0;
  const stop = store.outbox.onAppend(() => woken++);
  await readings();
  expect([woken, store.outbox.lastSeq()]).toEqual([0, 1n]);
  clock.advance(100);
  while (woken === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  await result();
  expect(woken).toBe(2);
  await readings();
  expect((await all()).map(({ seq }) => seq)).toEqual([1n, 2n]); // the third may still be lost
  stop();
  const before = woken; // what was read is synced ahead, and that wakes too
  await result();
  expect(woken).toBe(before);
});

test("a reader that finds only records that are not synced yet has them synced", async () => {
  await open(keeps.outbox, new VirtualClock()); // its barrier never comes
  await readings();
  expect(await all()).toHaveLength(1);
});

test("a reader found nothing for as long as what was synced above its place was gone and what was left was not synced", async () => {
  await open(keeps.outbox, new VirtualClock());
  await readings();
  const [first] = await store.outbox.read(0n, many, 1e12);
  await store.outbox.acknowledge(first?.seq ?? 0n);
  await readings();
  expect(await all()).toHaveLength(1);
});

test("a full outbox drops readings first, then decisions, then audit, and says how many and which", async () => {
  await open({ records: 100, bytes: 1e9 });
  for (let at = 0; at < 20; at++) {
    await incident();
    await result();
    await audit();
    await decision();
    await readings();
  }
  const kinds = async () => {
    await quiet();
    const records = await all();
    const count = (kind: LinkRecord["kind"]["case"]) => records.filter((record) => record.kind.case === kind).length;
    const dropped = records.flatMap((record) => (record.kind.case === "dropped" ? [record.kind.value] : []));
    const lost = (kind: string) =>
      dropped.filter((one) => one.kind === kind).reduce((sum, one) => sum + Number(one.count), 0);
    return { records, count, lost, dropped };
  };
  for (let at = 0; at < 25; at++) await readings();
  const first = await kinds();
  expect(first.records.length).toBeLessThanOrEqual(100);
  expect(first.count("readings") + first.lost("readings")).toBe(45);
  expect([first.count("decision"), first.count("audit"), first.count("incident")]).toEqual([20, 21, 20]); // audit.begin too

  for (let at = 0; at < 40; at++) await incident();
  const second = await kinds();
  expect(second.records.length).toBeLessThanOrEqual(100);
  expect(second.lost("readings")).toBe(45);
  expect(second.count("decision") + second.lost("decision")).toBe(20);
  expect(second.count("audit") + second.lost("audit")).toBe(21);
  expect([second.count("incident"), second.count("orderResult")]).toEqual([60, 20]);
  for (const { firstSeq, lastSeq } of second.dropped) expect(firstSeq).toBeLessThanOrEqual(lastSeq);
});

test("drops of one kind are one record for as long as the uplink has not read it", async () => {
  await open({ records: 50, bytes: 1e9 });
  for (let at = 0; at < 500; at++) await readings();
  await quiet();
  const dropped = (await all()).flatMap((record) => (record.kind.case === "dropped" ? [record] : []));
  expect(dropped).toHaveLength(1);
  const said = dropped[0]?.kind.case === "dropped" ? dropped[0].kind.value : undefined;
  const kept = (await all()).filter((record) => record.kind.case === "readings").length;
  expect([said?.kind, Number(said?.count), said?.firstSeq]).toEqual(["readings", 500 - kept, 1n]);
  for (let at = 0; at < 50; at++) await readings();
  await quiet();
  expect((await all()).filter((record) => record.kind.case === "dropped")).toHaveLength(2);
});

test("the outbox is bounded in bytes as well, and keeps its bound over a restart", async () => {
  const max = { records: many, bytes: 200_000 };
  await open(max);
  const size = async () => (await store.outbox.read(0n, many, 1e12)).reduce((sum, { bytes }) => sum + bytes.length, 0);
  for (let at = 0; at < 300; at++) await readings(500);
  await quiet();
  expect(await size()).toBeLessThanOrEqual(max.bytes);
  // What is read is synced, and a slow disk takes its time for that.
  await expect.poll(size, { timeout: 20_000 }).toBeGreaterThan(max.bytes * 0.9);
  const before = store.outbox.depth();
  await store.close();
  await open(max);
  expect(store.outbox.depth()).toBe(before);
  for (let at = 0; at < 50; at++) await readings(500);
  await quiet();
  expect(await size()).toBeLessThanOrEqual(max.bytes);
});

test("appending, acknowledging and dropping at once account for every record exactly once", async () => {
  await open({ records: 200, bytes: 1e9 });
  const received = new Set<bigint>();
  let lost = 0n;
  let through = 0n;
  const take = async () => {
    for (const { seq, bytes } of await store.outbox.read(through, 20, 1e6)) {
      const record = fromBinary(RecordSchema, bytes);
      if (record.kind.case === "dropped") lost += record.kind.value.count;
      else received.add(seq);
      through = seq;
    }
    await store.outbox.acknowledge(through);
  };
  let appended = 0;
  for (let round = 0; round < 60; round++) {
    const appends = Array.from({ length: 40 }, () => (appended++ % 3 ? decision() : readings()));
    await Promise.all([...appends, take()]);
  }
  await quiet();
  while (store.outbox.depth() > 0n) await take();
  expect(received.size + Number(lost)).toBe(appended);
  expect(lost).toBeGreaterThan(0n);
});
