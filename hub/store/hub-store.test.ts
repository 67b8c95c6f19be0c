import {
  AuditRecordSchema,
  DecisionRecordSchema,
  type Incident,
  IncidentSchema,
  IncidentState,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { type Record as LinkRecord, RecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { memoryLog } from "@blueflame/shared/store/memory/memory-log.ts";
import { memoryState } from "@blueflame/shared/store/memory/memory-state.ts";
import { OutcomeUnknown, type State } from "@blueflame/shared/store/state.ts";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { openHubStore } from "./hub-store.ts";
import { nextWrite, openIncidentsMax } from "./intake.ts";

const nowMs = Date.UTC(2026, 5, 1);
const wallMs = () => nowMs;
const record = (seq: number, kind: MessageInitShape<typeof RecordSchema>["kind"], atMs = nowMs): LinkRecord =>
  create(RecordSchema, { seq: BigInt(seq), at: timestampFromMs(atMs), ...(kind === undefined ? {} : { kind }) });
const audit = (seq: number, atMs = nowMs) =>
  record(seq, { case: "audit", value: { id: `a${seq}`, action: "x", nodeId: "somebody-else" } }, atMs);
const incident = (seq: number, given: MessageInitShape<typeof IncidentSchema>) =>
  record(seq, { case: "incident", value: { id: "i1", revision: 1n, state: IncidentState.OPEN, ...given } });
const batch = (...records: LinkRecord[]) => ({ nodeId: "edge-1", site: "here", generation: "g1", records });

async function fresh(state: State = memoryState()) {
  const log = memoryLog();
  return { state, log, store: await openHubStore(state, log, wallMs) };
}

test("a crash between what is logged and the node's place makes it send again, and each record is there once", async () => {
  const inner = memoryState();
  let crash = false;
  const state: State = {
    ...inner,
    commit: (when, then) => (crash ? Promise.reject(new Error("power cut")) : inner.commit(when, then)),
  };
  const { log, store } = await fresh(state);
  crash = true;
  await expect(store.keep(batch(audit(1), audit(2), incident(3, {})))).rejects.toThrow("power cut");
  crash = false;
  const reopened = await openHubStore(inner, log, wallMs);
  expect(await reopened.durableThrough("edge-1", "g1")).toBe(0n);
  await reopened.keep(batch(audit(1), audit(2), incident(3, {}), audit(4)));
  expect((await reopened.audit({ limit: 10 })).map(({ id }) => id).sort()).toEqual(["a1", "a2", "a4"]);
  expect(await reopened.durableThrough("edge-1", "g1")).toBe(4n);
  expect((await reopened.remembered()).incidents).toHaveLength(1);
});

test("a node's place is its own, and another generation of its store begins anew", async () => {
  const { store } = await fresh();
  await store.keep(batch(audit(7)));
  expect(await store.durableThrough("edge-1", "g1")).toBe(7n);
  expect(await store.durableThrough("edge-1", "g2")).toBe(0n);
  expect(await store.durableThrough("edge-2", "g1")).toBe(0n);
});

test("PHX-11 what an earlier life of a store had sent came again with the next one, and stood here twice", async () => {
  const { store } = await fresh();
  const order = (seq: number) => record(seq, { case: "orderResult", value: { orderId: `o${seq}` } });
  const ofOne = (...records: LinkRecord[]) => records.map((one) => ({ ...one, generation: "g1" }));
  await store.keep(batch(audit(1), audit(2), order(3), incident(4, { revision: 2n })));
  const resent = ofOne(audit(2), order(3), incident(4, { revision: 1n }), audit(5), order(6));
  const next = () => ({ ...batch(...resent, audit(7)), generation: "g2" });
  const kept = await store.keep(next());
  expect(kept.orderResults.map(({ orderId }) => orderId)).toEqual(["o6"]);
  expect(kept.incidents).toEqual([]);
  expect((await store.remembered()).incidents.map(({ revision }) => revision)).toEqual([2n]);
  const ids = async () => (await store.audit({ limit: 50 })).map(({ id }) => id).sort();
  const all = ["a1", "a2", "a5", "a7", `edge-1/g1/${"3".padStart(20, "0")}`, `edge-1/g1/${"6".padStart(20, "0")}`];
  expect(await ids()).toEqual(all);
  expect(await store.durableThrough("edge-1", "g1")).toBe(6n);
  expect(await store.durableThrough("edge-1", "g2")).toBe(7n);
  // A third life that has only old things to say: they are acknowledged, and nothing is there once more.
  await store.keep({ ...batch(...resent), generation: "g3" });
  expect(await ids()).toEqual(all);
  expect(await store.durableThrough("edge-1", "g3")).toBe(6n);
});

test("what an earlier life had left was written, another node's part of the same write was refused, and the judge heard nothing of the first", async () => {
  const inner = memoryState();
  let refuses = false;
  const state: State = {
    ...inner,
    async commit(when, then) {
      const rev = await inner.commit(when, then);
      if (refuses) throw new Error("the write was cut short");
      return rev;
    },
  };
  const { store } = await fresh(state);
  const order = record(5, { case: "orderResult", value: { orderId: "o5" } });
  const earlier = [audit(4), order, incident(6, { revision: 3n })].map((one) => ({ ...one, generation: "g1" }));
  const next = { ...batch(...earlier, audit(7)), generation: "g2" };
  refuses = true;
  await expect(store.keep(next)).rejects.toThrow("cut short");
  refuses = false;
  const again = await store.keep(next);
  expect([again.orderResults.map(({ orderId }) => orderId), again.incidents.length]).toEqual([["o5"], 1]);
  expect((await store.audit({ limit: 50 })).filter(({ id }) => /^a\d$/.test(id))).toHaveLength(2);
  // Once it was told it is known again.
  expect((await store.keep(next)).orderResults).toEqual([]);
});

test("a record that names a life that can be no key, or one of too many, counts as the session's own", async () => {
  const { store } = await fresh();
  const lives = ["a/b", "x".repeat(65), ...Array.from({ length: 20 }, (_, n) => `life-${n}`)];
  await store.keep(batch(...lives.map((generation, at) => ({ ...audit(at + 1), generation }))));
  expect(await store.audit({ limit: 50 })).toHaveLength(22);
  expect(await store.durableThrough("edge-1", "g1")).toBe(22n);
  const known = await Promise.all(lives.slice(2).map((life) => store.durableThrough("edge-1", life)));
  expect(known.filter((through) => through > 0n)).toHaveLength(8);
});

test("a node that named another earlier life with each record filled the hub's memory with their places, for ever", async () => {
  const { state, store } = await fresh();
  for (let at = 0; at < 40; at++) {
    const records = Array.from({ length: 8 }, (_, n) => ({ ...audit(at * 8 + n + 1), generation: `life-${at}-${n}` }));
    await store.keep({ ...batch(...records), generation: "g9" });
  }
  expect((await state.list("through/edge-1/")).entries.length).toBeLessThanOrEqual(201);
  expect((await store.audit({ limit: 400 })).length).toBe(320);
  expect(await store.durableThrough("edge-1", "g9")).toBe(320n);
});

test("a record that a node gave up is told with what is wrong with it, not as a full outbox", async () => {
  const { store } = await fresh();
  const dropped = { kind: "decision", count: 1n, firstSeq: 4n, lastSeq: 4n, because: "it does not open" };
  await store.keep(batch(record(4, { case: "dropped", value: dropped })));
  const because = "record 4 of kind decision was given up by its node: it does not open";
  expect((await store.audit({ limit: 5 }))[0]).toMatchObject({ action: "outbox.drop", because });
});

test("batches of many nodes that arrive at once are all kept, each under its own name", async () => {
  const { store } = await fresh();
  const nodes = Array.from({ length: 200 }, (_, n) => `edge-${n}`);
  await Promise.all(nodes.map((nodeId) => store.keep({ ...batch(audit(1), audit(2)), nodeId })));
  const kept = await store.audit({ limit: 1_000 });
  expect(kept).toHaveLength(400);
  // What a record says about its node is not believed: the certificate says it.
  expect(new Set(kept.map(({ nodeId }) => nodeId))).toEqual(new Set(nodes));
  expect(await store.audit({ nodeId: "edge-7", limit: 1_000 })).toHaveLength(2);
});

test("full windows of a fleet that comes back are written a few at a time: all at once kept beats waiting for 0.7 s", () => {
  const waiting = (records: number, count: number) =>
    Array.from({ length: count }, () => ({ batch: { records: Array<LinkRecord>(records) } }));
  expect(nextWrite(waiting(512, 200))).toHaveLength(3);
  expect(nextWrite(waiting(2, 200))).toHaveLength(64);
  expect(nextWrite(waiting(9_000, 2))).toHaveLength(1);
  expect(nextWrite(waiting(1, 1))).toHaveLength(1);
});

test("one node's record that no store takes is dropped with a word, and neither its own next nor another's is held up", async () => {
  const { store } = await fresh();
  const huge = record(1, { case: "audit", value: { id: "huge", because: "x".repeat(1_100_000) } });
  await Promise.all([store.keep(batch(huge, audit(2))), store.keep({ ...batch(audit(1)), nodeId: "edge-2" })]);
  expect(await store.durableThrough("edge-1", "g1")).toBe(2n);
  const [dropped] = (await store.audit({ nodeId: "edge-1", limit: 10 })).filter(
    ({ action }) => action === "record.drop",
  );
  expect(dropped?.because).toContain("larger than any may be");
  expect(await store.audit({ nodeId: "edge-2", limit: 10 })).toHaveLength(1);
});

test("an open incident is a row, the newest revision counts, and a closed one moves to the history", async () => {
  const { store } = await fresh();
  await store.keep(batch(incident(1, { revision: 1n }), incident(2, { revision: 2n, summary: "newest" })));
  expect((await store.remembered()).incidents).toMatchObject([{ summary: "newest", nodeId: "edge-1", site: "here" }]);
  const closed = { revision: 3n, state: IncidentState.CLOSED, detectedAt: timestampFromMs(nowMs) };
  await store.keep(batch(incident(3, closed)));
  expect((await store.remembered()).incidents).toEqual([]);
  expect(await store.closedIncidents({ nodeId: "edge-1", limit: 10 })).toMatchObject([{ id: "i1", revision: 3n }]);
});

test("a node that opens incidents without end fills neither the hub's memory nor its next start, and can still close them", async () => {
  const { store, state, log } = await fresh();
  const opened = (from: number) => Array.from({ length: 600 }, (_, n) => incident(from + n, { id: `i${from + n}` }));
  expect(await store.keep(batch(...opened(1)))).toMatchObject({ unknown: 0 });
  expect(await store.keep(batch(...opened(601)))).toMatchObject({ unknown: 200 });
  expect((await store.remembered()).incidents).toHaveLength(openIncidentsMax);
  expect(await log.range("unknown", { limit: 1_000 })).toHaveLength(200);
  const reopened = await openHubStore(state, log, wallMs);
  expect(await reopened.keep(batch(incident(1_201, { id: "more" })))).toMatchObject({ unknown: 1 });
  await reopened.keep(batch(incident(1_202, { id: "i1", revision: 2n, state: IncidentState.CLOSED })));
  expect(await reopened.keep(batch(incident(1_203, { id: "after" })))).toMatchObject({ unknown: 0 });
  expect(await reopened.keep({ ...batch(incident(1, { id: "other" })), nodeId: "edge-2" })).toMatchObject({
    unknown: 0,
  });
});

test("a record of a kind that this hub does not know is kept and acknowledged", async () => {
  const { store, log } = await fresh();
  expect(await store.keep(batch(record(1, undefined)))).toMatchObject({ unknown: 1 });
  expect(await store.durableThrough("edge-1", "g1")).toBe(1n);
  expect(await log.range("unknown", { limit: 10 })).toHaveLength(1);
});

test("a node whose clock is years off does not lose its audit to the next trimming, nor keep it for ever", async () => {
  const { store, log } = await fresh();
  await store.keep(batch(audit(1, 0), audit(2, nowMs + 1e12), audit(3, nowMs - 60_000)));
  const times = (await log.range("audit", { limit: 10 })).map(({ at }) => at);
  expect(times).toEqual([nowMs - 60_000, nowMs, nowMs]);
});

test("an incident that a node with a clock from 1970 closed is still in the history after the next trimming", async () => {
  const { store } = await fresh();
  const closed = { state: IncidentState.CLOSED, detectedAt: timestampFromMs(5_000) };
  await store.keep(batch(incident(1, closed)));
  await store.trim({ readingsMs: 3_600_000, decisionsMs: 3_600_000, incidentsMs: 86_400_000 }, []);
  expect(await store.closedIncidents({ limit: 10 })).toMatchObject([{ id: "i1", detectedAt: closed.detectedAt }]);
});

test("readings are forgotten after their time, audit is not", async () => {
  const { store } = await fresh();
  const readings = { case: "readings" as const, value: { readings: [{ sensor: "load_1m", value: 1 }] } };
  await store.keep(batch(record(1, readings, nowMs - 7_200_000), record(2, readings), audit(3, nowMs - 7_200_000)));
  expect(await store.readings("edge-1", 10)).toHaveLength(2);
  await store.trim({ readingsMs: 3_600_000, decisionsMs: 3_600_000, incidentsMs: 86_400_000 }, ["edge-1"]);
  expect(await store.readings("edge-1", 10)).toHaveLength(1);
  expect(await store.audit({ limit: 10 })).toHaveLength(1);
});

test("a step of a thousand nodes is written whole, and read back as it was", async () => {
  const { store, state } = await fresh();
  const states = new Map(Array.from({ length: 1_000 }, (_, n) => [`edge-${n}`, { state: { at: "yellow" } }]));
  const decisions = [...states.keys()].map((nodeId) => ({
    nodeId,
    record: create(DecisionRecordSchema, { id: `d-${nodeId}`, at: timestampFromMs(nowMs) }),
  }));
  const open: Incident = create(IncidentSchema, { id: "i9", nodeId: "edge-3" });
  const done = [create(AuditRecordSchema, { id: "h1", at: timestampFromMs(nowMs) })];
  await store.save({ states, decisions, openIncidents: [open], audit: done });
  const reopened = await openHubStore(state, memoryLog(), wallMs);
  const known = await reopened.remembered();
  expect(known.states.size).toBe(1_000);
  expect(known.states.get("edge-7")).toMatchObject({ state: { at: "yellow" } });
  expect(known.incidents).toMatchObject([{ id: "i9" }]);
  expect(await store.decisions({ nodeId: "edge-7", limit: 10 })).toHaveLength(1);
  await reopened.save({ closedIncidents: [open] });
  expect((await reopened.remembered()).incidents).toEqual([]);
});

test("a freeze that names more nodes than a row holds is forgotten and not fatal", async () => {
  const { store } = await fresh();
  const row = (nodes: number) => ({ state: { missing: Array(nodes).fill("x".repeat(60)) } });
  await store.save({ fleet: new Map([["mass/all", row(100)]]) });
  expect((await store.remembered()).fleet.size).toBe(1);
  await store.save({ fleet: new Map([["mass/all", row(20_000)]]) });
  expect((await store.remembered()).fleet.size).toBe(0);
});

test("each start takes the next epoch, and a hub that was overtaken cannot write any more", async () => {
  const { store: first, state, log } = await fresh();
  expect(first.epoch()).toBe(1n);
  expect(await first.raiseEpoch(9n)).toBe(10n);
  expect(await first.raiseEpoch(3n)).toBe(10n);
  await first.keep(batch(audit(1)));
  const second = await openHubStore(state, log, wallMs);
  expect(second.epoch()).toBe(11n);
  await expect(first.save({ states: new Map([["edge-1", {}]]) })).rejects.toMatchObject({ code: "STORE_LOCKED" });
  await expect(first.raiseEpoch(50n)).rejects.toMatchObject({ code: "STORE_LOCKED" });
  await second.keep(batch(audit(2)));
});

test("a commit whose outcome is not known is made again, whether it landed or not", async () => {
  const inner = memoryState();
  let unknown = 0;
  const state: State = {
    ...inner,
    async commit(when, then) {
      if (unknown === 0) return inner.commit(when, then);
      unknown -= 1;
      if (unknown % 2 === 0) await inner.commit(when, then);
      throw new OutcomeUnknown("no answer");
    },
  };
  const { store } = await fresh(state);
  unknown = 2;
  await store.keep(batch(audit(1)));
  expect(await store.durableThrough("edge-1", "g1")).toBe(1n);
  unknown = 1; // landed: the epoch that it wrote is skipped
  expect(await store.raiseEpoch(20n)).toBe(22n);
  await store.keep(batch(audit(2)));
  expect(await store.durableThrough("edge-1", "g1")).toBe(2n);
});
