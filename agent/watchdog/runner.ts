import { begin, step, wakeMs } from "./machine.ts";
import type { GuardPolicy } from "./policy.ts";
import type { Effect, Event, Farewell, Identity, Look, State } from "./state.ts";

/** A wake that comes later than this says that we were away: stopped, suspended, or without a processor. */
const lateAfterMs = 500;

/** What the machine's shell is given of the world. */
export interface World {
  /** Monotonic. */
  nowMs(): number;
  /** In [0, 1). */
  chance(): number;
  /** Once, at `atMs` or as soon after it as it can. */
  wakeAt(atMs: number, wake: () => void): () => void;
  look(process: Identity): Look;
  /** Does not wait; what comes of it is posted. */
  perform(effect: Exclude<Effect, { do: "look" }>, state: State): void;
}

/** Runs the machine: one step after the other, its effects in order, its own lateness noticed. Whoever made it stops it. */
export class Runner {
  readonly #policy: () => GuardPolicy;
  readonly #world: World;
  #state: State;
  #cancel: () => void = () => undefined;
  readonly #posted: Event[] = [];
  #busy = false;
  #stopped = false;

  /** `policy` is asked at each step. `rests` as in {@link begin}. */
  constructor(policy: () => GuardPolicy, world: World, rests: Farewell | undefined) {
    this.#policy = policy;
    this.#world = world;
    this.#state = begin(policy(), rests, this.#now());
    this.#wakeLater();
  }

  get state(): State {
    return this.#state;
  }

  /** May be called from anywhere, also while effects run: it is taken up after them. */
  post(event: Event): void {
    if (this.#stopped) return;
    this.#posted.push(event);
    if (this.#busy) return;
    this.#busy = true;
    try {
      for (let next = this.#posted.shift(); next && !this.#stopped; next = this.#posted.shift()) this.#take(next);
    } finally {
      this.#busy = false;
    }
    this.#wakeLater();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  #take(event: Event): void {
    const { state, effects } = step(this.#policy(), this.#state, event, this.#now());
    this.#state = state;
    for (const effect of effects) {
      if (effect.do === "look") {
        this.#posted.push({ is: "looked", process: effect.process, ...this.#world.look(effect.process) });
      } else this.#world.perform(effect, state);
    }
  }

  #now(): { ms: number; chance: number } {
    return { ms: this.#world.nowMs(), chance: this.#world.chance() };
  }

  #wakeLater(): void {
    this.#cancel();
    this.#cancel = () => undefined;
    const atMs = wakeMs(this.#state);
    if (this.#stopped || atMs === Number.POSITIVE_INFINITY) return;
    const plannedMs = Math.max(atMs, this.#world.nowMs());
    this.#cancel = this.#world.wakeAt(atMs, () => {
      const lateMs = this.#world.nowMs() - plannedMs;
      if (lateMs > lateAfterMs) this.post({ is: "late", ms: lateMs });
      this.post({ is: "woke" });
    });
  }
}
