import type { BudgetPolicy } from "@blueflame/hub/actions/budget.ts";
import { type Policy, seconds } from "@blueflame/hub/escalation/policy.ts";
import type { Effect, Level } from "@blueflame/hub/escalation/state.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { type Hub, type Seen, sweepEveryMs } from "./hub.ts";
import type { SimNode } from "./node.ts";

const rank: Readonly<Record<Level, number>> = { GREEN: 0, YELLOW: 1, ORANGE: 2, RED: 3 };
const hourMs = 3_600_000;

interface Known {
  readonly site: string;
  /** The last arrival of a beat, or a later moment from which its silence counts. */
  heardMs: number;
  /** How long the hub had been away in all at that moment. */
  awayMsThen: number;
  left: boolean;
  level: Level;
  redAlerted: boolean;
  respawning: boolean;
  /** Frozen by that many groups. */
  frozen: number;
}

/**
 * What must never be (safety), told from the effects and the world alone, with figures of its own; and what must be in
 * the end (liveness). It knows nothing of the machines' states but for the last look.
 */
export class Checker {
  readonly violations: string[] = [];
  readonly #clock: Clock;
  readonly #policy: Policy;
  readonly #budget: BudgetPolicy;
  readonly #note: (text: string) => void;
  readonly #nodes = new Map<string, Known>();
  readonly #sentOrders = new Set<string>();
  readonly #granted: number[] = [];
  #hub: Hub | undefined;
  #awayMs = 0;
  #running = 0;

  constructor(clock: Clock, policy: Policy, budget: BudgetPolicy, note: (text: string) => void) {
    this.#clock = clock;
    this.#policy = policy;
    this.#budget = budget;
    this.#note = note;
  }
  watch(hub: Hub): void {
    this.#hub = hub;
  }
  add(node: string, site: string): void {
    const fresh = { level: "GREEN", redAlerted: false, respawning: false, left: false, frozen: 0 } as const;
    this.#nodes.set(node, { site, heardMs: 0, awayMsThen: 0, ...fresh });
  }

  heard(node: string, what: "hello" | "beat" | "leaves" | "leavesForAWhile"): void {
    const known = this.#known(node);
    if (what === "hello") {
      if (known.left) this.#counts(known);
      known.left = false;
      return;
    }
    this.#counts(known);
    known.left = what === "leaves";
  }
  awayFor(ms: number): void {
    // A sweep is due once a period: the hub cannot tell the last period of a stall from waiting for the next sweep.
    this.#awayMs += Math.max(0, ms - 2 * sweepEveryMs);
  }
  restarted(): void {
    for (const known of this.#nodes.values()) this.#counts(known);
  }
  respawnBegins(node: string): void {
    const known = this.#known(node);
    if (known.respawning) this.#violate(`${node}: a second respawn while one runs`);
    known.respawning = true;
    this.#running++;
    if (this.#running > this.#budget.concurrent) {
      this.#violate(`${this.#running} respawns at once, the budget is ${this.#budget.concurrent}`);
    }
  }
  respawnEnds(node: string): void {
    this.#known(node).respawning = false;
    this.#running--;
  }

  saw(seen: Seen): void {
    if (seen.is === "effect") this.#effect(seen.node, seen.effect);
    if (seen.is === "group" && seen.what !== "alert") this.#group(seen.group, seen.what);
    if (seen.is === "order" && seen.how === "sent") {
      if (this.#sentOrders.has(seen.id)) this.#violate(`${seen.node}: order ${seen.id} went out twice`);
      this.#sentOrders.add(seen.id);
      this.#spent(seen.node);
    }
  }

  #effect(node: string, effect: Effect): void {
    const known = this.#known(node);
    if (effect.do === "setLevel") this.#level(node, known, effect.to);
    if (effect.do === "alert" && effect.kind === "red") {
      if (known.level !== "RED") this.#violate(`${node}: an alert for RED at ${known.level}`);
      if (known.redAlerted) this.#violate(`${node}: a second alert for one RED`);
      known.redAlerted = true;
    }
    if (effect.do === "respawn") {
      this.#spent(node);
      if (known.level !== "RED") this.#violate(`${node}: respawned at ${known.level}`);
      if (known.frozen > 0) this.#violate(`${node}: respawned while frozen`);
      if (known.left) this.#violate(`${node}: respawned though it left on purpose`);
      if (this.#silentMs(known) < this.#policy.redSilentMs && known.heardMs > 0 && !this.#wasRestarted(known)) {
        this.#violate(`${node}: respawned though it beat ${seconds(this.#silentMs(known))} ago`);
      }
    }
  }

  #level(node: string, known: Known, to: Level): void {
    const rises = rank[to] - rank[known.level];
    if (rises > 1) this.#violate(`${node}: from ${known.level} to ${to} at once`);
    if (rises > 0 && to !== "YELLOW" && known.frozen > 0) this.#violate(`${node}: rose to ${to} while frozen`);
    if (rises > 0 && known.left) this.#violate(`${node}: rose to ${to} though it left on purpose`);
    if (to === "RED" && this.#silentMs(known) < this.#policy.redSilentMs) {
      this.#violate(`${node}: RED after ${seconds(this.#silentMs(known))} of silence`);
    }
    known.level = to;
    if (to !== "RED") known.redAlerted = false;
  }

  #group(group: string, what: string): void {
    for (const known of this.#nodes.values()) {
      if (group !== "all" && group !== `site/${known.site}`) continue;
      known.frozen += what === "freeze" ? 1 : -1;
      if (known.frozen === 0) this.#counts(known);
    }
  }

  #spent(node: string): void {
    const nowMs = this.#clock.monotonicMs();
    this.#granted.push(nowMs);
    const lastHour = this.#granted.filter((atMs) => atMs > nowMs - hourMs).length;
    if (lastHour > this.#budget.perHour) this.#violate(`${node}: ${lastHour} actions within the hour`);
    const held = this.#hub?.budget.held.length ?? 0;
    if (held > this.#budget.concurrent) this.#violate(`${node}: the budget holds ${held} at once`);
  }

  /** Faults stopped long ago: every node is well, or there is an explanation that a person can read. */
  settled(hub: Hub, nodes: ReadonlyMap<string, SimNode>): void {
    for (const [id, node] of nodes) {
      const state = hub.stateOf(id);
      const level = hub.level(id);
      if (node.is === "running" && level !== "GREEN") this.#violate(`${id}: runs, and is ${level} in the end`);
      if (node.is === "running" && state.at === "away") this.#violate(`${id}: runs, and counts as gone in the end`);
      if (node.is === "running" && state.incident) this.#violate(`${id}: runs, and its incident is open in the end`);
      // What left on purpose and never spoke again is gone, whatever became of it.
      const gone = node.is === "left" || this.#known(id).left;
      if (node.is !== "running" && !gone && !this.#explained(hub, id)) {
        this.#violate(`${id}: ${node.is}, ${level} in the end, and nobody is told`);
      }
      if (state.flight) this.#violate(`${id}: a respawn never ended`);
    }
    if (hub.budget.held.length > 0 && [...nodes.values()].every((node) => node.is === "running")) {
      this.#violate(`all is well, and ${hub.budget.held.length} parts of the budget are held`);
    }
  }

  #explained(hub: Hub, id: string): boolean {
    const state = hub.stateOf(id);
    // The group's own incident and alert explain it.
    if (state.frozenBy.length > 0) return state.frozenBy.every((group) => hub.groups.get(group)?.at === "frozen");
    if (state.at !== "red") return false;
    if (state.phase.is === "unreachable" || state.phase.is === "helpless") return true;
    if (state.phase.is === "asking" && state.told !== null) return true;
    return state.incident?.needsPerson === true;
  }

  #silentMs(known: Known): number {
    return this.#clock.monotonicMs() - known.heardMs - (this.#awayMs - known.awayMsThen);
  }
  // After a restart of the hub its silences begin anew, but a node that was RED before may be respawned when it pleases.
  #wasRestarted(known: Known): boolean {
    return known.redAlerted;
  }
  #counts(known: Known): void {
    known.heardMs = this.#clock.monotonicMs();
    known.awayMsThen = this.#awayMs;
  }
  #known(node: string): Known {
    const known = this.#nodes.get(node);
    if (!known) throw new Error(`no node ${node}`);
    return known;
  }
  #violate(text: string): void {
    this.violations.push(`${seconds(this.#clock.monotonicMs())} ${text}`);
    this.#note(text);
  }
}
