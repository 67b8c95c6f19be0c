import type { Fleet, FleetCounters } from "@blueflame/hub/fleet.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import {
  type AuditRecord,
  AuditRecordSchema,
  type DecisionRecord,
  DecisionRecordSchema,
  type Incident,
  IncidentSchema,
  IncidentState,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import {
  FleetState,
  GetHubResponseSchema,
  Level,
  type Node,
  NodeSchema,
} from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";

/** A fleet in memory that behaves like the hub's: ordered, filtered, bounded, and it tells its watchers. */
export interface MemoryFleet extends Fleet {
  /** Adds or replaces a node and tells the watchers. Level GREEN and presence ALIVE unless said otherwise. */
  putNode(node: MessageInitShape<typeof NodeSchema> & { id: string }): Node;
  /** Adds or replaces an incident and tells the watchers. */
  putIncident(incident: MessageInitShape<typeof IncidentSchema> & { id: string }): Incident;
  putAudit(record: MessageInitShape<typeof AuditRecordSchema>): AuditRecord;
  putDecision(record: MessageInitShape<typeof DecisionRecordSchema>): DecisionRecord;
  /** Adds to the counters. */
  count(more: Partial<FleetCounters>): void;
  /** How many listen for nodes and incidents now. */
  readonly watchers: number;
  /** From now on every question fails with this. */
  breakWith(error: Error | undefined): void;
}

const none: FleetCounters = {
  heartbeats: 0,
  recordsStored: 0,
  recordsDuplicate: 0,
  quarantined: 0,
  sessionsOpen: 0,
  sessionsOpened: 0,
  sessionsReplaced: 0,
  levelChanges: { green: 0, yellow: 0, orange: 0, red: 0 },
  ordersSent: 0,
  respawns: { started: 0, failed: 0, alive: 0, refused: 0 },
  alerts: 0,
  incidentsOpened: 0,
  incidentsClosed: 0,
  detectSeconds: { sum: 0, count: 0 },
  recoverSeconds: { sum: 0, count: 0 },
  worstLagSeconds: 0,
};

/** An empty fleet; `startedMs` is the wall time at which its hub started. */
export function memoryFleet(startedMs = Date.UTC(2026, 10, 22, 10)): MemoryFleet {
  const nodes = new Map<string, Node>();
  const incidents = new Map<string, Incident>();
  const audit: AuditRecord[] = [];
  const decisions: DecisionRecord[] = [];
  const onNode = new Set<(id: string) => void>();
  const onIncident = new Set<(incident: Incident) => void>();
  let counters = none;
  let broken: Error | undefined;
  const whole = () => {
    if (broken !== undefined) throw broken;
  };
  const isOpen = (incident: Incident) => incident.state !== IncidentState.CLOSED;
  const sorted = () => [...nodes.values()].sort((a, b) => b.level - a.level || (a.id < b.id ? -1 : 1));
  return {
    nodes() {
      whole();
      return sorted();
    },
    node(id) {
      whole();
      return nodes.get(id);
    },
    onNode(changed) {
      onNode.add(changed);
      return () => onNode.delete(changed);
    },
    async incidents({ nodeId, openOnly, limit }) {
      whole();
      return [...incidents.values()]
        .filter((one) => (nodeId === undefined || one.nodeId === nodeId) && (!openOnly || isOpen(one)))
        .sort((a, b) => (a.id < b.id ? 1 : -1))
        .slice(0, limit);
    },
    async incident(idOrPrefix) {
      whole();
      const found = [...incidents.values()].filter(({ id }) => id.startsWith(idOrPrefix));
      if (found.length > 1) throw new Fault("BAD_REQUEST", `${found.length} incidents start with '${idOrPrefix}'`);
      return found[0];
    },
    onIncident(changed) {
      onIncident.add(changed);
      return () => onIncident.delete(changed);
    },
    async audit({ nodeId, limit, beforeMs = Number.POSITIVE_INFINITY }) {
      whole();
      return audit
        .filter((one) => nodeId === undefined || one.nodeId === nodeId)
        .filter((one) => Number(one.at?.seconds ?? 0n) * 1000 < beforeMs)
        .reverse()
        .slice(0, limit);
    },
    async chainedAudit(nodeId) {
      whole();
      return { records: audit.filter((one) => one.nodeId === nodeId && one.number > 0n), next: "" };
    },
    async decisions({ nodeId, limit }) {
      whole();
      return decisions
        .filter((one) => nodeId === undefined || one.subject === `node/${nodeId}`)
        .reverse()
        .slice(0, limit);
    },
    hub() {
      whole();
      const at = (level: Level) => sorted().filter((node) => node.level === level).length;
      const open = [...incidents.values()].filter(isOpen);
      const need = open.filter((one) => one.needsPerson).length;
      return create(GetHubResponseSchema, {
        version: "0.1.0",
        epoch: 7n,
        startedAt: timestampFromMs(startedMs),
        green: at(Level.GREEN),
        yellow: at(Level.YELLOW),
        orange: at(Level.ORANGE),
        red: at(Level.RED),
        openIncidents: open.length,
        verdict: `${need} of ${nodes.size} need you; ${open.length - need} healing`,
      });
    },
    counters() {
      whole();
      return counters;
    },
    putNode(init) {
      const node = create(NodeSchema, {
        level: Level.GREEN,
        state: FleetState.HEALTHY,
        presence: "ALIVE",
        connected: true,
        lastBeatAgo: durationFromMs(1200),
        lastBeatAt: timestampFromMs(startedMs),
        levelSince: timestampFromMs(startedMs),
        because: "beats arrive",
        ...init,
      });
      nodes.set(node.id, node);
      for (const changed of [...onNode]) changed(node.id);
      return node;
    },
    putIncident(init) {
      const incident = create(IncidentSchema, {
        state: IncidentState.OPEN,
        detectedAt: timestampFromMs(startedMs),
        ...init,
      });
      incidents.set(incident.id, incident);
      for (const changed of [...onIncident]) changed(incident);
      return incident;
    },
    putAudit(init) {
      const record = create(AuditRecordSchema, init);
      audit.push(record);
      return record;
    },
    putDecision(init) {
      const record = create(DecisionRecordSchema, init);
      decisions.push(record);
      return record;
    },
    count(more) {
      counters = { ...counters, ...more };
    },
    get watchers() {
      return onNode.size + onIncident.size;
    },
    breakWith(error) {
      broken = error;
    },
  };
}
