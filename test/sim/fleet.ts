import { createHash } from "node:crypto";
import { budgetDefaults } from "@blueflame/hub/actions/budget.ts";
import type { Order } from "@blueflame/hub/actions/order.ts";
import { massPolicyOf } from "@blueflame/hub/escalation/mass.ts";
import { type Policy, policyOf, seconds } from "@blueflame/hub/escalation/policy.ts";
import { type Random, seeded } from "@blueflame/shared/random/random.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { Checker } from "./checker.ts";
import { Hub, type Seen, sweepEveryMs } from "./hub.ts";
import { type Net, SimNode } from "./node.ts";

/** How one run went. */
export interface Outcome {
  readonly seed: number;
  /** What must never be, and was; and what had to be in the end, and was not. Empty: all is well. */
  readonly violations: readonly string[];
  /** The same for the same seed. */
  readonly traceHash: string;
  readonly trace: readonly string[];
  readonly totals: Totals;
}
/** What happened, so that a run without faults is not taken for a proof. */
export type Totals = Record<
  "beats" | "reds" | "respawns" | "freezes" | "orders" | "alerts" | "away" | "restarts",
  number
>;

export const noTotals: Totals = {
  beats: 0,
  reds: 0,
  respawns: 0,
  freezes: 0,
  orders: 0,
  alerts: 0,
  away: 0,
  restarts: 0,
};

const faultsForMs = 20 * 60_000;
const settleForMs = 75 * 60_000; // longer than the hour of the budget
const intervalMs = 15_000;

/**
 * A hub and its fleet in one process, on virtual time, all from one seed: first twenty minutes of faults, then quiet.
 * Nodes crash, hang, leave and come back; links lose beats and are cut, alone and by whole sites; respawns fail; the hub
 * stalls and restarts. The checker sees every effect.
 */
export function runFleet(seed: number): Outcome {
  return new Fleet(seed).run();
}

class Fleet {
  readonly #seed: number;
  readonly #random: Random;
  readonly #clock = new VirtualClock();
  readonly #nodes = new Map<string, SimNode>();
  readonly #trace: string[] = [];
  readonly #totals = { ...noTotals };
  readonly #checker: Checker;
  readonly #hub: Hub;
  readonly #net: Net = { lossShare: 0, cutSites: new Set(), cutNodes: new Set(), hubDownUntilMs: 0 };
  #faulty = true;

  constructor(seed: number) {
    this.#seed = seed;
    this.#random = seeded(seed);
    const budget = { ...budgetDefaults, concurrent: 1 + this.#below(4), perHour: 30 };
    const policy = policyOf();
    this.#checker = new Checker(this.#clock, policy, budget, (text) => this.#note(`VIOLATION ${text}`));
    this.#hub = new Hub({
      clock: this.#clock,
      mass: massPolicyOf(policy),
      budget,
      see: (seen) => this.#see(seen),
      hands: {
        probe: (node, ask) => this.#probe(node, ask),
        respawn: (node, attempt) => this.#respawn(node, attempt),
        order: (node, order) => this.#order(node, order),
      },
    });
    this.#checker.watch(this.#hub);
    this.#populate();
  }

  run(): Outcome {
    this.#net.lossShare = this.#random() < 0.5 ? 0 : this.#random() * 0.1;
    for (const node of this.#nodes.values()) node.start(this.#random() * intervalMs);
    this.#every(sweepEveryMs, () => this.#hub.sweep());
    this.#fault();
    this.#clock.advance(faultsForMs);
    this.#calm();
    this.#clock.advance(settleForMs);
    this.#checker.settled(this.#hub, this.#nodes);
    const hash = createHash("sha256").update(this.#trace.join("\n")).digest("hex");
    const { violations } = this.#checker;
    return { seed: this.#seed, violations, traceHash: hash, trace: this.#trace, totals: this.#totals };
  }

  #populate(): void {
    const sites = 1 + this.#below(3);
    const size = 1 + this.#below(16);
    for (let index = 0; index < size; index++) {
      const id = `n${index + 1}`;
      const site = `s${1 + this.#below(sites)}`;
      const driver = this.#random() < 0.7;
      const policy: Policy = policyOf({ secondPath: driver && this.#random() < 0.8, respawn: driver });
      this.#hub.add(id, site, policy);
      this.#checker.add(id, site);
      this.#nodes.set(
        id,
        new SimNode({ id, site, clock: this.#clock, random: this.#random, net: this.#net }, this.#toHub),
      );
    }
  }

  // What a node says arrives here after its delay, unless the hub is away: then it waits, as bytes in a socket do.
  readonly #toHub = {
    hello: (node: string, incarnation: number) => {
      this.#checker.heard(node, "hello");
      this.#hub.tell(node, { is: "sessionOpened", incarnation });
    },
    beat: (node: string, health: "healthy" | "failed") => {
      this.#totals.beats++;
      this.#checker.heard(node, "beat");
      this.#hub.beat(node, health);
    },
    closed: (node: string) => this.#hub.tell(node, { is: "sessionClosed" }),
    leaves: (node: string, comesBack: boolean) => {
      this.#checker.heard(node, comesBack ? "leavesForAWhile" : "leaves");
      this.#note(`${node} leaves${comesBack ? " for a while" : ""}`);
      this.#hub.tell(node, { is: "goingAway", because: comesBack ? "upgrade" : "stop", comesBack });
    },
  };

  #fault(): void {
    if (!this.#faulty) return;
    const node = this.#pick([...this.#nodes.values()]);
    const dice = this.#random();
    if (dice < 0.25) this.#strike(node, "crashes", () => node.crash());
    else if (dice < 0.4) this.#strike(node, "hangs", () => node.hang());
    else if (dice < 0.5) this.#strike(node, "restarts by itself", () => node.revive());
    else if (dice < 0.58) node.leave(this.#random() < 0.5);
    else if (dice < 0.72) this.#cut(this.#net.cutNodes, node.id);
    else if (dice < 0.82) this.#cut(this.#net.cutSites, node.site);
    else if (dice < 0.92) this.#stall();
    else this.#restartHub();
    this.#after(5_000 + this.#random() * 90_000, () => this.#fault());
  }
  #strike(node: SimNode, what: string, act: () => void): void {
    this.#note(`${node.id} ${what}`);
    act();
  }
  #cut(set: Set<string>, name: string): void {
    this.#note(`link of ${name} is cut`);
    set.add(name);
    this.#after(10_000 + this.#random() * 180_000, () => {
      set.delete(name);
      this.#note(`link of ${name} is whole`);
    });
  }
  #stall(): void {
    if (this.#net.hubDownUntilMs > this.#clock.monotonicMs()) return;
    const ms = 500 + this.#random() * 120_000;
    this.#note(`hub stalls for ${seconds(ms)}`);
    this.#checker.awayFor(ms);
    this.#net.hubDownUntilMs = this.#clock.monotonicMs() + ms;
    // Nodes live on while the hub stands still: the sweep stops, and what arrives waits.
  }
  #restartHub(): void {
    this.#note("hub restarts");
    this.#totals.restarts++;
    this.#checker.restarted();
    this.#hub.restart();
    for (const node of this.#nodes.values()) node.reconnect();
  }
  // The world becomes kind: links are whole, the hub runs, respawns work. What crashed or hangs stays so.
  #calm(): void {
    this.#faulty = false;
    this.#net.lossShare = 0;
    this.#net.cutSites.clear();
    this.#net.cutNodes.clear();
    this.#note("the faults stop");
  }

  #probe(id: string, ask: number): void {
    const node = this.#node(id);
    this.#after(100 + this.#random() * 3_000, () => {
      // The second path may be blind where there is life; never the other way round.
      const alive = node.exists && (!this.#faulty || this.#random() < 0.9);
      this.#whenUp(() => this.#hub.tell(id, { is: "probeAnswered", ask, alive, because: alive ? "up" : "no answer" }));
    });
  }
  #respawn(id: string, attempt: number): void {
    const node = this.#node(id);
    this.#totals.respawns++;
    this.#checker.respawnBegins(id);
    this.#after(500 + this.#random() * 20_000, () => {
      const ok = !this.#faulty || this.#random() < 0.6;
      if (ok) node.respawn();
      this.#checker.respawnEnds(id);
      this.#whenUp(() => this.#hub.tell(id, { is: "respawnEnded", attempt, ok, because: ok ? "exit 0" : "exit 1" }));
    });
  }
  #order(id: string, order: Order): void {
    this.#totals.orders++;
    const node = this.#node(id);
    if (!node.reachable) return;
    this.#after(this.#random() * 200, () => {
      node.restartAgent();
      this.#after(3_000, () => this.#whenUp(() => this.#hub.orderResult(order.id, "done", "restarted")));
    });
  }

  #see(seen: Seen): void {
    this.#checker.saw(seen);
    this.#note(words(seen));
    if (seen.is === "away") this.#totals.away++;
    if (seen.is === "group" && seen.what === "freeze") this.#totals.freezes++;
    if (seen.is !== "effect") return;
    if (seen.effect.do === "alert") this.#totals.alerts++;
    if (seen.effect.do === "setLevel" && seen.effect.to === "RED") this.#totals.reds++;
  }

  #note(text: string): void {
    this.#trace.push(`${(this.#clock.monotonicMs() / 1000).toFixed(3)} ${text}`);
  }
  #after(ms: number, act: () => void): void {
    this.#clock.wakeAt(this.#clock.monotonicMs() + ms, act);
  }
  #every(ms: number, act: () => void): void {
    this.#after(ms, () =>
      this.#whenUp(() => {
        act();
        this.#every(ms, act);
      }),
    );
  }
  /** Now, or as soon as the hub no longer stands still. */
  #whenUp(act: () => void): void {
    const waitMs = this.#net.hubDownUntilMs - this.#clock.monotonicMs();
    if (waitMs > 0) this.#after(waitMs, act);
    else act();
  }
  #node(id: string): SimNode {
    const node = this.#nodes.get(id);
    if (!node) throw new Error(`no node ${id}`);
    return node;
  }
  #below(bound: number): number {
    return Math.floor(this.#random() * bound);
  }
  #pick<T>(from: readonly T[]): T {
    const one = from[this.#below(from.length)];
    if (one === undefined) throw new Error("nothing to pick from");
    return one;
  }
}

function words(seen: Seen): string {
  switch (seen.is) {
    case "away":
      return `hub was away for ${seconds(seen.ms)}`;
    case "group":
      return `${seen.group} ${seen.what}: ${seen.because}`;
    case "refused":
      return `${seen.node} refused: ${seen.because}`;
    case "order":
      return `${seen.node} order ${seen.how}: ${seen.because}`;
    case "effect":
      return `${seen.node} ${JSON.stringify(seen.effect)}`;
  }
}
