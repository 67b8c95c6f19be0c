import {
  askBudget,
  type Budget,
  type BudgetPolicy,
  emptyBudget,
  releaseBudget,
  restoredBudget,
} from "@blueflame/hub/actions/budget.ts";
import { newOrder, type Order, type OrderEvent, orderStep, restoredOrder } from "@blueflame/hub/actions/order.ts";
import { step } from "@blueflame/hub/escalation/machine.ts";
import {
  everyone,
  type Group,
  groupsOf,
  type MassEvent,
  type MassPolicy,
  massDeadline,
  massStep,
  newGroup,
  restoredGroup,
} from "@blueflame/hub/escalation/mass.ts";
import type { Policy } from "@blueflame/hub/escalation/policy.ts";
import { restored } from "@blueflame/hub/escalation/restored.ts";
import {
  deadline,
  type Effect,
  type Event,
  type Health,
  heardAt,
  levelOf,
  needsStep,
  newNode,
  type Spending,
  type State,
} from "@blueflame/hub/escalation/state.ts";
import { type About, carryOut, type IncidentEffect } from "@blueflame/hub/incidents/incident.ts";
import { invariant, unreachable } from "@blueflame/shared/errors/fault.ts";
import type { Incident } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { Moment } from "@blueflame/shared/time/clock.ts";
import type { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";

/** What the hub does to the world; the world answers through the hub's methods. */
export interface Hands {
  probe(node: string, ask: number): void;
  respawn(node: string, attempt: number): void;
  order(node: string, order: Order): void;
}

/** What was seen of the hub, for traces and checkers. */
export type Seen =
  | { readonly is: "effect"; readonly node: string; readonly effect: Effect }
  | { readonly is: "group"; readonly group: string; readonly what: string; readonly because: string }
  | { readonly is: "refused"; readonly node: string; readonly because: string }
  | { readonly is: "order"; readonly node: string; readonly id: string; readonly how: string; readonly because: string }
  | { readonly is: "away"; readonly ms: number };

export interface HubOptions {
  readonly clock: VirtualClock;
  readonly mass: MassPolicy;
  readonly budget: BudgetPolicy;
  readonly hands: Hands;
  readonly see: (seen: Seen) => void;
}

interface Row {
  state: State;
  readonly policy: Policy;
  readonly site: string;
  /** The arrival of the latest beat that did not go through `step`. */
  quietMs: number;
  /** When a sweep has something to do; kept beside the state, so that a sweep is a comparison for most nodes. */
  dueMs: number;
}

export const sweepEveryMs = 1_000;
// A late sweep is only a hint that the hub was away when it is later than its timer's ordinary spread.
const lagToleratedMs = 250;

/**
 * The real machines as the hub's shell runs them, in one process and without a disk: what would be stored survives
 * `restart` as JSON, everything else is lost.
 */
export class Hub {
  readonly #options: HubOptions;
  readonly rows = new Map<string, Row>();
  groups = new Map<string, Group>();
  budget: Budget = emptyBudget;
  readonly incidents = new Map<string, Incident>();
  orders = new Map<string, Order>();
  epoch = 1n;
  #ids = 0;
  #sweptMs: number;
  #fell = new Set<string>();
  #back = new Set<string>();

  constructor(options: HubOptions) {
    this.#options = options;
    this.#sweptMs = options.clock.monotonicMs();
  }

  add(node: string, site: string, policy: Policy): void {
    this.rows.set(node, { state: newNode(this.rows.size + 1, this.#now()), policy, site, quietMs: 0, dueMs: 0 });
    this.#due(node);
  }
  beat(node: string, health: Health): void {
    const row = this.#row(node);
    const event: Event = { is: "beat", health };
    if (needsStep(row.state, event)) this.tell(node, event);
    else row.quietMs = this.#options.clock.monotonicMs();
    this.#due(node);
  }
  stateOf(node: string): State {
    const row = this.#row(node);
    return heardAt(row.state, row.quietMs);
  }

  /** One event for one node: decide, store, act. */
  tell(node: string, event: Event): void {
    const row = this.#row(node);
    const before = this.stateOf(node);
    const now = this.#now();
    const { state, effects } = step(row.policy, before, event, now);
    row.state = state;
    this.#due(node);
    this.#count(node, before, state);
    for (const effect of effects) this.#act(node, effect, now);
  }

  /** Looks at everything that is due: first who turns YELLOW, then the groups, then the rest. */
  sweep(): void {
    const nowMs = this.#options.clock.monotonicMs();
    const lagMs = nowMs - this.#sweptMs - sweepEveryMs;
    this.#sweptMs = nowMs;
    if (lagMs > lagToleratedMs) this.#amnesty(lagMs);
    for (const [node, row] of this.rows) if (row.state.at === "green") this.#look(node);
    this.#census();
    for (const [node, row] of this.rows) if (row.state.at !== "green") this.#look(node);
    for (const order of this.orders.values()) this.#stepOrder(order, { is: "look" });
  }

  /** The process dies and starts again: only what was stored lives on. */
  restart(): void {
    const now = this.#now();
    const stored = <T>(value: T): T => JSON.parse(JSON.stringify(value));
    const holders = new Set<string>();
    for (const [node, row] of this.rows) {
      row.state = restored(row.policy, stored(row.state), now);
      row.quietMs = 0;
      this.#due(node);
      if (row.state.holds) holders.add(node);
    }
    this.groups = new Map([...this.groups].map(([name, group]) => [name, restoredGroup(stored(group))]));
    this.orders = new Map([...this.orders].map(([id, order]) => [id, restoredOrder(stored(order), now)]));
    this.budget = restoredBudget(stored(this.budget), holders, now);
    this.epoch += 1n;
    this.#fell = new Set();
    this.#back = new Set();
    this.#sweptMs = now.ms;
  }

  override(group: string, person: string): void {
    this.#mass(group, { is: "overridden", person });
  }
  orderResult(id: string, outcome: "done" | "failed" | "refused", because: string): void {
    this.#stepOrder(this.orders.get(id), { is: "result", outcome, because });
  }

  #amnesty(byMs: number): void {
    this.#options.see({ is: "away", ms: byMs });
    for (const node of this.rows.keys()) this.tell(node, { is: "amnesty", byMs });
    for (const group of this.groups.keys()) this.#mass(group, { is: "amnesty", byMs });
  }

  // One look does one thing; a few things may be due at once.
  #look(node: string, limit = 4): void {
    for (let looks = 0; looks < limit; looks++) {
      const row = this.#row(node);
      if (this.#options.clock.monotonicMs() <= row.dueMs) return;
      this.tell(node, { is: "sweep" });
      if (row.state.at === "yellow") return; // the groups are asked before it climbs on
    }
  }

  #due(node: string): void {
    const row = this.#row(node);
    row.dueMs = deadline(row.policy, this.stateOf(node));
  }

  #count(node: string, before: State, after: State): void {
    if (before.at === "green" && after.at === "yellow") {
      this.#fell.add(node);
      this.#back.delete(node);
    }
    const silent = before.at === "yellow" || before.at === "orange" || before.at === "red";
    if (silent && (after.at === "green" || after.at === "away")) this.#back.add(node);
  }

  #census(): void {
    const nowMs = this.#options.clock.monotonicMs();
    const due = [...this.groups.values()].some((group) => nowMs > massDeadline(this.#options.mass, group));
    if (!due && this.#fell.size + this.#back.size === 0) return;
    // Everyone first: a larger group explains the smaller ones.
    const groups = [...this.#members()].sort(
      ([left], [right]) => Number(right === everyone) - Number(left === everyone),
    );
    for (const [group, members] of groups) {
      const state = this.groups.get(group) ?? newGroup(group);
      const fell = members.filter((node) => this.#fell.has(node));
      const back = members.filter((node) => this.#back.has(node));
      const due = this.#options.clock.monotonicMs() > massDeadline(this.#options.mass, state);
      if (fell.length + back.length === 0 && !due) continue;
      const alive = members.filter((node) => this.stateOf(node).at === "green").length;
      const covered = group !== everyone && this.groups.get(everyone)?.at === "frozen";
      this.#mass(group, { is: "census", fell, back, alive, covered });
    }
    this.#fell.clear();
    this.#back.clear();
  }

  #members(): Map<string, string[]> {
    const sites = new Set([...this.rows.values()].map(({ site }) => site)).size;
    const members = new Map<string, string[]>();
    for (const [node, { site }] of this.rows) {
      for (const group of groupsOf(site, sites)) members.set(group, [...(members.get(group) ?? []), node]);
    }
    return members;
  }

  #mass(group: string, event: MassEvent): void {
    const now = this.#now();
    const before = this.groups.get(group) ?? newGroup(group);
    const { state, effects, because } = massStep(this.#options.mass, before, event, now);
    this.groups.set(group, state);
    for (const effect of effects) {
      switch (effect.do) {
        case "freeze":
          this.#options.see({ is: "group", group, what: "freeze", because });
          for (const node of this.#members().get(group) ?? []) this.tell(node, { is: "frozen", group });
          break;
        case "thaw":
          this.#options.see({ is: "group", group, what: "thaw", because });
          for (const [node, { state }] of this.rows) {
            if (state.frozenBy.includes(group)) this.tell(node, { is: "thawed", group });
          }
          break;
        case "alert":
          this.#options.see({ is: "group", group, what: "alert", because: effect.because });
          break;
        default:
          this.#incident(effect, { nodeId: "", site: group, symptom: "site_silent" }, now);
      }
    }
  }

  #act(node: string, effect: Effect, now: Moment): void {
    this.#options.see({ is: "effect", node, effect });
    switch (effect.do) {
      case "setLevel":
      case "alert":
        return;
      case "openIncident":
      case "updateIncident":
      case "closeIncident":
        this.#incident(effect, { nodeId: node, site: this.#row(node).site, symptom: "node_silent" }, now);
        return;
      case "askBudget":
        this.#askBudget(node, effect.for, now);
        return;
      case "releaseBudget":
        this.budget = releaseBudget(this.budget, node);
        return;
      case "order":
        this.#order(node, effect, now);
        return;
      case "sendOrder":
        this.#sendOrder(this.orders.get(effect.id));
        return;
      case "voidOrder":
        this.#stepOrder(this.orders.get(effect.id), { is: "void", because: effect.because });
        return;
      case "askSecondPath":
        this.#options.hands.probe(node, effect.ask);
        return;
      case "respawn":
        this.#options.hands.respawn(node, effect.attempt);
        return;
      default:
        unreachable(effect);
    }
  }

  #askBudget(node: string, what: Spending, now: Moment): void {
    const { site } = this.#row(node);
    const siteNodes = [...this.rows.values()].filter((row) => row.site === site).length;
    const { budget, verdict } = askBudget(this.#options.budget, this.budget, { node, site, siteNodes, for: what }, now);
    this.budget = budget;
    if (!verdict.granted) this.#options.see({ is: "refused", node, because: verdict.because });
    this.tell(node, { is: "budget", for: what, verdict });
  }

  #order(node: string, effect: Extract<Effect, { do: "order" }>, now: Moment): void {
    const { id, incarnation, because, how } = effect;
    const { state, policy } = this.#row(node);
    const incidentId = state.incident?.id ?? "";
    const action = { is: "restartAgent" } as const;
    const given = { id, node, action, incarnation, because, incidentId, validForMs: policy.orderValidMs };
    const order = newOrder(given, now);
    this.orders.set(id, order);
    if (how === "send") this.#sendOrder(order);
    else this.#options.see({ is: "order", node, id, how: "kept", because });
  }

  #sendOrder(order: Order | undefined): void {
    if (!order) return;
    const { incarnation } = this.stateOf(order.node);
    this.#stepOrder(order, { is: "send", epoch: this.epoch, incarnation });
  }
  #stepOrder(order: Order | undefined, event: OrderEvent): void {
    if (!order) return;
    const { state, effects } = orderStep(order, event, this.#now());
    this.orders.set(order.id, state);
    for (const effect of effects) {
      const how = effect.do === "send" ? "sent" : effect.how;
      const because = effect.do === "send" ? order.because : effect.because;
      this.#options.see({ is: "order", node: order.node, id: order.id, how, because });
      if (effect.do === "send") this.#options.hands.order(order.node, state);
      else this.tell(order.node, { is: "orderEnded", id: order.id, ok: effect.how === "done", because });
    }
  }
  #incident(effect: IncidentEffect, about: About, now: Moment): void {
    this.incidents.set(effect.id, carryOut(this.incidents.get(effect.id), effect, about, now));
  }

  level(node: string): string {
    return levelOf(this.stateOf(node));
  }
  #row(node: string): Row {
    const row = this.rows.get(node);
    invariant(row !== undefined, `node ${node} was added`);
    return row;
  }
  #now(): Moment {
    const { clock } = this.#options;
    this.#ids++;
    return { ms: clock.monotonicMs(), wallMs: clock.wallMs(), id: `id-${this.#ids}` };
  }
}
