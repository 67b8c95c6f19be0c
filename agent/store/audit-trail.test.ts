import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { canonical } from "@blueflame/shared/audit/chain.ts";
import { ChainCheck, type ChainHeader, type Finding, type SignedHead } from "@blueflame/shared/audit/check.ts";
import {
  AuditOutcome,
  type AuditRecord,
  AuditRecordSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { RecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { placeOf, reopenHandle } from "@blueflame/shared/store/level/opening.ts";
import type { Job } from "@blueflame/shared/store/level/writer.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { create, fromBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type OpenedAgentStore, openAgentStore } from "./agent-store.ts";
import { withAuditAtRest } from "./audit-read.ts";
import { formOf } from "./form.ts";
import { mendStore } from "./mend.ts";
import { SealedDatabase } from "./sealed-database.ts";

let dir = "";
let clock: VirtualClock;
const opened: OpenedAgentStore[] = [];
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "bf-audit-"));
  clock = new VirtualClock();
});
afterEach(async () => {
  for (const one of opened.splice(0)) await one.close();
  await rm(dir, { recursive: true, force: true });
});

async function open(more: { auditMax?: number } = {}): Promise<OpenedAgentStore> {
  const store = await openAgentStore(dir, {
    clock,
    random: seeded(Math.random() * 1e9),
    nodeId: "n1",
    bootId: "b",
    ...more,
  });
  opened.push(store);
  return store;
}
const fact = (because: string) =>
  create(AuditRecordSchema, {
    id: because,
    actor: "agent",
    action: "test.act",
    target: "node/n1",
    because,
    outcome: AuditOutcome.SUCCESS,
  });
async function append(store: OpenedAgentStore, count: number, from = 0): Promise<void> {
  for (let n = from; n < from + count; n++) await store.appendAudit([fact(`fact ${n}`)]);
}
async function findings(
  header: ChainHeader,
  records: AsyncIterable<AuditRecord> | Iterable<AuditRecord>,
): Promise<readonly Finding[]> {
  const check = new ChainCheck(header);
  for await (const record of records) check.take(record);
  return check.end().findings;
}
async function read(store: OpenedAgentStore): Promise<{ header: ChainHeader; records: AuditRecord[] }> {
  let page = await store.readAudit("");
  const { header } = page;
  const records = [...page.records];
  while (page.next !== "") {
    page = await store.readAudit(page.next);
    records.push(...page.records);
  }
  if (!header) throw new Error("the first page says how the chain stands");
  return { header, records };
}
const verified = async (store: OpenedAgentStore) => {
  const { header, records } = await read(store);
  return findings(header, records);
};
/** Rows are changed behind the store's back, as whoever has the disk and its key can do. */
async function tamper(change: (rows: Map<string, Uint8Array>) => void): Promise<void> {
  for (const one of opened.splice(0)) await one.close();
  const handle = await reopenHandle(placeOf(join(dir, "store")), {});
  const form = await formOf(handle, dir);
  if (!form) throw new Error("the store has its keys");
  const before = new Map<string, Uint8Array>();
  for await (const [place, sealed] of handle.iterator({ gte: "a" })) before.set(place, form.open(place, sealed).value);
  const after = new Map(before);
  change(after);
  const changed = [...after].filter(([key, value]) => before.get(key) !== value);
  await handle.batch(changed.map(([key, value]) => form.put(key, value)));
  for (const key of before.keys()) if (!after.has(key)) await handle.del(key);
  await handle.close();
}
const auditKeys = (rows: Map<string, Uint8Array>) => [...rows.keys()].filter((key) => key.startsWith("audit/")).sort();
const atRest = () => withAuditAtRest(dir, findings);

test("PHX-11 each record carries the hash of the one before, whoever wrote it, and the hub gets the same bytes", async () => {
  const store = await open();
  await append(store, 3);
  await store.saveStep({ workload: "w", audit: [fact("in a step"), fact("and another")] }, "synced");
  const { header, records } = await read(store);
  expect(await findings(header, records)).toEqual([]);
  expect(records.map(({ number, action }) => [Number(number), action])).toEqual([
    [1, "audit.begin"],
    [2, "test.act"],
    [3, "test.act"],
    [4, "test.act"],
    [5, "test.act"],
    [6, "test.act"],
  ]);
  const sent = (await store.outbox.read(0n, 100, 1e6)).map(({ bytes }) => fromBinary(RecordSchema, bytes).kind.value);
  const bytes = (all: readonly unknown[]) =>
    all.map((one) => Buffer.from(canonical(one as AuditRecord)).toString("hex"));
  expect(bytes(sent)).toEqual(bytes(records));
  expect(store.auditHead()).toMatchObject({ generation: store.identity.generation, number: 6 });
  // SYN-10: what a writer left out stands there all the same.
  for (const { took, beforeJson, afterJson, nodeId } of records) {
    expect([took?.seconds, beforeJson !== "", afterJson !== "", nodeId]).toEqual([0n, true, true, "n1"]);
  }
});

test("the chain goes on over restarts, and over many writers at once", async () => {
  for (let life = 0; life < 3; life++) {
    const store = await open();
    await Promise.all(Array.from({ length: 40 }, (_, n) => store.appendAudit([fact(`${life} ${n}`)])));
    await store.close();
    opened.pop();
  }
  const store = await open();
  expect(await verified(store)).toEqual([]);
  expect(store.auditHead()?.number).toBe(121);
});

test("retention leaves what can be checked, and at least as much as it promises", async () => {
  let store = await open({ auditMax: 50 });
  await append(store, 700);
  await expect.poll(async () => (await read(store)).records.length).toBeLessThanOrEqual(300);
  const { header, records } = await read(store);
  expect(records.length).toBeGreaterThanOrEqual(50);
  expect(header.chains[0]?.anchor?.number).toBe(701 - records.length);
  expect(await findings(header, records)).toEqual([]);
  expect(await findings(header, records.slice(1))).not.toEqual([]);
  await store.close();
  opened.pop();
  store = await open({ auditMax: 50 });
  expect(await verified(store)).toEqual([]);
});

test("an edit, a cut, a swap or a cut-off end on the disk is found while no agent runs, and named", async () => {
  const first = await open();
  await append(first, 20);
  await first.close();
  opened.pop();
  expect(await atRest()).toEqual([]);
  const pristine = join(dir, "pristine");
  await cp(join(dir, "store"), pristine, { recursive: true });
  const damages: Record<string, (rows: Map<string, Uint8Array>) => void> = {
    "edited 9": (rows) => {
      const key = auditKeys(rows)[8] ?? "";
      const value = Uint8Array.from(rows.get(key) ?? []);
      const place = Buffer.from(value).indexOf("fact 7");
      value[place + 5] = "8".charCodeAt(0);
      rows.set(key, value);
    },
    "gap 9": (rows) => rows.delete(auditKeys(rows)[8] ?? ""),
    "cut 21": (rows) => rows.delete(auditKeys(rows)[20] ?? ""),
    "gap 1": (rows) => rows.delete(auditKeys(rows)[0] ?? ""),
  };
  for (const [expected, damage] of Object.entries(damages)) {
    await rm(join(dir, "store"), { recursive: true });
    await cp(pristine, join(dir, "store"), { recursive: true });
    await tamper(damage);
    const found = await atRest();
    expect(
      found.map(({ is, number }) => `${is} ${number}`),
      expected,
    ).toContain(expected);
  }
});

test("a store that forgot how its audit stands says so in the audit, and goes on", async () => {
  await append(await open(), 5);
  await tamper((rows) => rows.delete("meta/audit"));
  const store = await open();
  await append(store, 2, 5);
  const { header, records } = await read(store);
  expect(records.map(({ action }) => action)).toContain("audit.stand_lost");
  expect(await findings(header, records)).toEqual([]);
});

/** As an older version left it: no stand, no numbers, no hashes. */
function withoutChain(rows: Map<string, Uint8Array>): void {
  rows.delete("meta/audit");
  for (const key of auditKeys(rows)) {
    const record = fromBinary(AuditRecordSchema, rows.get(key) as Uint8Array);
    const plain = { ...record, number: 0n, previous: new Uint8Array(), generation: "" };
    rows.set(key, canonical(plain));
  }
}

test("a store that is older than chains is sealed as it is: what stands before is named by the first record", async () => {
  await append(await open(), 4);
  await tamper(withoutChain);
  let store = await open();
  await append(store, 3, 4);
  const { records } = await read(store);
  const begin = records.find(({ action, number }) => action === "audit.begin" && number === 1n);
  expect(begin?.because).toContain("5 older records stand before it without a chain");
  expect(await verified(store)).toEqual([]);
  await tamper((rows) => {
    const key = auditKeys(rows)[2] ?? "";
    const value = Uint8Array.from(rows.get(key) ?? []);
    value[value.length - 1] = (value.at(-1) ?? 0) ^ 1;
    rows.set(key, value);
  });
  store = await open();
  expect(await verified(store)).not.toEqual([]);
});

const mending = (seed = 7) => ({
  clock,
  random: seeded(seed),
  actor: "person:ann",
  bootId: "b",
  defaultNodeId: "n1",
  isAtRest: () => false,
});
const head = (store: OpenedAgentStore): SignedHead => ({
  ...(store.auditHead() as { generation: string; number: number; hash: string }),
  signedAtMs: 5,
  signature: "AA==",
});

test("PHX-5 a store that is put back from an older copy begins a new chain, and what is missing is named", async () => {
  const store = await open();
  await append(store, 10);
  await store.close();
  opened.pop();
  const copy = join(dir, "copy");
  await cp(join(dir, "store"), copy, { recursive: true });
  const later = await open();
  await append(later, 7, 10);
  const signed = head(later);
  await later.close();
  opened.pop();
  await rm(join(dir, "store"), { recursive: true });
  await cp(copy, join(dir, "store"), { recursive: true });
  await mendStore(dir, mending(), { is: "newLife" });

  const restored = await open();
  expect(restored.identity.generation).not.toBe(signed.generation);
  await restored.countersigned(signed, "key");
  await restored.countersigned(signed, "key"); // told once
  const { header, records } = await read(restored);
  expect(await findings(header, records)).not.toEqual([]); // the seven are not here, and the hub had them
  const gaps = records.filter(({ action }) => action === "audit.gap");
  expect(gaps).toHaveLength(1);
  expect(gaps[0]?.because).toContain("7 records are missing here, from 12 to 18");
  expect(await findings({ ...header, signed: [] }, records)).toEqual([]);
});

test("what the hub has countersigned before a restore stands in the first record of the new life", async () => {
  const store = await open();
  await append(store, 3);
  await store.countersigned(head(store), "key");
  await store.close();
  opened.pop();
  await mendStore(dir, mending(), { is: "newLife" });
  const { records } = await read(await open());
  const begin = records.findLast(({ action }) => action === "audit.begin");
  expect(JSON.parse(begin?.beforeJson ?? "")).toMatchObject({ number: 4, signed: { number: 4 } });
});

test("a countersigned head beyond our own end, or of another record, is written down once; a good one is kept", async () => {
  const store = await open();
  await append(store, 5);
  const good = head(store);
  await store.countersigned(good, "key");
  expect((await read(store)).header).toMatchObject({ signed: [{ number: 6 }], hubKey: "key" });
  await store.countersigned({ ...good, number: 9 }, "key");
  await store.countersigned({ ...good, number: 9 }, "key");
  const { records } = await read(store);
  expect(records.filter(({ action }) => action === "audit.gap")).toHaveLength(1);
  await append(store, 5);
  await store.countersigned({ ...good, number: 10, hash: "00".repeat(32) }, "key");
  expect((await read(store)).records.filter(({ action }) => action === "audit.differs")).toHaveLength(1);
});

test("a store from before the chain was called edited once retention had taken just all that was without one", async () => {
  await append(await open({ auditMax: 50 }), 250);
  await tamper(withoutChain);
  const store = await open({ auditMax: 50 });
  await append(store, 49); // with the one that begins the chain: 50 behind the 251, and one more than may gather
  await expect.poll(async () => (await read(store)).records.length).toBe(50);
  expect((await read(store)).records[0]).toMatchObject({ action: "audit.begin", number: 1n });
  expect(await verified(store)).toEqual([]);
});

test("a row of the audit that could not be read kept retention from taking any, and nobody heard of it", async () => {
  await append(await open({ auditMax: 10 }), 255);
  for (const one of opened.splice(0)) await one.close();
  const handle = await reopenHandle(placeOf(join(dir, "store")), {});
  const keys = await handle.keys({ gte: "audit/", lt: "audit0" }).all();
  // In the middle, and where the part that goes ends: 251 of the 261 that make it take some.
  for (const row of [5, 6, 251, 252]) await handle.put(keys[row - 1] ?? "", Buffer.from("what is left of it"));
  await handle.close();
  const store = await open({ auditMax: 10 });
  await append(store, 6, 255);
  await expect.poll(async () => (await store.audit(1))[0]?.action, { timeout: 10_000 }).toBe("audit.damaged");
  const { header, records } = await read(store);
  expect(header.chains[0]?.anchor?.number).toBe(252);
  expect(await findings(header, records)).toEqual([]);
  expect(records.at(-1)).toMatchObject({ because: expect.stringMatching(/^4 rows, the first one 5 /) });
});

/** What the store writes while `act` runs, batch by batch; with `refuse` the disk takes none of it. */
async function batchesOf(act: () => Promise<void>, { refuse = false } = {}): Promise<string[][]> {
  const batches: string[][] = [];
  const { submit } = SealedDatabase.prototype;
  const spy = vi.spyOn(SealedDatabase.prototype, "submit").mockImplementation(function (
    this: SealedDatabase,
    job: Job,
    durability,
  ) {
    if (!refuse) {
      const build = () => {
        const writes = job.build();
        batches.push(writes.map(({ key }) => key));
        return writes;
      };
      return submit.call(this, { build, landed: () => job.landed?.(), lost: () => job.lost?.() }, durability);
    }
    job.build();
    job.lost?.();
    return Promise.reject(new Error("refused"));
  });
  try {
    await act();
  } finally {
    spy.mockRestore();
  }
  return batches;
}

test("that a difference was told was on the disk before the difference: a crash in between hid it for ever", async () => {
  const store = await open();
  await append(store, 5);
  const beyond = { ...head(store), number: 9 };
  const batches = await batchesOf(() => store.countersigned(beyond, "key"));
  const [first = [], ...more] = batches.filter((keys) => keys.includes("meta/audit-signed"));
  expect(more).toEqual([]);
  expect(first.some((key) => key.startsWith("audit/"))).toBe(true);
  expect(batches).toHaveLength(1);
});

test("a countersigned head that the disk refused was taken for kept, and a difference for told", async () => {
  const store = await open();
  await append(store, 5);
  const beyond = { ...head(store), number: 9 };
  const refused = () => expect(store.countersigned(beyond, "key")).rejects.toThrow("refused");
  await batchesOf(refused, { refuse: true });
  expect((await read(store)).header.signed).toEqual([]);
  expect((await read(store)).records.map(({ action }) => action)).not.toContain("audit.gap");
  await store.countersigned(beyond, "key");
  const { header, records } = await read(store);
  expect(header.signed).toMatchObject([{ number: 9 }]);
  expect(records.filter(({ action }) => action === "audit.gap")).toHaveLength(1);
});

test("a record that the hub has countersigned and that is missing here was not missed", async () => {
  const first = await open();
  await append(first, 5);
  const signed = head(first);
  await tamper((rows) => rows.delete(auditKeys(rows)[5] ?? ""));
  const store = await open();
  await store.countersigned(signed, "key");
  const gap = (await read(store)).records.find(({ action }) => action === "audit.gap");
  expect(gap?.because).toContain("record 6 of generation");
});

test("a store that forgot how its audit stands called a gap what retention had taken, and strays what earlier lives had left", async () => {
  await append(await open({ auditMax: 50 }), 310);
  for (let life = 1; life < 3; life++) {
    for (const one of opened.splice(0)) await one.close();
    await mendStore(dir, mending(life), { is: "newLife" });
    await append(await open({ auditMax: 50 }), 5, 400 + life * 5);
  }
  await tamper((rows) => rows.delete("meta/audit"));
  const store = await open({ auditMax: 50 });
  await append(store, 2, 500);
  const { header, records } = await read(store);
  expect(Number(records[0]?.number)).toBeGreaterThan(1);
  expect(new Set(records.map(({ generation }) => generation)).size).toBe(3);
  expect(records.map(({ action }) => action)).toContain("audit.stand_lost");
  expect(await findings(header, records)).toEqual([]);
});
