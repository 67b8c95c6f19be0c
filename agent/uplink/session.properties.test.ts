import * as fc from "fast-check";
import { expect, test } from "vitest";
import { Rig, unreachableHub } from "../../test/support/session-rig.ts";
import { inFlight } from "./backlog.ts";
import { step } from "./session.ts";

test("every wait stays within full jitter: at most base·2^n, never above the cap, whatever the seed", () => {
  const anySeed = fc.integer();
  fc.assert(
    fc.property(anySeed, (seed) => {
      const rig = new Rig({ seed });
      for (let failures = 0; failures < 12; failures += 1) {
        rig.connect();
        const failedAt = rig.clock.monotonicMs();
        rig.apply(unreachableHub);
        const { phase } = rig.state;
        if (phase.at !== "offline") throw new Error(phase.at);
        const wait = phase.retryAtMs - failedAt;
        expect(wait).toBeGreaterThanOrEqual(0);
        expect(wait).toBeLessThan(Math.min(30_000, 500 * 2 ** failures));
      }
    }),
    { numRuns: 100 },
  );
});

/** What a world of hub, line and store may do to a session, in any order. */
const anything = fc.oneof(
  { weight: 6, arbitrary: fc.record({ is: fc.constant("pass"), ms: fc.nat(20_000) }) },
  { weight: 4, arbitrary: fc.record({ is: fc.constant("append"), count: fc.integer({ min: 1, max: 300 }) }) },
  { weight: 4, arbitrary: fc.record({ is: fc.constant("hubStores"), batches: fc.nat(4) }) },
  { weight: 3, arbitrary: fc.record({ is: fc.constant("hubAcks") }) },
  { weight: 4, arbitrary: fc.record({ is: fc.constant("written") }) },
  { weight: 1, arbitrary: fc.record({ is: fc.constant("lose") }) },
  { weight: 1, arbitrary: fc.record({ is: fc.constant("move") }) },
  { weight: 1, arbitrary: fc.record({ is: fc.constant("unread") }) },
);

test("whatever hub, line and store do: every record arrives, none is forgotten before it is durable, the window holds", () => {
  fc.assert(
    fc.property(
      fc.integer(),
      fc.integer({ min: 1, max: 120 }),
      fc.array(anything, { maxLength: 60 }),
      (seed, window, steps) => {
        const world = new World(new Rig({ seed, chunkRecords: 40 }), window);
        for (const one of steps) world.do(one);
        // Then all faults end, and soon all is calm.
        for (let n = 0; n < 2_000 && world.hub < world.last; n += 1) {
          world.do({ is: "pass", ms: 200 });
          world.do({ is: "written" });
          world.do({ is: "hubStores", batches: 9 });
          world.do({ is: "hubAcks" });
        }
        expect(world.hub).toBe(world.last);
        expect(world.forgotten).toBeLessThanOrEqual(world.hub);
        for (const { state, event, nowMs, after, effects } of world.rig.steps) {
          expect(step(world.rig.policy, structuredClone(state), event, nowMs)).toEqual({ state: after, effects });
        }
      },
    ),
    { numRuns: 400 },
  );
});

/** A store, a line and a hub around a session: the hub stores what arrives in order and acknowledges it when told to. */
class World {
  readonly rig: Rig;
  readonly #window: number;
  last = 0n;
  hub = 0n;
  forgotten = 0n;
  #line: { after: bigint; through: bigint }[] = [];
  #seen = 0;

  constructor(rig: Rig, window: number) {
    this.rig = rig;
    this.#window = window;
  }

  do(one: { is: string; ms?: number; count?: number; batches?: number }): void {
    const { rig } = this;
    if (one.is === "pass") rig.pass(one.ms ?? 0);
    if (one.is === "append") {
      this.last += BigInt(one.count ?? 0);
      rig.apply({ is: "appended" });
    }
    if (one.is === "written") rig.apply({ is: "written" });
    if (one.is === "hubStores") {
      for (const { through } of this.#line.splice(0, one.batches ?? 0)) if (through > this.hub) this.hub = through;
    }
    if (one.is === "hubAcks") rig.apply({ is: "ack", through: this.hub, lastSeq: this.last });
    if (one.is === "lose") rig.apply(unreachableHub);
    if (one.is === "move") rig.apply({ is: "move", withinMs: 2_000, because: "hub_stop" });
    this.#react(one.is === "unread");
    if (rig.state.phase.at === "connected") expect(inFlight(rig.open.backlog)).toBeLessThanOrEqual(this.#window);
  }

  /** What driver, store and hub do about the effects. */
  #react(storeFails: boolean): void {
    const { rig } = this;
    while (this.#seen < rig.done.length) {
      const effect = rig.done[this.#seen]?.effect;
      this.#seen += 1;
      if (effect?.do === "connect") {
        rig.welcome({ durable: this.hub, lastSeq: this.last, window: this.#window });
      } else if (effect?.do === "close") {
        this.#line = [];
      } else if (effect?.do === "acknowledge") {
        expect(effect.through).toBeLessThanOrEqual(this.hub);
        if (effect.through > this.forgotten) this.forgotten = effect.through;
      } else if (effect?.do === "records" && storeFails) {
        rig.apply({ is: "unread" });
      } else if (effect?.do === "records") {
        // Nothing that was forgotten is asked for again: it could not be sent.
        expect(effect.after).toBeGreaterThanOrEqual(this.forgotten);
        const through = min(this.last, effect.after + BigInt(effect.limit));
        if (through > effect.after) this.#line.push({ after: effect.after, through });
        rig.apply({ is: "sent", through, count: Number(through - effect.after) });
      }
    }
  }
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
