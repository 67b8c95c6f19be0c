/** What writers do to the agent's own store, and what must be in it afterwards. */
import { createHash } from "node:crypto";
import type { AgentStore } from "@blueflame/agent/store/ports.ts";
import { AuditRecordSchema, DecisionRecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { ReadingSchema, RecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { create, fromBinary } from "@bufbuild/protobuf";
import { fillOf, type Kind, kinds, type Ledger, lanes } from "./store-ledger.ts";

/** Which promise is held against the store: a killed process loses nothing, a power cut nothing that was synced. */
export type Death = "kill" | "power";

const workloadOf = (lane: number) => `w${lane}`;
const sumOf = (text: string) => createHash("sha256").update(text).digest("hex");
/** Near the bound of the audit (`keeps` in agent-store.ts). */
const auditFull = 19_000;
/** The hub takes some of the outbox now and then. */
const takeEvery = 10;

const isOurs = (id: string) => /^\d-\d+$/.test(id);

interface Stored {
  readonly count: number;
  readonly fill: string;
}
const writtenOf = (lane: number, kind: Kind, count: number): Stored => ({ count, fill: fillOf(lane, kind, count) });

/** Writes until `on` says no, each kind after the other; every write is in the ledger before and after. Rejects as the store does. */
export async function write(store: AgentStore, ledger: Ledger, on: () => boolean): Promise<void> {
  await Promise.all(Array.from({ length: lanes }, (_, lane) => writeLane(store, ledger, lane, on)));
}

async function writeLane(store: AgentStore, ledger: Ledger, lane: number, on: () => boolean): Promise<void> {
  for (let round = 1; on(); round++) {
    for (const kind of kinds) {
      const count = (await storedCount(store, lane, kind, ledger)) + 1;
      const synced = kind !== "state" || count % 3 === 0;
      ledger.begin(lane, kind, count);
      await deeds[kind](store, lane, count, synced);
      ledger.ack(lane, kind, count, synced);
      if (!on()) return;
    }
    if (round % takeEvery === 0 && lane === 0) await take(store);
  }
}

/** A write that was begun and never answered may be there or not: the next one goes on from what is. */
async function storedCount(store: AgentStore, lane: number, kind: Kind, ledger: Ledger): Promise<number> {
  const { begun, acked } = ledger.read(lane, kind);
  return begun === acked ? acked : await found(store, lane, kind);
}

const deeds: Record<Kind, (store: AgentStore, lane: number, count: number, synced: boolean) => Promise<unknown>> = {
  state: (store, lane, count, synced) => {
    const decision = create(DecisionRecordSchema, { id: `${lane}-${count}`, inputJson: fillOf(lane, "state", count) });
    const step = { workload: workloadOf(lane), state: writtenOf(lane, "state", count), decision };
    return store.saveStep(step, synced ? "synced" : "batched");
  },
  audit: async (store, lane, count) => {
    const because = fillOf(lane, "audit", count);
    await store.appendAudit([create(AuditRecordSchema, { id: `${lane}-${count}`, because })]);
    if (count % 5 === 0) await store.appendReadings([create(ReadingSchema, { sensor: "load_1m", value: count })]);
  },
  kv: (store, lane, count) =>
    store.put(workloadOf(lane), "k", Buffer.from(JSON.stringify(writtenOf(lane, "kv", count))), BigInt(count - 1)),
  config: (store, lane, count) => {
    const [now, before] = [count, count - 1].map((one) => fillOf(lane, "config", one));
    const add = new Map([[sumOf(now ?? ""), Buffer.from(now ?? "")]]);
    const drop = count > 1 ? [sumOf(before ?? "")] : [];
    return store.saveConfigVersions(workloadOf(lane), { history: { count, fill: now }, add, drop });
  },
};

async function take(store: AgentStore): Promise<void> {
  const page = await store.outbox.read(0n, 40, 1024 * 1024);
  const last = page.at(-1);
  if (last) await store.outbox.acknowledge(last.seq);
}

async function found(store: AgentStore, lane: number, kind: Kind): Promise<number> {
  if (kind === "audit") return Math.max(0, ...((await auditOf(store)).get(lane)?.keys() ?? []));
  return (await storedValue(store, lane, kind))?.count ?? 0;
}

async function storedValue(store: AgentStore, lane: number, kind: Kind): Promise<Stored | undefined> {
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
async function auditOf(store: AgentStore): Promise<Map<number, Map<number, string>>> {
  const lists = new Map<number, Map<number, string>>();
  for (const { id, because } of await store.audit(1_000_000)) {
    if (!isOurs(id)) continue;
    const [lane = -1, count = -1] = id.split("-").map(Number);
    const list = lists.get(lane) ?? new Map<number, string>();
    if (list.has(count)) list.set(count, `twice: ${because}`);
    else list.set(count, because);
    lists.set(lane, list);
  }
  return lists;
}

/** What is wrong: acknowledged and gone, there and never written, not as it was written. Empty when nothing is. */
export interface Findings {
  readonly lost: readonly string[];
  readonly changed: readonly string[];
}

export async function check(store: AgentStore, ledger: Ledger, after: Death): Promise<Findings> {
  const lost: string[] = [];
  const changed: string[] = [];
  const audit = await auditOf(store);
  // A table that has reached its bound forgets its oldest rows, and only those.
  const full = [...audit.values()].reduce((sum, { size }) => sum + size, 0) > auditFull;
  for (let lane = 0; lane < lanes; lane++) {
    for (const kind of kinds) {
      const { begun, acked, synced } = ledger.read(lane, kind);
      const least = after === "kill" ? acked : synced;
      const name = `${kind} of lane ${lane}`;
      if (kind === "audit") {
        const list = audit.get(lane) ?? new Map<number, string>();
        const first = full ? Math.min(...list.keys()) : 1;
        const gone = Array.from({ length: least }, (_, at) => at + 1).filter((one) => one >= first && !list.has(one));
        if (gone.length > 0) lost.push(`${name}: ${gone.length} of ${least}, the first is ${gone[0]}`);
        for (const [count, because] of list) {
          if (count > begun || because !== fillOf(lane, kind, count)) changed.push(`${name}: ${count} is '${because}'`);
        }
        continue;
      }
      const stored = await storedValue(store, lane, kind).catch((error: unknown) => String(error));
      if (typeof stored === "string") changed.push(`${name}: ${stored}`);
      else if ((stored?.count ?? 0) < least) lost.push(`${name}: is ${stored?.count ?? 0}, acknowledged was ${least}`);
      else if (stored && (stored.count > begun || stored.fill !== fillOf(lane, kind, stored.count))) {
        changed.push(`${name}: ${JSON.stringify(stored)}`);
      } else if (kind === "config" && stored) changed.push(...(await contents(store, lane, stored.count)));
    }
  }
  changed.push(...(await decisions(store, ledger)), ...(await outbox(store)));
  return { lost, changed };
}

async function contents(store: AgentStore, lane: number, count: number): Promise<string[]> {
  const fill = fillOf(lane, "config", count);
  const held = (await store.configContents(workloadOf(lane), [sumOf(fill)])).get(sumOf(fill));
  return held && Buffer.from(held).toString() === fill ? [] : [`the content of config ${count} of lane ${lane}`];
}

async function decisions(store: AgentStore, ledger: Ledger): Promise<string[]> {
  return (await store.decisions(1_000_000)).flatMap(({ id, inputJson }) => {
    const [lane = -1, count = -1] = id.split("-").map(Number);
    const asWritten = count <= ledger.read(lane, "state").begun && inputJson === fillOf(lane, "state", count);
    return asWritten ? [] : [`decision ${id} is '${inputJson}'`];
  });
}

/** No number is missing, none is there twice, and each says what it says in its table. */
async function outbox(store: AgentStore): Promise<string[]> {
  const wrong: string[] = [];
  let before: bigint | undefined;
  for (let after = 0n; ; ) {
    const page = await store.outbox.read(after, 500, 4 * 1024 * 1024);
    for (const { seq, bytes } of page) {
      if (before !== undefined && seq !== before + 1n) wrong.push(`outbox: ${seq} comes after ${before}`);
      before = seq;
      const { kind, seq: inside } = fromBinary(RecordSchema, bytes);
      if (inside !== seq) wrong.push(`outbox: ${seq} says that it is ${inside}`);
      if (kind.case !== "audit") continue;
      const { id, because } = kind.value;
      if (!isOurs(id)) continue; // what the store says of its own mending
      const [lane = -1, count = -1] = id.split("-").map(Number);
      if (because !== fillOf(lane, "audit", count)) wrong.push(`outbox: ${seq} is '${because}'`);
    }
    const last = page.at(-1);
    if (!last) return wrong;
    after = last.seq;
  }
}
