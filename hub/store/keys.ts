import type { Incident } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { Item } from "@blueflame/shared/store/log.ts";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { incidentBytes } from "./rows.ts";

/**
 * The hub's tables.
 *
 *   State                                   what must be right
 *     hub/epoch                    -> epoch of the hub that holds this store; the condition of every commit
 *     hub/up                       -> when the hub was here last, and its outages; see up-time.ts
 *     node/<id>                    -> NodeRow              the registry
 *     state/<node>                 -> escalation state with the hub's own clock beside it
 *     fleet/<name>                 -> state of the machines over many nodes: mass silence, budget
 *     order/<node>/<id>            -> Order of actions/order.ts, made and not ended
 *     alert/<id>                   -> Alert                decided and not yet told
 *     incident/<node>/<id>         -> Incident             open ones only; under its node, so that no node writes another's
 *     snapshot/<node>              -> which snapshots of the node's own store are kept; see snapshots.ts
 *     through/<node>/<generation>  -> seq, when it moved   everything up to here of that outbox is durable
 *     chain/<node>/<generation>    -> Chain of chains.ts   how far the node's chained audit is here
 *     anchor/<node>/<generation>   -> Link                 the last record of it that retention took away
 *     heard/<node>/<generation>    -> Heard                what the node said of its end that did not agree with what was here
 *   Log                                     what is large and only grows
 *     audit, decisions             id <node>/<generation>/<seq>, or hub/<uuid> of the hub's own
 *     incidents                    id <node>/<incident>    closed ones
 *     readings/<node>              id as above
 *     snapshot/<node>/<id>         parts of one snapshot, by their place
 *     unknown                      records of kinds that a newer hub will know
 */
export const upKey = "hub/up";
export const nodeKey = (id: string) => `node/${id}`;
export const stateKey = (nodeId: string) => `state/${nodeId}`;
export const fleetKey = (name: string) => `fleet/${name}`;
export const alertKey = (id: string) => `alert/${id}`;
export const orderKey = (nodeId: string, id: string) => `order/${nodeId}/${id}`;
export const incidentKey = (incident: Pick<Incident, "id" | "nodeId">) =>
  `incident/${incident.nodeId || "-"}/${incident.id}`;
export const throughKey = (nodeId: string, generation: string) => `through/${nodeId}/${generation}`;

export const chainKey = (nodeId: string, generation: string) => `chain/${nodeId}/${generation}`;
export const anchorKey = (nodeId: string, generation: string) => `anchor/${nodeId}/${generation}`;
export const heardKey = (nodeId: string, generation: string) => `heard/${nodeId}/${generation}`;

export const streams = {
  audit: "audit",
  decisions: "decisions",
  incidents: "incidents",
  unknown: "unknown",
  readings: (nodeId: string) => `readings/${nodeId}`,
} as const;

/** A closed incident as an item: in the order of its opening, once however often it is closed. */
export function closedIncidentItem(incident: Incident): Item {
  const at = incident.detectedAt ?? incident.closedAt;
  return {
    id: `${incident.nodeId}/${incident.id}`,
    at: at ? Math.max(0, timestampMs(at)) : 0,
    data: incidentBytes(incident),
  };
}
