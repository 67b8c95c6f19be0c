import { defaults, type Policy, validPolicy } from "@blueflame/agent/uplink/policy.ts";
import { start, step } from "@blueflame/agent/uplink/session.ts";
import type { Connected, Effect, Event, State, Welcome } from "@blueflame/agent/uplink/state.ts";
import type { Cancel } from "@blueflame/shared/time/clock.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";

/** Runs `step` as the driver does, on virtual time, and keeps every step for a replay. */
export class Rig {
  readonly clock = new VirtualClock(1_000);
  readonly policy: Policy;
  readonly steps: { state: State; event: Event; nowMs: number; after: State; effects: readonly Effect[] }[] = [];
  readonly done: { atMs: number; effect: Effect }[] = [];
  state: State;
  #cancel: Cancel = () => {};

  constructor(given: Partial<Policy> & { seed?: number; hubEpoch?: bigint } = {}) {
    const { seed = 1, hubEpoch = 0n, ...rest } = given;
    this.policy = validPolicy({ ...defaults, addresses: ["a:1"], incarnation: 1n, restarted: false, ...rest });
    this.state = start(this.policy, seed, hubEpoch, this.clock.monotonicMs());
    this.apply({ is: "wake" });
  }
  apply(event: Event): readonly Effect[] {
    const nowMs = this.clock.monotonicMs();
    const { state, effects } = step(this.policy, this.state, event, nowMs);
    this.steps.push({ state: this.state, event, nowMs, after: state, effects });
    this.state = state;
    for (const effect of effects) {
      this.done.push({ atMs: nowMs, effect });
      if (effect.do !== "wakeAt") continue;
      this.#cancel();
      this.#cancel = this.clock.wakeAt(effect.atMs, () => this.apply({ is: "wake" }));
    }
    return effects;
  }
  pass(ms: number): void {
    this.clock.advance(ms);
  }
  /** The times at which it did `what`. */
  times(what: Effect["do"]): number[] {
    return this.done.filter(({ effect }) => effect.do === what).map(({ atMs }) => atMs);
  }
  last<K extends Effect["do"]>(what: K): Extract<Effect, { do: K }> | undefined {
    const isOne = (effect: Effect): effect is Extract<Effect, { do: K }> => effect.do === what;
    return this.done.map(({ effect }) => effect).findLast(isOne);
  }
  /** Passes time until it connects. */
  connect(): this {
    const before = this.times("connect").length;
    while (this.times("connect").length === before) this.pass(10);
    return this;
  }
  welcome(given: Partial<Welcome> = {}): readonly Effect[] {
    this.apply({ is: "opened" });
    const usual = {
      intervalMs: 15_000,
      epoch: 1n,
      durable: 0n,
      window: 200,
      recordsPerSecond: 0,
      lastSeq: 0n,
      behind: false,
    };
    const welcome = { ...usual, ...given };
    return this.apply({ is: "welcome", welcome });
  }
  get open(): Connected {
    if (this.state.phase.at !== "connected") throw new Error(`the session is ${this.state.phase.at}`);
    return this.state.phase;
  }
}
/** What a refused connection looks like to a session. */
export const unreachableHub: Event = { is: "failed", code: "HUB_UNREACHABLE", saw: "refused" };
