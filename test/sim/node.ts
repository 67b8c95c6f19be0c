import type { Random } from "@blueflame/shared/random/random.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";

/** The links between the nodes and the hub. */
export interface Net {
  /** Share of beats that are lost on the way. */
  lossShare: number;
  readonly cutSites: Set<string>;
  readonly cutNodes: Set<string>;
  /** Until then what arrives at the hub waits. */
  hubDownUntilMs: number;
}
/** The hub's ear. */
export interface Ear {
  hello(node: string, incarnation: number): void;
  beat(node: string, health: "healthy" | "failed"): void;
  closed(node: string): void;
  leaves(node: string, comesBack: boolean): void;
}
interface World {
  readonly id: string;
  readonly site: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly net: Net;
}

const intervalMs = 15_000;

/**
 * A node as simple as it can be: it runs, hangs (the agent's process stands still, its stream stays open), is dead, or has
 * left. It beats while it runs, over a link that may be cut; a cut link ends the stream, and the node says hello again
 * once it is whole.
 */
export class SimNode {
  readonly id: string;
  readonly site: string;
  readonly #world: World;
  readonly #ear: Ear;
  #is: "running" | "hanging" | "dead" | "left" = "dead";
  #incarnation = 1;
  #stream = false;
  // Bytes of one stream arrive in order: nothing overtakes what was said before.
  #lastArrivalMs = 0;
  // Counts starts, so that the beats of an earlier start stop.
  #life = 0;

  constructor(world: World, ear: Ear) {
    this.id = world.id;
    this.site = world.site;
    this.#world = world;
    this.#ear = ear;
  }

  get is(): "running" | "hanging" | "dead" | "left" {
    return this.#is;
  }
  /** A second path would find a machine that answers. */
  get exists(): boolean {
    return this.#is !== "dead";
  }
  get reachable(): boolean {
    return this.#stream && !this.#isCut();
  }

  start(delayMs = 0): void {
    this.#is = "running";
    this.#stream = false;
    const life = ++this.#life;
    const beat = (): void => {
      if (life !== this.#life || this.#is !== "running") return;
      this.#beat();
      this.#after(intervalMs, beat);
    };
    this.#after(delayMs, beat);
  }
  crash(): void {
    if (this.#is === "left") return;
    this.#is = "dead";
    this.#close();
  }
  /** The process stands still; nobody closes its stream. */
  hang(): void {
    if (this.#is === "running") this.#is = "hanging";
  }
  /** Comes back by itself, or by a person. */
  revive(): void {
    if (this.#is !== "running") this.start();
  }
  restartAgent(): void {
    if (this.#is === "running" || this.#is === "hanging") this.start(3_000);
  }
  respawn(): void {
    this.#incarnation++;
    this.start(1_000 + this.#world.random() * 20_000);
  }
  leave(comesBack: boolean): void {
    if (this.#is !== "running" || !this.reachable) return;
    this.#is = "left";
    this.#say(() => this.#ear.leaves(this.id, comesBack));
    this.#close();
    if (comesBack) this.#after(5_000 + this.#world.random() * 40_000, () => this.#is === "left" && this.start());
  }
  /** The hub restarted: the stream is gone, and the node says hello again after a while. */
  reconnect(): void {
    if (!this.#stream) return;
    this.#stream = false;
    const life = this.#life;
    this.#after(this.#world.random() * 5_000, () => {
      if (life === this.#life && this.#is === "running") this.#beat();
    });
  }

  #beat(): void {
    if (this.#isCut()) {
      this.#close();
      return;
    }
    if (!this.#stream) {
      this.#stream = true;
      const incarnation = this.#incarnation;
      this.#say(() => this.#ear.hello(this.id, incarnation));
    }
    if (this.#world.random() < this.#world.net.lossShare) return;
    const health = this.#world.random() < 0.05 ? "failed" : "healthy";
    this.#say(() => this.#ear.beat(this.id, health));
  }
  #close(): void {
    if (!this.#stream) return;
    this.#stream = false;
    this.#say(() => this.#ear.closed(this.id));
  }

  #say(arrive: () => void): void {
    const { clock, random, net } = this.#world;
    const travelledMs = clock.monotonicMs() + 1 + random() * 150;
    const atMs = Math.max(travelledMs, this.#lastArrivalMs);
    this.#lastArrivalMs = atMs;
    clock.wakeAt(atMs, () => {
      // The hub stands still: the bytes wait, in order, until it reads again.
      if (clock.monotonicMs() < net.hubDownUntilMs) {
        this.#lastArrivalMs = Math.max(this.#lastArrivalMs, net.hubDownUntilMs);
        clock.wakeAt(net.hubDownUntilMs + 1, arrive);
      } else arrive();
    });
  }
  #isCut(): boolean {
    const { net } = this.#world;
    return net.cutSites.has(this.site) || net.cutNodes.has(this.id);
  }
  #after(ms: number, act: () => void): void {
    this.#world.clock.wakeAt(this.#world.clock.monotonicMs() + ms, act);
  }
}
