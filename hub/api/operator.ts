import { headerLine } from "@blueflame/shared/audit/lines.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { Incident } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type {
  GetHubRequest,
  GetHubResponseSchema,
  GetIncidentRequest,
  GetIncidentResponseSchema,
  GetNodeRequest,
  GetNodeResponseSchema,
  ListAuditRequest,
  ListAuditResponseSchema,
  ListDecisionsRequest,
  ListDecisionsResponseSchema,
  ListIncidentsRequest,
  ListIncidentsResponseSchema,
  ListNodesRequest,
  ListNodesResponseSchema,
  ReadAuditRequest,
  ReadAuditResponseSchema,
  WatchIncidentsRequest,
  WatchIncidentsResponseSchema,
  WatchNodesRequest,
  WatchNodesResponseSchema,
} from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { Fleet } from "../fleet.ts";
import { latest } from "./latest.ts";

/** Who calls: its signal is aborted when the caller has left. Connect's handler context is one. */
export interface Caller {
  readonly signal: AbortSignal;
}

/** The operator service, whatever it is served with: plain functions and generators that throw Faults. */
export interface OperatorApi {
  listNodes(request: ListNodesRequest): MessageInitShape<typeof ListNodesResponseSchema>;
  getNode(request: GetNodeRequest): MessageInitShape<typeof GetNodeResponseSchema>;
  watchNodes(
    request: WatchNodesRequest,
    caller: Caller,
  ): AsyncGenerator<MessageInitShape<typeof WatchNodesResponseSchema>>;
  listIncidents(request: ListIncidentsRequest): Promise<MessageInitShape<typeof ListIncidentsResponseSchema>>;
  getIncident(request: GetIncidentRequest): Promise<MessageInitShape<typeof GetIncidentResponseSchema>>;
  watchIncidents(
    request: WatchIncidentsRequest,
    caller: Caller,
  ): AsyncGenerator<MessageInitShape<typeof WatchIncidentsResponseSchema>>;
  listAudit(request: ListAuditRequest): Promise<MessageInitShape<typeof ListAuditResponseSchema>>;
  readAudit(request: ReadAuditRequest): Promise<MessageInitShape<typeof ReadAuditResponseSchema>>;
  listDecisions(request: ListDecisionsRequest): Promise<MessageInitShape<typeof ListDecisionsResponseSchema>>;
  getHub(request: GetHubRequest): MessageInitShape<typeof GetHubResponseSchema>;
}

/** Streams open at once over all doors; more are refused with LIMIT_REACHED. */
export const watchersMax = 256;
/** Nodes, or incidents, that may wait for one slow watcher; then its stream ends with LIMIT_REACHED. */
const waitingMax = 100_000;
const limitDefault = 50;
const limitMost = 500;
/** A node id is at most 63 characters and an incident id 36; longer ones are no question. */
const idMost = 200;

/**
 * Answers every operator call from the fleet. Requests are bounded (`limit` 0 means 50, at most 500); ids that cannot be
 * one are BAD_REQUEST, ids that nobody has NOT_FOUND. A watch sends what there is and then changes, until the caller leaves
 * or stops reading for good; it keeps only the latest of each node, so a slow reader misses steps and never the end.
 */
export function operatorApi(fleet: Fleet): OperatorApi {
  let watchers = 0;
  async function* counted<Value>(values: AsyncGenerator<Value>): AsyncGenerator<Value> {
    if (watchers >= watchersMax) throw new Fault("LIMIT_REACHED", `${watchersMax} watches are open at this hub`);
    watchers += 1;
    try {
      yield* values;
    } finally {
      watchers -= 1;
    }
  }
  return {
    listNodes: ({ levels, site }) => ({
      nodes: fleet
        .nodes()
        .filter((node) => (levels.length === 0 || levels.includes(node.level)) && (site === "" || node.site === site)),
    }),
    getNode: ({ id }) => ({ node: knownNode(fleet, required(id)) }),
    watchNodes: ({ id }, { signal }) => counted(nodeChanges(fleet, bounded(id), signal)),
    listIncidents: async ({ nodeId, openOnly, limit }) => ({
      incidents: await fleet.incidents({ ...onNode(nodeId), openOnly, limit: bound(limit) }),
    }),
    getIncident: async ({ id }) => {
      const incident = await fleet.incident(required(id));
      if (incident === undefined) throw new Fault("NOT_FOUND", `no incident '${id}' is known`);
      return { incident };
    },
    watchIncidents: ({ nodeId }, { signal }) => counted(incidentChanges(fleet, bounded(nodeId), signal)),
    listAudit: async ({ nodeId, limit, before }) => ({
      records: await fleet.audit({
        ...onNode(nodeId),
        limit: bound(limit),
        ...(before === undefined ? {} : { beforeMs: timestampMs(before) }),
      }),
    }),
    readAudit: async ({ nodeId, after }) => {
      knownNode(fleet, required(nodeId));
      const { header, records, next } = await fleet.chainedAudit(nodeId, bounded(after));
      return { chainJson: header ? headerLine(header) : "", records: [...records], next };
    },
    listDecisions: async ({ nodeId, limit }) => ({
      records: await fleet.decisions({ ...onNode(nodeId), limit: bound(limit) }),
    }),
    getHub: () => fleet.hub(),
  };
}

async function* nodeChanges(fleet: Fleet, id: string, signal: AbortSignal) {
  const changed = latest<string>(waitingMax);
  let overflown = false;
  // Listening begins before the list is read: a change in between is sent twice rather than never.
  const stop = fleet.onNode((node) => {
    if (id === "" || node === id) overflown ||= !changed.put(node, node);
  });
  try {
    for (const node of id === "" ? fleet.nodes() : [knownNode(fleet, id)]) yield { node };
    while (!signal.aborted) {
      for (const one of await changed.take(signal)) {
        // Read now and not when it changed: whoever reads slowly gets the state of now.
        const node = fleet.node(one);
        if (node !== undefined) yield { node };
      }
      if (overflown) throw new Fault("LIMIT_REACHED", `more than ${waitingMax} nodes waited for a slow reader`);
    }
  } finally {
    stop();
  }
}

async function* incidentChanges(fleet: Fleet, nodeId: string, signal: AbortSignal) {
  const changed = latest<Incident>(waitingMax);
  let overflown = false;
  const stop = fleet.onIncident((incident) => {
    if (nodeId === "" || incident.nodeId === nodeId) overflown ||= !changed.put(incident.id, incident);
  });
  try {
    for (const incident of await fleet.incidents({ ...onNode(nodeId), openOnly: true, limit: limitMost })) {
      yield { incident };
    }
    while (!signal.aborted) {
      for (const incident of await changed.take(signal)) yield { incident };
      if (overflown) throw new Fault("LIMIT_REACHED", `more than ${waitingMax} incidents waited for a slow reader`);
    }
  } finally {
    stop();
  }
}

function knownNode(fleet: Fleet, id: string) {
  const node = fleet.node(id);
  if (node === undefined) throw new Fault("NOT_FOUND", `no node '${id}' is known to this hub`);
  return node;
}

function bound(limit: number): number {
  return limit === 0 ? limitDefault : Math.min(limit, limitMost);
}

function bounded(id: string): string {
  if (id.length > idMost) throw new Fault("BAD_REQUEST", `an id of ${id.length} characters is longer than ${idMost}`);
  return id;
}

function required(id: string): string {
  if (id === "") throw new Fault("BAD_REQUEST", "the id is missing");
  return bounded(id);
}

function onNode(nodeId: string): { nodeId?: string } {
  return nodeId === "" ? {} : { nodeId: bounded(nodeId) };
}
