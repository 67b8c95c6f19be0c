import type { AuditRecord, DecisionRecord, Incident } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { JsonObject } from "@bufbuild/protobuf";
import type { Order } from "../actions/order.ts";
import type { Alert } from "../notify/alert.ts";
import type { Step } from "../store/hub-store.ts";
import type { NodeRow } from "../store/rows.ts";

/** While the store refuses for hours sessions come and go: of decisions, and of audit, the newest of so many stay. */
export const recordsMax = 50_000;

/**
 * Everything that was decided and is not yet durable, and what to do once it is. While one draft is being written the
 * next one fills, so that a mass change costs few writes. Bounded by the fleet: of each row only the last state counts;
 * records by {@link recordsMax}, and what that drops is counted.
 */
export class Draft {
  readonly nodes = new Map<string, NodeRow>();
  readonly states = new Map<string, JsonObject>();
  readonly fleet = new Map<string, JsonObject>();
  readonly openIncidents = new Map<string, Incident>();
  readonly closedIncidents = new Map<string, Incident>();
  readonly orders = new Map<string, Order>();
  readonly endedOrders = new Map<string, Order>();
  readonly alerts = new Map<string, Alert>();
  readonly toldAlerts = new Set<string>();
  decisions: { nodeId: string; record: DecisionRecord }[] = [];
  audit: AuditRecord[] = [];
  /** Decisions and audit records that the bound has dropped. */
  dropped = 0;
  /** In this order, when all of the above is durable. */
  after: (() => void)[] = [];

  get empty(): boolean {
    return (
      this.after.length === 0 &&
      this.decisions.length === 0 &&
      this.audit.length === 0 &&
      this.#maps().every((map) => map.size === 0) &&
      this.toldAlerts.size === 0
    );
  }

  incident(incident: Incident, open: boolean): void {
    (open ? this.closedIncidents : this.openIncidents).delete(incident.id);
    (open ? this.openIncidents : this.closedIncidents).set(incident.id, incident);
  }
  order(order: Order, ended: boolean): void {
    (ended ? this.orders : this.endedOrders).delete(order.id);
    (ended ? this.endedOrders : this.orders).set(order.id, order);
  }

  step(): Step {
    return {
      nodes: [...this.nodes.values()],
      states: this.states,
      fleet: this.fleet,
      openIncidents: [...this.openIncidents.values()],
      closedIncidents: [...this.closedIncidents.values()],
      orders: [...this.orders.values()],
      endedOrders: [...this.endedOrders.values()],
      alerts: [...this.alerts.values()],
      toldAlerts: [...this.toldAlerts],
      decisions: this.decisions,
      audit: this.audit,
    };
  }

  /** This draft could not be written: what came later goes on top of it. */
  followedBy(later: Draft): Draft {
    for (const [id, row] of later.nodes) this.nodes.set(id, row);
    for (const [id, row] of later.states) this.states.set(id, row);
    for (const [name, row] of later.fleet) this.fleet.set(name, row);
    for (const incident of later.openIncidents.values()) this.incident(incident, true);
    for (const incident of later.closedIncidents.values()) this.incident(incident, false);
    for (const order of later.orders.values()) this.order(order, false);
    for (const order of later.endedOrders.values()) this.order(order, true);
    for (const [id, alert] of later.alerts) this.alerts.set(id, alert);
    for (const id of later.toldAlerts) this.toldAlerts.add(id);
    const decisions = [...this.decisions, ...later.decisions];
    const audit = [...this.audit, ...later.audit];
    this.decisions = decisions.slice(-recordsMax);
    this.audit = audit.slice(-recordsMax);
    this.dropped += later.dropped + decisions.length - this.decisions.length + audit.length - this.audit.length;
    this.after = [...this.after, ...later.after];
    return this;
  }

  #maps(): readonly ReadonlyMap<string, unknown>[] {
    const { nodes, states, fleet, openIncidents, closedIncidents, orders, endedOrders, alerts } = this;
    return [nodes, states, fleet, openIncidents, closedIncidents, orders, endedOrders, alerts];
  }
}
