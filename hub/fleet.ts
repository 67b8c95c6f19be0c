import type { ChainHeader } from "@blueflame/shared/audit/check.ts";
import type { AuditRecord, DecisionRecord, Incident } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { GetHubResponse, Node } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";

/**
 * The fleet as the hub's doors see it: the operator service, the HTTP pages, the metrics. Implemented by the hub's shell
 * (`hub/hub.driver.ts`). Reads only; nothing here decides.
 */
export interface Fleet {
  /** Every node, worst first, then by id. */
  nodes(): Node[];
  node(id: string): Node | undefined;
  /** Calls `changed` with the id of a node after each change, until the returned function is called. */
  onNode(changed: (id: string) => void): () => void;
  /** Newest first. */
  incidents(filter: { nodeId?: string; openOnly: boolean; limit: number }): Promise<Incident[]>;
  /** By id or unique prefix; throws BAD_REQUEST for an ambiguous one. */
  incident(idOrPrefix: string): Promise<Incident | undefined>;
  onIncident(changed: (incident: Incident) => void): () => void;
  /** Newest first. */
  audit(filter: { nodeId?: string; limit: number; beforeMs?: number }): Promise<AuditRecord[]>;
  /** A page of a node's chained audit, see `History.chained`; the first one says how its chains stand. */
  chainedAudit(nodeId: string, after: string): Promise<ChainedAudit>;
  decisions(filter: { nodeId?: string; limit: number }): Promise<DecisionRecord[]>;
  hub(): GetHubResponse;
  /** Counters since the start, for /metrics. */
  counters(): FleetCounters;
}

/** Chained records of one node by their time, oldest first. */
export interface ChainedAudit {
  /** On the first page only. */
  readonly header?: ChainHeader;
  readonly records: readonly AuditRecord[];
  readonly next: string;
}

/** Monotone counters since the hub's start, and gauges of now. */
export interface FleetCounters {
  readonly heartbeats: number;
  readonly recordsStored: number;
  readonly recordsDuplicate: number;
  readonly quarantined: number;
  readonly sessionsOpen: number;
  readonly sessionsOpened: number;
  readonly sessionsReplaced: number;
  readonly levelChanges: Readonly<Record<"green" | "yellow" | "orange" | "red", number>>;
  readonly ordersSent: number;
  readonly respawns: Readonly<Record<"started" | "failed" | "alive" | "refused", number>>;
  readonly alerts: number;
  readonly incidentsOpened: number;
  readonly incidentsClosed: number;
  /** Sums for mean times, in seconds, with their counts: detection (MTTD) and recovery (MTTR). */
  readonly detectSeconds: { readonly sum: number; readonly count: number };
  readonly recoverSeconds: { readonly sum: number; readonly count: number };
  /** How late the hub's own sweep was at worst since the start, in seconds. */
  readonly worstLagSeconds: number;
}
