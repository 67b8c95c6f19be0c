/** What writers do to the agent's own store, and how it is read again; `store-check.ts` holds both together. */
import { createHash } from "node:crypto";
import type { AgentStore } from "@blueflame/agent/store/ports.ts";
import {
  AuditRecordSchema,
  DecisionRecordSchema,
  IncidentSchema,
  IncidentState,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { ReadingSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { create } from "@bufbuild/protobuf";
import { fillOf, type Kind, kinds, type Ledger, lanes } from "./store-ledger.ts";
import { heldIn, placeOf, waitingIn, workloadOf } from "./store-outbox.ts";

export const sumOf = (text: string) => createHash("sha256").update(text).digest("hex");
/** The hub takes so many records of the outbox at once, always after so many rounds of the first lane. */
const takeEvery = 4;
const takeAtOnce = 40;
/** An incident is closed with so many revisions. */
export const revisions = 4;

export interface Stored {
  readonly count: number;
  readonly fill: string;
}
const writtenOf = (lane: number, kind: Kind, count: number): Stored => ({ count, fill: fillOf(lane, kind, count) });

/** Writes until `on` says no, each kind after the other; every write is in the ledger before and after. Rejects as the store does. */
export async function write(store: AgentStore, ledger: Ledger, on: () => boolean): Promise<void> {
  await Promise.all(Array.from({ length: lanes }, (_, lane) => writeLane(store, ledger, lane, on)));
}

async function writeLane(store: AgentStore, ledger: Ledger, lane: number, on: () => boolean): Promise<void> {
  while (on()) {
    for (const kind of kinds) {
      const count = (await storedCount(store, lane, kind, ledger)) + 1;
      await writeOne(store, ledger, lane, kind, count);
      if (!on()) return;
    }
    // By what was written in all lives: most of them are short.
    if (lane === 0 && ledger.read(lane, "audit").acked % takeEvery === 0) await take(store, ledger);
  }
}

/** The next write of its kind, in the ledger before and after. */
export async function writeOne(
  store: AgentStore,
  ledger: Ledger,
  lane: number,
  kind: Kind,
  count: number,
  synced = kind === "state" ? count % 3 === 0 : kind !== "readings",
): Promise<void> {
  ledger.begin(lane, kind, count);
  await deeds[kind](store, lane, count, synced);
  ledger.ack(lane, kind, count, synced);
}

/** A write that was begun and never answered may be there or not: the next one goes on from what is. */
async function storedCount(store: AgentStore, lane: number, kind: Kind, ledger: Ledger): Promise<number> {
  const { begun, acked } = ledger.read(lane, kind);
  return begun === acked ? acked : await found(store, lane, kind, ledger);
}

const deeds: Record<Kind, (store: AgentStore, lane: number, count: number, synced: boolean) => Promise<unknown>> = {
  state: (store, lane, count, synced) => {
    const decision = create(DecisionRecordSchema, { id: `${lane}-${count}`, inputJson: fillOf(lane, "state", count) });
    const incident = create(IncidentSchema, {
      id: `${lane}-${Math.ceil(count / revisions)}`,
      revision: BigInt(count),
      state: count % revisions === 0 ? IncidentState.CLOSED : IncidentState.RECOVERING,
      symptom: fillOf(lane, "incident", count),
    });
    const step = { workload: workloadOf(lane), state: writtenOf(lane, "state", count), decision, incident };
    return store.saveStep(step, synced ? "synced" : "batched");
  },
  audit: (store, lane, count) => {
    const because = fillOf(lane, "audit", count);
    return store.appendAudit([create(AuditRecordSchema, { id: `${lane}-${count}`, because })]);
  },
  readings: (store, lane, count) =>
    store.appendReadings([create(ReadingSchema, { sensor: "load_1m", subject: workloadOf(lane), value: count })]),
  kv: (store, lane, count) =>
    store.put(workloadOf(lane), "k", Buffer.from(JSON.stringify(writtenOf(lane, "kv", count))), BigInt(count - 1)),
  config: (store, lane, count) => {
    const [now, before] = [count, count - 1].map((one) => fillOf(lane, "config", one));
    const add = new Map([[sumOf(now ?? ""), Buffer.from(now ?? "")]]);
    const drop = count > 1 ? [sumOf(before ?? "")] : [];
    return store.saveConfigVersions(workloadOf(lane), { history: { count, fill: now }, add, drop });
  },
};

/** The hub takes the oldest records. What is about to go is noted before, and again when it was acknowledged. */
async function take(store: AgentStore, ledger: Ledger): Promise<void> {
  const page = await store.outbox.read(0n, takeAtOnce, 1024 * 1024);
  const last = page.at(-1);
  if (!last) return;
  const held = page.flatMap(({ bytes }) => heldIn(bytes).held);
  for (const { lane, kind, to } of held) ledger.take(lane, kind, to, false);
  await store.outbox.acknowledge(last.seq);
  for (const { lane, kind, to } of held) ledger.take(lane, kind, to, true);
}

async function found(store: AgentStore, lane: number, kind: Kind, ledger: Ledger): Promise<number> {
  if (kind === "audit") return Math.max(0, ...((await auditOf(store)).get(lane)?.keys() ?? []));
  if (kind === "readings") {
    const { rows } = await waitingIn(store);
    const own = rows.flatMap(({ held }) => held.filter((one) => one.lane === lane && one.kind === kind));
    return Math.max(ledger.took(lane, kind).taking, ...own.map(({ to }) => to));
  }
  return (await storedValue(store, lane, kind))?.count ?? 0;
}

export async function storedValue(store: AgentStore, lane: number, kind: Kind): Promise<Stored | undefined> {
  const workload = workloadOf(lane);
  if (kind === "config") return (await store.configVersions(workload)) as Stored | undefined;
  if (kind === "state")
    return (await store.workloads()).find(({ name }) => name === workload)?.state as Stored | undefined;
  const value = await store.get(workload, "k");
  if (!value) return undefined;
  const stored = JSON.parse(Buffer.from(value.value).toString()) as Stored;
  // Each put counts the revision by one, as it counts its own number.
  return Number(value.revision) === stored.count ? stored : { ...stored, fill: `revision ${value.revision}` };
}

/** What the audit holds of each lane, by number. */
export async function auditOf(store: AgentStore): Promise<Map<number, Map<number, string>>> {
  const lists = new Map<number, Map<number, string>>();
  for (const { id, because } of await store.audit(1_000_000)) {
    const place = placeOf(id);
    if (!place) continue; // what the store says of itself
    const list = lists.get(place.lane) ?? new Map<number, string>();
    list.set(place.count, list.has(place.count) ? `twice: ${because}` : because);
    lists.set(place.lane, list);
  }
  return lists;
}
