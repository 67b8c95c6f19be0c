/** Rows of the outbox that cannot be read, and those of an earlier life of the store. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import {
  type Record as LinkRecord,
  OrderResultSchema,
  ReadingBatchSchema,
  ReadingSchema,
  RecordSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { placeOf, reopenHandle } from "@blueflame/shared/store/level/opening.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { MemoryDatabase, MemoryFile } from "../../test/support/memory-database.ts";
import type { Outbox } from "../uplink/ports.ts";
import { type OpenedAgentStore, openAgentStore } from "./agent-store.ts";
import { formOf } from "./form.ts";
import { mendStore } from "./mend.ts";
import { DurableOutbox, type OutboxMax } from "./outbox.ts";
import { keyOf, parseKey } from "./outbox-rows.ts";
import { writeParts } from "./rows.ts";

let dir = "";
let store: OpenedAgentStore | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-outbox-"));
});
afterEach(async () => {
  await store?.close();
  store = undefined;
  rmSync(dir, { recursive: true, force: true });
});

const options = {
  clock: realClock(),
  random: seeded(3),
  nodeId: undefined,
  defaultNodeId: "n1",
  bootId: "b",
  actor: "test",
  isAtRest: () => false,
};
async function open(): Promise<OpenedAgentStore> {
  store = await openAgentStore(dir, options);
  return store;
}
async function close(): Promise<void> {
  await store?.close();
  store = undefined;
}
const result = (n: number) =>
  create(RecordSchema, { kind: { case: "orderResult", value: create(OrderResultSchema, { orderId: `o${n}` }) } });
async function read(outbox: Outbox): Promise<{ seq: number; generation: string | undefined; record: LinkRecord }[]> {
  const found = await outbox.read(0n, 10_000, 1e9);
  return found.map(({ seq, bytes, generation }) => ({
    seq: Number(seq),
    generation,
    record: fromBinary(RecordSchema, bytes),
  }));
}
const words = ({ kind }: LinkRecord): string => {
  if (kind.case === "orderResult") return kind.value.orderId;
  if (kind.case === "audit") return kind.value.action;
  if (kind.case === "dropped") return `${kind.value.kind} ${kind.value.firstSeq}: ${kind.value.because}`;
  return kind.case ?? "";
};

test("PHX-11 one row of the outbox that did not open stopped everything behind it until the next opening", async () => {
  const first = await open();
  for (let n = 1; n <= 5; n++) await first.outbox.append(result(n));
  await close();
  const handle = await reopenHandle(placeOf(join(dir, "store")), {});
  const form = await formOf(handle, dir);
  const keys = await handle.keys({ gte: "outbox/", lt: "outbox0" }).all();
  const flipped = Uint8Array.from((await handle.get(keys[1] ?? "")) ?? []);
  flipped[20] = (flipped[20] ?? 0) ^ 1;
  await handle.put(keys[1] ?? "", flipped);
  const deflated = keyOf({ kind: "z", seq: 4, bytes: 9 });
  const write = form?.put(deflated, Buffer.from("not deflated"));
  await handle.batch([{ type: "del", key: keys[3] ?? "" }, ...(write ? [write] : [])]);
  await handle.close();

  const { outbox, ...opened } = await open();
  const found = await read(outbox);
  expect(found.map(({ record }) => words(record))).toEqual([
    "o1",
    expect.stringMatching(/^orderResult 2: the record 'outbox.*' does not open/),
    "o3",
    "decision 4: a deflated decision cannot be read",
    "o5",
  ]);
  // Given up and told, it is no trouble any more: no snapshot was taken of the store until the next start.
  expect(opened.trouble()).toBeUndefined();
  const audit = (await opened.audit(10)).map(({ action, because }) => `${action}: ${because}`);
  expect(audit.filter((one) => one.startsWith("outbox.damaged"))).toEqual([
    expect.stringMatching(/record 4 \(decision\)/),
    expect.stringMatching(/record 2 \(orderResult\)/),
  ]);
  // Told once, and the hub gets the same under the same seq for as long as it does not acknowledge it.
  const again = await read(outbox);
  expect(again.slice(0, 5)).toEqual(found);
  expect(again.slice(5).map(({ record }) => words(record))).toEqual([
    "audit.begin",
    "outbox.damaged",
    "outbox.damaged",
  ]);
  await close();
  expect((await read((await open()).outbox)).map(({ record }) => words(record))).toEqual(
    again.map(({ record }) => words(record)),
  );
  await store?.outbox.acknowledge(8n);
  expect(store?.outbox.depth()).toBe(0n);
});

/** A disk of which some rows cannot be read. */
class Failing extends MemoryDatabase {
  readonly bad = new Set<number>();
  override async getMany(keys: readonly string[]): Promise<(Uint8Array | undefined)[]> {
    if (keys.some((key) => this.bad.has(parseKey(key).seq))) throw new Fault("STORE_DAMAGED", "reading failed");
    return super.getMany(keys);
  }
}
async function withReadings(count: number, max: OutboxMax, bad: readonly number[], gone: readonly number[]) {
  const file = new MemoryFile();
  const database: Failing = new Failing(file, () => outbox.synced());
  const outbox: DurableOutbox = new DurableOutbox(database, { wallMs: () => wallMs }, max);
  let wallMs = Date.UTC(2026, 10, 26);
  const value = create(ReadingBatchSchema, { readings: [create(ReadingSchema, { sensor: "s", value: 1 })] });
  const bytes = toBinary(ReadingBatchSchema, value);
  await outbox.load();
  for (let n = 1; n <= count; n++) {
    wallMs += 5000;
    await writeParts(database, false, () => [outbox.stage({ kind: "r", bytes })]);
    if (bad.includes(n)) database.bad.add(n);
    if (gone.includes(n)) for (const key of file.rows.keys()) if (parseKey(key).seq === n) file.rows.delete(key);
  }
  await outbox.settled();
  await database.sync();
  database.bad.clear(); // what is told of them has their seqs
  return (await read(outbox)).map(({ record }) => record);
}
const told = (records: readonly LinkRecord[]) =>
  records.flatMap(({ kind }) =>
    kind.case === "dropped" && kind.value.because !== "" ? [`${kind.value.firstSeq}: ${kind.value.because}`] : [],
  );

test("readings were no longer rolled up behind one that cannot be read, and one whose row is gone was left out without a word", async () => {
  const records = await withReadings(1500, { records: 50_000, bytes: 1e9 }, [10], [20]);
  expect(told(records)).toEqual(["10: reading failed", "20: its row is gone"]);
  expect(records.length).toBeLessThan(900);
  const counts = records.flatMap(({ kind }) => (kind.case === "readings" ? kind.value.readings : []));
  expect(counts.reduce((sum, { count }) => sum + Math.max(1, count), 0)).toBe(1498);
});

test("an outbox whose oldest row cannot be read kept no bound any more", async () => {
  const records = await withReadings(300, { records: 100, bytes: 1e9 }, [1], []);
  expect(records.length).toBeLessThanOrEqual(100);
});

test("PHX-11 after a mend what waited went out as the new life's, and stood twice at a hub that had it already", async () => {
  const first = await open();
  for (let n = 1; n <= 3; n++) await first.outbox.append(result(n));
  await first.outbox.acknowledge(1n);
  const { generation } = first.identity;
  await close();
  rmSync(join(dir, "store", "CURRENT"));
  expect(await mendStore(dir, options)).toMatchObject({ by: "repair" });
  const second = await open();
  await second.outbox.append(result(4));
  expect(second.identity.generation).not.toBe(generation);
  const madeIn = async () => (await read(second.outbox)).map((one) => [one.generation, words(one.record)]);
  const own = ["audit.begin", "store.repair", "o4"].map((one) => [undefined, one]);
  expect(await madeIn()).toEqual([[generation, "o2"], [generation, "o3"], ...own]);
  // And a third one knows both.
  await close();
  rmSync(join(dir, "store", "CURRENT"));
  await mendStore(dir, options);
  const third = (await read((await open()).outbox)).map((one) => one.generation);
  expect(third).toEqual([generation, generation, ...own.map(() => second.identity.generation), undefined, undefined]);
});

test("an older copy that was put back and went on sends what it cannot tell apart as the new life's: rather twice than never", async () => {
  const first = await open();
  await first.outbox.append(result(1));
  await close();
  expect(await mendStore(dir, options, { is: "newLife" })).toMatchObject({ by: "reopen" });
  const found = await read((await open()).outbox);
  expect(found.map(({ generation }) => generation)).toEqual([undefined, undefined, undefined]);
});
