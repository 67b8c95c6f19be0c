import { beginAction, canonical, genesis, hashOf, type Link, placed } from "@blueflame/shared/audit/chain.ts";
import { ChainCheck } from "@blueflame/shared/audit/check.ts";
import { ChainOrder } from "@blueflame/shared/audit/order.ts";
import { type AuditRecord, AuditRecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { RecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { memoryLog } from "@blueflame/shared/store/memory/memory-log.ts";
import { memoryState } from "@blueflame/shared/store/memory/memory-state.ts";
import { create, fromBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { headSigner, worthSigning } from "../audit-heads.ts";
import { anchorChains } from "./chain-anchor.ts";
import { type Chain, Chains, compared as comparedWith, followed } from "./chains.ts";
import { openHubStore } from "./hub-store.ts";
import { streams } from "./keys.ts";

function records(count: number, generation = "g1", because = ""): AuditRecord[] {
  const made: AuditRecord[] = [];
  let hash = genesis("owner", generation);
  for (let number = 1; number <= count; number++) {
    const begin =
      number === 1 ? { action: beginAction, afterJson: JSON.stringify({ owner: "owner", generation }) } : {};
    const fact = create(AuditRecordSchema, {
      id: `${number}`,
      nodeId: "n1",
      because,
      at: timestampFromMs(number),
      ...begin,
    });
    const bytes = placed(canonical(fact), number, hash, generation);
    hash = hashOf(bytes);
    made.push(fromBinary(AuditRecordSchema, bytes));
  }
  return made;
}
const compared = (chain: Chain | undefined, own: Link) => comparedWith(chain, own, undefined);
/** As they come in an outbox: each with a seq of its own. */
const follow = (all: readonly AuditRecord[], from?: Chain, seq = 1) =>
  all.reduce<Chain | undefined>((chain, record, n) => followed(chain, record, BigInt(seq + n), 5), from);

test("PHX-11 a chain that comes record by record is followed, over what comes twice and over what the node dropped", () => {
  const all = records(10);
  const chain = follow(all);
  expect(chain).toMatchObject({ number: 10, gaps: [] });
  expect(chain?.broken).toBeUndefined();
  expect(follow(all.slice(3, 10), chain, 4)).toEqual(chain); // after a death between logs and rows
  const gapped = follow([...all.slice(0, 3), ...all.slice(6)]);
  expect(gapped).toMatchObject({ number: 10, gaps: [{ from: 4, to: 6 }] });
  expect(gapped?.broken).toBeUndefined();
});

test("a chain that was written anew, or does not begin at its beginning, is broken, and the hub sets its name under none of it", () => {
  const known = follow(records(5));
  const anew = follow(records(8, "g1", "another story").slice(5), known, 6);
  expect(anew?.broken).toContain("record 6 was written upon another record 5");
  expect(follow(records(7, "g1").slice(6), anew, 9)?.broken).toBe(anew?.broken);
  expect(follow(records(3), known, 20)?.broken).toContain("record 1 came after record 5");
  const [first] = records(1);
  expect(follow([{ ...(first as AuditRecord), previous: new Uint8Array(32) }])?.broken).toContain("not the beginning");
  expect(worthSigning([anew as Chain], "g1", true, 0)).toEqual([]);
});

test("a hub that did not know the node yet hangs what comes on what it was not there for", () => {
  expect(follow(records(9).slice(4))).toMatchObject({ number: 9, first: { number: 4 }, gaps: [] });
});

test("a node whose own end is before ours has lost it or cut it off, one with another last record was changed", () => {
  const chain = follow(records(9));
  const own = (number: number, hash = chain?.hash ?? "") => ({ generation: "g1", number, hash });
  expect(compared(chain, own(9))).toBeUndefined();
  expect(compared(chain, own(12))).toBeUndefined(); // more than has come here
  expect(compared(chain, own(6))).toContain("its last 3 records were cut off");
  expect(compared(chain, own(9, "00"))).toContain("another one");
  expect(compared(chain, { ...own(6), generation: "g2" })).toBeUndefined();
  expect(compared(undefined, own(6))).toBeUndefined();
});

test("a node gets the head of its own chain when it grew, and at first that of the life before", () => {
  const before = { ...(follow(records(3, "g0")) as Chain), atMs: 1 };
  const own = { ...(follow(records(5)) as Chain), atMs: 2 };
  const numbers = (first: boolean, to: number) =>
    worthSigning([before, own], "g1", first, to).map(({ generation, number }) => `${generation} ${number}`);
  expect(numbers(true, 0)).toEqual(["g0 3", "g1 5"]);
  expect(numbers(false, 3)).toEqual(["g1 5"]);
  expect(numbers(false, 5)).toEqual([]);
});

/** As an outbox has them, each with a seq of its own. */
const sent = (all: readonly AuditRecord[], seq: number) =>
  all.map((value, n) =>
    create(RecordSchema, { seq: BigInt(seq + n), at: timestampFromMs(1000), kind: { case: "audit", value } }),
  );

test("a store that began a new life sent the rest of the old one's audit, and the hub called it broken", async () => {
  const hub = await openHubStore(memoryState(), memoryLog(), () => 2000);
  const old = records(6, "g1");
  const keep = (generation: string, batch: ReturnType<typeof sent>) =>
    hub.keep({ nodeId: "n1", site: "", generation, records: batch });
  await keep("g1", sent(old.slice(0, 3), 1));
  // Its Ack was lost: the first three come once more under the name of the new life, then the three that never came.
  const kept = await keep("g2", [...sent(old, 1), ...sent(records(2, "g2"), 7)]);
  expect(kept.brokenAudit).toEqual([]);
  expect(hub.chains("n1").map(({ generation, number }) => [generation, number])).toEqual([
    ["g1", 6],
    ["g2", 2],
  ]);
  const header = { nodeId: "n1", source: "hub", chains: hub.stands("n1"), signed: [] } as const;
  const check = new ChainCheck(header);
  const order = new ChainOrder(header);
  for (const record of (await hub.chained("n1", "")).records) for (const one of order.take(record)) check.take(one);
  for (const one of order.rest()) check.take(one);
  expect(check.end()).toMatchObject({ findings: [], records: 8 });
});

test("another's record that does not hang on the old life's last one is nobody's, and changes no chain", async () => {
  const hub = await openHubStore(memoryState(), memoryLog(), () => 2000);
  const batch = (generation: string, all: readonly AuditRecord[], seq: number) =>
    hub.keep({ nodeId: "n1", site: "", generation, records: sent(all, seq) });
  await batch("g1", records(3, "g1"), 1);
  const before = hub.chains("n1");
  await batch("g2", [...records(5, "g1", "another story").slice(3), ...records(2, "made-up")], 1);
  expect(hub.chains("n1")).toEqual(before);
  expect((await hub.chained("n1", "")).records).toHaveLength(3);
});

test("what a trim notes of a chain was lost when the disk refused it once, and the trim after it took the records all the same", async () => {
  const log = memoryLog();
  const data = canonical(records(1)[0] as AuditRecord);
  await log.append(streams.audit, [{ id: "n1/g1/1", at: 1, data }]);
  const chains = new Chains();
  const written: string[] = [];
  let full = true;
  const write = async (ops: readonly { readonly put?: string }[]) => {
    if (full) throw new Error("no space");
    for (const { put } of ops) if (put) written.push(put);
  };
  const commits = { write } as unknown as Parameters<typeof anchorChains>[1];
  await expect(anchorChains(log, commits, chains, 10)).rejects.toThrow("no space");
  full = false;
  await anchorChains(log, commits, chains, 10);
  expect(written).toHaveLength(1);
});

test("how far the chains of lives that are over and of nodes that are gone were was never forgotten", async () => {
  let [nowMs, heardMs] = [2000, 2000];
  const state = memoryState();
  const open = () =>
    openHubStore(
      state,
      memoryLog(),
      () => nowMs,
      () => heardMs,
    );
  let hub = await open();
  await hub.keep({ nodeId: "n1", site: "", generation: "g1", records: sent(records(3, "g1"), 1) });
  await hub.keep({ nodeId: "n1", site: "", generation: "g2", records: sent(records(2, "g2"), 1) });
  const lives = (one: typeof hub) => one.chains("n1").map(({ generation }) => generation);
  const keep = { readingsMs: 1000, decisionsMs: 1000, incidentsMs: 5000 };
  await hub.trim(keep, []);
  expect(lives(hub)).toEqual(["g1", "g2"]);
  // All records have had their time; the node lives on, silent in its audit.
  [nowMs, heardMs] = [1_000_000, 999_000];
  await hub.trim(keep, []);
  expect(lives(hub)).toEqual(["g2"]);
  hub = await open();
  expect(lives(hub)).toEqual(["g2"]);
  nowMs += 1_000_000;
  await hub.trim(keep, []);
  expect(lives(hub)).toEqual([]);
  expect(lives(await open())).toEqual([]);
  expect((await state.list("anchor/")).entries).toEqual([]);
});

test("a broken audit is not told once more at every session", () => {
  const broken = follow([...records(5), ...records(3)], undefined);
  expect(broken?.broken).toBeDefined();
  expect(compared(broken, { generation: "g1", number: 3, hash: "00" })).toBeUndefined();
});

test("a word of the node's about its end that differs is told once, also over restarts of the hub, and stands by what is verified", async () => {
  const [state, log] = [memoryState(), memoryLog()];
  const open = () => openHubStore(state, log, () => 2000);
  const hub = await open();
  const all = records(6);
  await hub.keep({ nodeId: "n1", site: "", generation: "g1", records: sent(all, 1) });
  const last = hashOf(canonical(all[5] as AuditRecord));
  expect(await hub.hear("n1", { generation: "g1", number: 6, hash: last })).toBeUndefined();
  expect(await hub.hear("n1", { generation: "g1", number: 9, hash: "00" })).toBeUndefined();
  const cut = { generation: "g1", number: 4, hash: "00" };
  expect(await hub.hear("n1", cut)).toContain("its last 2 records were cut off");
  const next = await open();
  expect(await next.hear("n1", cut)).toBeUndefined();
  expect(next.stands("n1")).toMatchObject([{ head: { number: 6 }, heard: { ...cut, here: 6, atMs: 2000 } }]);
  expect(await next.hear("n1", { ...cut, number: 3 })).toContain("its last 3 records were cut off");
});

test("a head that could not be signed counted as signed, and the node waited for the next record", async () => {
  const chain = { ...(follow(records(5)) as Chain), atMs: 2 };
  const before = { ...(follow(records(3, "g0")) as Chain), atMs: 1 };
  let isAway = true;
  const sign = () => (isAway ? Promise.reject(new Error("no key")) : Promise.resolve(new Uint8Array(64)));
  const signHeads = headSigner({ sign, wallMs: () => 5 }, { nodeId: "n1", generation: "g1" });
  await expect(signHeads([before, chain], true)).rejects.toThrow("no key");
  isAway = false;
  const numbers = async () => (await signHeads([before, chain], false)).map(({ number }) => Number(number));
  expect(await numbers()).toEqual([3, 5]);
  expect(await numbers()).toEqual([]);
});
