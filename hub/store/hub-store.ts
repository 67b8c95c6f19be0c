import type { Link } from "@blueflame/shared/audit/chain.ts";
import type { ChainStand } from "@blueflame/shared/audit/check.ts";
import {
  type AuditRecord,
  AuditRecordSchema,
  type DecisionRecord,
  DecisionRecordSchema,
  type Incident,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { itemLimits } from "@blueflame/shared/store/limits.ts";
import type { Item, Log } from "@blueflame/shared/store/log.ts";
import type { Op, State } from "@blueflame/shared/store/state.ts";
import type { JsonObject } from "@bufbuild/protobuf";
import { toBinary } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { Order } from "../actions/order.ts";
import type { Alert } from "../notify/alert.ts";
import { anchorChains, forgetChains } from "./chain-anchor.ts";
import { type Chain, Chains, chainOf, compared, heardBytes, heardOf, linkOf } from "./chains.ts";
import { openCommits } from "./commits.ts";
import { type History, history } from "./history.ts";
import { type Batch, intake, type Kept, livesPerNode, noteOpen, type OpenIncidents } from "./intake.ts";
import {
  alertKey,
  closedIncidentItem,
  fleetKey,
  heardKey,
  incidentKey,
  nodeKey,
  orderKey,
  stateKey,
  streams,
  throughKey,
} from "./keys.ts";
import { forgetPlaces } from "./places.ts";
import { incidentBytes, incidentOf, type NodeRow, nodeBytes, nodeOf, rowBytes, rowOf } from "./rows.ts";
import { type HubSnapshots, hubSnapshots } from "./snapshots.ts";
import { openUpTime } from "./up-time.ts";

/** What one or more decisions change, written together: decisions and audit first, then all of the rest. */
export interface Step {
  readonly nodes?: readonly NodeRow[];
  /** Escalation state by node, as the machine's own JSON. */
  readonly states?: ReadonlyMap<string, JsonObject>;
  /** State of the machines over many nodes, by name. */
  readonly fleet?: ReadonlyMap<string, JsonObject>;
  readonly openIncidents?: readonly Incident[];
  readonly closedIncidents?: readonly Incident[];
  readonly orders?: readonly Order[];
  readonly endedOrders?: readonly Pick<Order, "node" | "id">[];
  /** Kept until they were told. */
  readonly alerts?: readonly Alert[];
  readonly toldAlerts?: readonly string[];
  readonly decisions?: readonly { readonly nodeId: string; readonly record: DecisionRecord }[];
  readonly audit?: readonly AuditRecord[];
}

/** Everything that was there at the start. */
export interface Remembered {
  readonly nodes: readonly NodeRow[];
  readonly states: ReadonlyMap<string, JsonObject>;
  readonly fleet: ReadonlyMap<string, JsonObject>;
  readonly orders: readonly Order[];
  /** Decided before and perhaps not told. */
  readonly alerts: readonly Alert[];
  readonly incidents: readonly Incident[];
  /** Rows that are not of this version's format; they are left as they are. */
  readonly unreadable: number;
}

/** How long things are kept, in milliseconds. Audit and what is of unknown kinds is kept as long as incidents. */
export interface Keep {
  readonly readingsMs: number;
  readonly decisionsMs: number;
  readonly incidentsMs: number;
}

/** The hub's memory in the words of the domain. Rejects with what the engine rejects with; see `commits.ts` for STORE_LOCKED. */
export interface HubStore extends History {
  epoch(): bigint;
  raiseEpoch(above: bigint): Promise<bigint>;
  remembered(): Promise<Remembered>;
  /** Durable on return. */
  save(step: Step): Promise<void>;
  /** Durable on return; see `intake.ts`. */
  keep(batch: Batch): Promise<Kept>;
  /** The highest durable seq of this outbox; 0 when there is none. */
  durableThrough(nodeId: string, generation: string): Promise<bigint>;
  readonly snapshots: HubSnapshots;
  /** The chains of a node's audit, the one that grew last at the end, and what a reader has to know of them. */
  chains(nodeId: string): readonly Chain[];
  stands(nodeId: string): readonly ChainStand[];
  /** Hears a node's own word about its newest record, and remembers one that differs from what is here; returns in which way, once. */
  hear(nodeId: string, own: Link): Promise<string | undefined>;
  /** Forgets what is older than its time, and all of nodes of which nothing was heard for as long as incidents are kept; the hub's own outages do not count. */
  trim(keep: Keep, nodeIds: readonly string[]): Promise<void>;
}

/**
 * Opens the hub's memory over an engine, and takes the next epoch. The caller closes the engine. `heardMs`: when something was heard of
 * a node last, by the same clock as `wallMs`; by default just now. `trim` is to be called every few minutes: an hour without is an outage of the hub.
 */
export async function openHubStore(
  state: State,
  log: Log,
  wallMs: () => number,
  heardMs: (nodeId: string) => number = wallMs,
): Promise<HubStore> {
  const commits = await openCommits(state);
  const chains = new Chains();
  for (const { key, value } of (await state.list("chain/")).entries) {
    const chain = chainOf(value);
    if (chain) chains.set(key.split("/")[1] ?? "", chain);
  }
  for (const { key, value } of (await state.list("anchor/")).entries) {
    const anchor = linkOf(value);
    if (anchor) chains.setAnchor(key.split("/")[1] ?? "", anchor);
  }
  for (const { key, value } of (await state.list("heard/")).entries) {
    const heard = heardOf(value);
    if (heard) chains.setHeard(key.split("/")[1] ?? "", heard);
  }
  const open: OpenIncidents = new Map();
  for (const { value } of (await state.list("incident/")).entries) noteOpen(open, incidentOf(value));
  const throughOf = async (nodeId: string, generation: string) => {
    const entry = await state.get(throughKey(nodeId, generation));
    return entry ? BigInt(String(rowOf(entry.value)?.through ?? 0)) : 0n;
  };
  const livesOf = async (nodeId: string) => (await state.list(throughKey(nodeId, ""))).entries.length;
  const up = await openUpTime(state, commits, wallMs);
  const heardUpMs = (nodeId: string) => up.since(heardMs(nodeId));
  const snapshots = await hubSnapshots(state, log, commits, { wallMs, heardMs: heardUpMs });
  return {
    ...history(log),
    snapshots,
    keep: intake({ log, commits, wallMs, open, chains, throughOf, livesOf }).keep,
    chains: (nodeId) => chains.of(nodeId),
    stands: (nodeId) => chains.stands(nodeId),
    async hear(nodeId, own) {
      const { generation } = own;
      const chain = chains.get(nodeId, generation);
      const differs = compared(chain, own, chains.heard(nodeId, generation));
      if (differs === undefined) return undefined;
      const heard = { ...own, here: chain?.number ?? 0, atMs: Math.floor(wallMs()) };
      await commits.write([{ put: heardKey(nodeId, generation), value: heardBytes(heard) }]);
      chains.setHeard(nodeId, heard);
      return differs;
    },
    epoch: commits.epoch,
    raiseEpoch: commits.raise,
    remembered: () => remember(state),
    async save(step) {
      const decisions: Item[] = (step.decisions ?? []).map(({ nodeId, record }) => ({
        id: `${nodeId || "hub"}/${record.id}`,
        at: record.at ? timestampMs(record.at) : wallMs(),
        data: decisionBytes(record),
      }));
      const audit: Item[] = (step.audit ?? []).map((record) => ({
        id: `${record.nodeId || "hub"}/${record.id}`,
        at: record.at ? timestampMs(record.at) : wallMs(),
        data: toBinary(AuditRecordSchema, record),
      }));
      const closed = (step.closedIncidents ?? []).map(closedIncidentItem);
      // A decision that was written and not carried out is harmless; one that was carried out and not written is not.
      await Promise.all([
        decisions.length > 0 ? log.append(streams.decisions, decisions) : undefined,
        audit.length > 0 ? log.append(streams.audit, audit) : undefined,
        closed.length > 0 ? log.append(streams.incidents, closed) : undefined,
      ]);
      const ops = opsOf(step);
      if (ops.length > 0) await commits.write(ops);
    },
    durableThrough: throughOf,
    async trim(keep, nodeIds) {
      const now = wallMs();
      await log.trim(streams.decisions, now - keep.decisionsMs);
      await anchorChains(log, commits, chains, now - keep.incidentsMs);
      const beforeMs = now - keep.incidentsMs;
      const isGone = (nodeId: string) => heardUpMs(nodeId) < beforeMs;
      await up.note();
      await forgetChains(commits, chains, isGone);
      await forgetPlaces(state, commits, { nowMs: now, beforeMs, perNode: livesPerNode }, isGone);
      await snapshots.forget(beforeMs);
      for (const stream of [streams.incidents, streams.audit, streams.unknown]) {
        await log.trim(stream, now - keep.incidentsMs);
      }
      for (const nodeId of nodeIds) await log.trim(streams.readings(nodeId), now - keep.readingsMs);
    },
  };
}

/** Leaves room beside it in a commit. */
const fleetBytesMax = 768 * 1024;

/**
 * A freeze of ten thousand nodes names them all, several times, and no log takes so much: then the decision stands there
 * with its reason and without its input. Refused, it would end the hub in the very moment in which the fleet is silent.
 */
function decisionBytes(record: DecisionRecord): Uint8Array {
  const bytes = toBinary(DecisionRecordSchema, record);
  if (bytes.length <= itemLimits.bytes) return bytes;
  const because = `${record.because} (its input of ${bytes.length} bytes is larger than any record may be: left out)`;
  return toBinary(DecisionRecordSchema, { ...record, inputJson: "", outputJson: "", because });
}

/** What the pure machines hand over is plain JSON by their promise. */
function json(row: Order | Alert): JsonObject {
  return row as unknown as JsonObject;
}

function opsOf(step: Step): Op[] {
  const ops: Op[] = [];
  for (const row of step.nodes ?? []) ops.push({ put: nodeKey(row.id), value: nodeBytes(row) });
  for (const incident of step.openIncidents ?? [])
    ops.push({ put: incidentKey(incident), value: incidentBytes(incident) });
  for (const incident of step.closedIncidents ?? []) ops.push({ del: incidentKey(incident) });
  for (const row of step.orders ?? []) ops.push({ put: orderKey(row.node, row.id), value: rowBytes(json(row)) });
  for (const { node, id } of step.endedOrders ?? []) ops.push({ del: orderKey(node, id) });
  for (const alert of step.alerts ?? []) ops.push({ put: alertKey(alert.id), value: rowBytes(json(alert)) });
  for (const id of step.toldAlerts ?? []) ops.push({ del: alertKey(id) });
  // A state names its incident and its order: it goes behind them, in case that one commit does not take them all.
  for (const [nodeId, row] of step.states ?? []) ops.push({ put: stateKey(nodeId), value: rowBytes(row) });
  for (const [name, row] of step.fleet ?? []) {
    const value = rowBytes(row);
    // A freeze that names more nodes than a row holds is not remembered: the next start judges the fleet anew.
    ops.push(value.length <= fleetBytesMax ? { put: fleetKey(name), value } : { del: fleetKey(name) });
  }
  return ops;
}

async function remember(state: State): Promise<Remembered> {
  let unreadable = 0;
  const rows = async <T>(prefix: string, read: (rest: string, value: Uint8Array) => T | undefined) => {
    const found: [string, T][] = [];
    for (const { key, value } of (await state.list(prefix)).entries) {
      const row = read(key.slice(prefix.length), value);
      if (row === undefined) unreadable += 1;
      else found.push([key.slice(prefix.length), row]);
    }
    return found;
  };
  const nodes = await rows("node/", nodeOf);
  const states = await rows("state/", (_, value) => rowOf(value));
  const fleet = await rows("fleet/", (_, value) => rowOf(value));
  const orders = await rows("order/", (_, value) => rowOf(value) as unknown as Order | undefined);
  const alerts = await rows("alert/", (_, value) => rowOf(value) as unknown as Alert | undefined);
  const incidents = await rows("incident/", (_, value) => incidentOf(value));
  return {
    nodes: nodes.map(([, row]) => row),
    states: new Map(states),
    fleet: new Map(fleet),
    orders: orders.map(([, row]) => row),
    alerts: alerts.map(([, row]) => row),
    incidents: incidents.map(([, row]) => row),
    unreadable,
  };
}
