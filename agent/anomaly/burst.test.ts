/** Counts of errors over a day and more; how the trigger uses the verdict is in `triggers/burst.test.ts`. */
import { seeded } from "@blueflame/shared/random/random.ts";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { type BurstPolicy, burst, countErrors, type Errors, freshErrors, isForgotten } from "./burst.ts";

const policy: BurstPolicy = { windowMs: 60_000, least: 20 };

/** A workload whose errors are counted every 5 s. */
class Counting {
  nowMs = 1_000_000;
  errors: Errors = freshErrors(this.nowMs);
  #window: number[] = [];

  pass(slots: number, count: () => number) {
    return Array.from({ length: slots }, () => {
      this.nowMs += 5000;
      const seen = count();
      this.#window = [seen, ...this.#window].slice(0, 12);
      this.errors = countErrors(this.errors, policy, seen, this.nowMs);
      return this.verdict();
    });
  }
  verdict() {
    const seen = this.#window.reduce((sum, one) => sum + one, 0);
    return burst(this.errors, policy, seen, this.nowMs);
  }
}

/** So many errors in a slot as a Poisson process of this mean makes (Knuth). */
function poisson(mean: number, seed: number): () => number {
  const random = seeded(seed);
  return () => {
    let count = -1;
    for (let product = 1; product > Math.exp(-mean); product *= random()) count += 1;
    return count;
  };
}

const dayOfSlots = 17_280;
const bursts = (verdicts: readonly { burst: boolean }[]) => verdicts.filter((one) => one.burst).length;

test.each([0.1, 0.5, 5, 25].flatMap((mean) => [1, 2].map((seed) => [mean, seed] as const)))(
  "PRA-8 a day of errors at a steady rate of %d per 5 s is no burst once the rate is known, seed %i",
  (mean, seed) => {
    const it = new Counting();
    const atFirst = bursts(it.pass(360, poisson(mean, seed)));
    const wrong = bursts(it.pass(dayOfSlots, poisson(mean, seed + 10)));
    console.log(`PRA-8 steady errors, mean ${mean}, seed ${seed}: ${atFirst} looks at first, then ${wrong} mistaken`);
    expect(wrong).toBe(0);
    expect(bursts(it.pass(3, () => 100 + 2 * mean))).toBeGreaterThan(0);
  },
);

test("PRA-8 a burst is seen within one slot, against silence and against a steady rate", () => {
  const silent = new Counting();
  expect(silent.pass(1, () => 19)[0]).toMatchObject({ burst: false });
  expect(silent.pass(1, () => 1)[0]).toMatchObject({ burst: true, usual: 0 });
  const steady = new Counting();
  expect(bursts(steady.pass(dayOfSlots, poisson(0.5, 3)))).toBe(0);
  expect(steady.pass(1, () => 40)[0]?.burst).toBe(true);
  expect(steady.verdict().usual).toBeCloseTo(6, 0);
});

test.each([1, 2, 3, 4, 5])(
  "PRA-8 errors that always come in clumps become usual, and a larger flood is still a burst, seed %i",
  (seed) => {
    const it = new Counting();
    const random = seeded(seed);
    const clumps = () => (random() < 1 / 60 ? 20 : 0);
    const atFirst = bursts(it.pass(720, clumps));
    const wrong = bursts(it.pass(dayOfSlots, clumps));
    console.log(`PRA-8 clumps of 20, seed ${seed}: ${atFirst} looks in the first hour, then ${wrong} of ${dayOfSlots}`);
    expect(wrong).toBeLessThan(dayOfSlots / 500);
    expect(it.pass(3, () => 60).at(-1)?.burst).toBe(true);
  },
);

test.each([
  [500, 100],
  [50, 30],
  [20, 20],
])(
  "PRA-8 an outage of ten minutes with %i errors per 5 s hides no burst of %i and as many after it",
  (during, after) => {
    const it = new Counting();
    it.pass(720, () => 0);
    expect(bursts(it.pass(120, () => during))).toBe(120);
    it.pass(36, () => 0);
    expect(it.pass(2, () => after).at(-1)?.burst).toBe(true);
  },
);

test("PRA-8 what stays is the new normal after a quarter of an hour, and so is the calm after it", () => {
  const it = new Counting();
  expect(bursts(it.pass(180, poisson(20, 4)))).toBeGreaterThan(170);
  it.pass(60, poisson(20, 4));
  expect(bursts(it.pass(dayOfSlots, poisson(20, 5)))).toBe(0);
  it.pass(60, () => 0);
  expect(it.pass(2, () => 20).at(-1)?.burst).toBe(true);
});

test("PRA-8 few errors are a burst where the config says so, against silence and against an error now and then", () => {
  const few = { windowMs: 60_000, least: 3 };
  expect(burst(freshErrors(0), few, 3, 1000).burst).toBe(true);
  let errors = freshErrors(0);
  for (let ms = 0; ms < 8 * 3_600_000; ms += 600_000) errors = countErrors(errors, few, 1, ms);
  expect(burst(errors, few, 3, 8 * 3_600_000).burst).toBe(true);
});

test("PRA-8 after a night without an error what was usual is forgotten, in one step", () => {
  const it = new Counting();
  it.pass(720, poisson(5, 1));
  expect(isForgotten(it.errors, policy, it.nowMs)).toBe(false);
  expect(isForgotten(it.errors, policy, it.nowMs + 12 * 3_600_000)).toBe(true);
});

test("PRA-8 the counters are bounded and their figures finite, whatever passes between two looks", () => {
  const step = fc.tuple(fc.oneof(fc.nat(20_000), fc.nat(1e9)), fc.oneof(fc.nat(50), fc.nat(2e9), fc.constant(-5)));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      let errors = freshErrors(0);
      let ms = 0;
      for (const [passedMs, count] of steps) {
        ms += passedMs;
        errors = countErrors(errors, policy, count, ms);
        expect(errors.slots.length).toBeLessThanOrEqual(12);
        expect(JSON.stringify(errors).length).toBeLessThan(500);
        const { usual, chance } = burst(errors, policy, 100, ms);
        expect(Number.isFinite(usual)).toBe(true);
        expect(chance > 0 && chance <= 1).toBe(true);
      }
    }),
    { seed: 8, numRuns: 200 },
  );
});
