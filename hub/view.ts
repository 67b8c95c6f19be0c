import type { ChainStand, SignedHead } from "@blueflame/shared/audit/check.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { Incident } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { NodeHealth } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { WorkloadHealth } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import {
  FleetState,
  GetHubResponseSchema,
  Level,
  type Node,
  NodeSchema,
} from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { version } from "@blueflame/shared/version.ts";
import { create } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { missedAfter } from "./escalation/policy.ts";
import { fleetStateOf, type Health, levelOf, type Presence, presenceOf } from "./escalation/state.ts";
import type { Fleet } from "./fleet.ts";
import type { LinkCounters } from "./ingest/desk.ts";
import type { Entry } from "./judge/entry.ts";
import type { Judge } from "./judge/judge.ts";
import type { History } from "./store/history.ts";

const levels = { GREEN: Level.GREEN, YELLOW: Level.YELLOW, ORANGE: Level.ORANGE, RED: Level.RED } as const;
const fleetStates = {
  Healthy: FleetState.HEALTHY,
  Degraded: FleetState.DEGRADED,
  Failed: FleetState.FAILED,
  Unknown: FleetState.UNSPECIFIED,
} as const;

/** Incidents of one question are looked for among at most this many closed ones. */
const closedMax = 2_000;

export interface ViewOptions {
  readonly judge: Judge;
  readonly links: () => Readonly<LinkCounters>;
  readonly history: History;
  /** How the chains of nodes' audits stand, and the hub's signature for what is read of them. */
  readonly audit: {
    readonly stands: (nodeId: string) => readonly ChainStand[];
    readonly signed: (nodeId: string) => Promise<SignedHead[]>;
    readonly ca: string;
  };
  readonly epoch: () => bigint;
  readonly startedWallMs: number;
  readonly worstLagMs: () => number;
}

/** The fleet as the hub's doors see it, and the two calls by which the hub says that something changed. */
export interface View extends Fleet {
  nodeChanged(id: string): void;
  incidentChanged(incident: Incident): void;
}

export function fleetView({ judge, links, history, audit, epoch, startedWallMs, worstLagMs }: ViewOptions): View {
  const nodeWatchers = new Set<(id: string) => void>();
  const incidentWatchers = new Set<(incident: Incident) => void>();
  const watch = <T>(watchers: Set<T>, watcher: T) => {
    watchers.add(watcher);
    return () => {
      watchers.delete(watcher);
    };
  };
  const openByNode = () => {
    const counts = new Map<string, number>();
    for (const { nodeId } of judge.carrier.incidents.values()) counts.set(nodeId, (counts.get(nodeId) ?? 0) + 1);
    return counts;
  };
  const allIncidents = async (nodeId: string | undefined, openOnly: boolean, limit: number): Promise<Incident[]> => {
    const open = [...judge.carrier.incidents.values()].filter((one) => nodeId === undefined || one.nodeId === nodeId);
    const closed = openOnly ? [] : await history.closedIncidents({ nodeId, limit });
    // One that closed between the two looks is in both.
    const known = new Set(open.map(({ id }) => id));
    return [...open, ...closed.filter(({ id }) => !known.has(id))].sort(newestFirst).slice(0, limit);
  };
  return {
    nodeChanged(id) {
      for (const changed of nodeWatchers) changed(id);
    },
    incidentChanged(incident) {
      for (const changed of incidentWatchers) changed(incident);
    },
    nodes() {
      const counts = openByNode();
      return [...judge.entries.values()]
        .map((entry) => nodeOf(judge, entry, counts.get(entry.id) ?? 0))
        .sort(worstFirst);
    },
    node(id) {
      const entry = judge.entries.get(id);
      // Asked at every beat by each watcher: no map of all incidents for it.
      let open = 0;
      for (const { nodeId } of judge.carrier.incidents.values()) if (nodeId === id) open += 1;
      return entry && nodeOf(judge, entry, open);
    },
    onNode: (changed) => watch(nodeWatchers, changed),
    incidents: ({ nodeId, openOnly, limit }) => allIncidents(nodeId, openOnly, limit),
    async incident(idOrPrefix) {
      const found = (await allIncidents(undefined, false, closedMax)).filter(({ id }) => id.startsWith(idOrPrefix));
      const exact = found.find(({ id }) => id === idOrPrefix);
      if (found.length > 1 && !exact) {
        throw new Fault("BAD_REQUEST", `'${idOrPrefix}' begins the ids of ${found.length} incidents`);
      }
      return exact ?? found[0];
    },
    onIncident: (changed) => watch(incidentWatchers, changed),
    audit: (filter) => history.audit(filter),
    async chainedAudit(nodeId, after) {
      const page = await history.chained(nodeId, after);
      if (after !== "") return page;
      const chains = audit.stands(nodeId);
      const signed = await audit.signed(nodeId);
      return { ...page, header: { nodeId, source: "hub", chains, signed, hubKey: audit.ca } };
    },
    decisions: (filter) => history.decisions(filter),
    hub() {
      const at = { GREEN: 0, YELLOW: 0, ORANGE: 0, RED: 0 };
      for (const { state } of judge.entries.values()) at[levelOf(state)] += 1;
      const frozen = judge.groups.frozen().map((group) => group.replace(/^site\//, ""));
      return create(GetHubResponseSchema, {
        version,
        epoch: epoch(),
        startedAt: timestampFromMs(startedWallMs),
        green: at.GREEN,
        yellow: at.YELLOW,
        orange: at.ORANGE,
        red: at.RED,
        openIncidents: judge.carrier.incidents.size,
        frozen,
        verdict: verdictOf(at, judge.entries.size, frozen),
      });
    },
    counters() {
      const { tally } = judge.carrier;
      const link = links();
      return {
        heartbeats: link.beats,
        recordsStored: link.stored,
        recordsDuplicate: link.duplicates,
        quarantined: link.quarantined,
        sessionsOpen: link.open,
        sessionsOpened: link.opened,
        sessionsReplaced: link.replaced,
        levelChanges: { ...tally.levelChanges },
        ordersSent: tally.ordersSent,
        respawns: { ...tally.respawns },
        alerts: tally.alerts,
        incidentsOpened: tally.incidentsOpened,
        incidentsClosed: tally.incidentsClosed,
        detectSeconds: { ...tally.detectSeconds },
        recoverSeconds: { ...tally.recoverSeconds },
        worstLagSeconds: worstLagMs() / 1000,
      };
    },
  };
}

function nodeOf(judge: Judge, entry: Entry, openIncidents: number): Node {
  const { row, heartbeat, status, connected } = entry;
  const nowMs = judge.ports.clock.monotonicMs();
  const state = judge.beats.heard(entry);
  const agoMs = nowMs - judge.beats.lastMs(entry.slot);
  const beaten = Number.isFinite(agoMs);
  const wallMs = beaten ? Math.floor(judge.ports.clock.wallMs() - agoMs) : row.seenWallMs;
  const node = create(NodeSchema, {
    id: entry.id,
    level: levels[levelOf(state)],
    state: fleetStates[fleetStateOf(state, healthOf(entry))],
    presence: presenceOf(state),
    missed: state.at === "away" ? 0 : missedAfter(entry.policy, nowMs - state.sinceMs),
    health: heartbeat?.health ?? NodeHealth.UNSPECIFIED,
    connected,
    site: row.site,
    labels: { ...row.labels },
    incarnation: row.incarnation,
    session: row.session,
    version: row.version,
    workloads: status?.workloads ?? [],
    readings: heartbeat?.readings ?? [],
    because: becauseOf(presenceOf(state), row.levelBecause),
    frozen: state.frozenBy.length > 0,
    levelSince: timestampFromMs(row.levelSinceWallMs),
    openIncidents,
  });
  // Before the first beat since the hub's start nobody can say how long ago the last one was: the wall clock may have jumped.
  if (beaten) node.lastBeatAgo = durationFromMs(Math.round(agoMs));
  if (wallMs > 0) node.lastBeatAt = timestampFromMs(wallMs);
  if (row.inventory) node.inventory = row.inventory;
  return node;
}

/** A status comes at once, the node's own judgement with its next beat: until then the workloads speak for it. */
function healthOf({ health, status }: Entry): Health {
  const troubled = status?.workloads.some(
    (one) => one.health === WorkloadHealth.DEGRADED || one.health === WorkloadHealth.UNHEALTHY,
  );
  return troubled && health !== "failed" ? "degraded" : health;
}

function becauseOf(presence: Presence, levelBecause: string): string {
  if (presence === "GONE") return "it left on purpose";
  if (presence === "UNKNOWN") return "not heard since the hub's start";
  return levelBecause;
}

function worstFirst(left: Node, right: Node): number {
  return right.level - left.level || right.state - left.state || (left.id < right.id ? -1 : 1);
}
function newestFirst(left: Incident, right: Incident): number {
  const at = (incident: Incident) => (incident.detectedAt ? timestampMs(incident.detectedAt) : 0);
  return at(right) - at(left) || (left.id < right.id ? 1 : -1);
}

function verdictOf(at: Record<"GREEN" | "YELLOW" | "ORANGE" | "RED", number>, nodes: number, frozen: string[]): string {
  if (frozen.length > 0)
    return `Many nodes are silent together (${frozen.join(", ")}): nobody is restarted, a person decides.`;
  if (nodes === 0) return "No node has said hello yet.";
  if (at.RED > 0) return `${at.RED} of ${nodes} nodes do not answer and are being resurrected.`;
  if (at.ORANGE + at.YELLOW > 0) return `${at.ORANGE + at.YELLOW} of ${nodes} nodes are late.`;
  return nodes === 1 ? "The node is well." : `All ${nodes} nodes are well.`;
}
