import { seeded } from "@blueflame/shared/random/random.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { type BurstVerdict, burst, countErrors, defaultBurst, type Errors, freshErrors } from "./burst.ts";

/** A workload whose errors are counted every 5 s. */
class Counting {
  readonly clock = new VirtualClock(1_000_000);
  errors: Errors = freshErrors(this.now());

  now() {
    return { ms: this.clock.monotonicMs(), wallMs: this.clock.wallMs() };
  }
  pass(slots: number, count: () => number): BurstVerdict[] {
    return Array.from({ length: slots }, () => {
      this.clock.advance(5000);
      this.errors = countErrors(this.errors, defaultBurst, count(), this.now());
      return this.verdict();
    });
  }
  verdict(): BurstVerdict {
    return burst(this.errors, defaultBurst, this.now());
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

test.each([0.1, 0.5, 5, 25].flatMap((mean) => [1, 2].map((seed) => [mean, seed] as const)))(
  "PRA-8 a day of errors at a steady rate of %d per 5 s is no burst once the rate is known, seed %i",
  (mean, seed) => {
    const it = new Counting();
    it.pass(720, poisson(mean, seed));
    const bursts = it.pass(dayOfSlots, poisson(mean, seed + 10)).filter((one) => one.burst);
    console.log(`PRA-8 steady errors, mean ${mean}, seed ${seed}: ${bursts.length} of ${dayOfSlots} looks mistaken`);
    expect(bursts.length).toBe(0);
  },
);

test("PRA-8 a burst is seen within one slot, against nothing known, against silence and against a steady rate", () => {
  const early = new Counting();
  expect(early.pass(1, () => 30)[0]).toMatchObject({ burst: true, count: 30 });
  const silent = new Counting();
  silent.pass(dayOfSlots, () => 0);
  expect(silent.verdict().burst).toBe(false);
  expect(silent.pass(1, () => 9)[0]).toMatchObject({ burst: false, because: expect.stringContaining("fewer than 10") });
  expect(silent.pass(1, () => 3)[0]).toMatchObject({ burst: true });
  const steady = new Counting();
  steady.pass(dayOfSlots, poisson(0.5, 3));
  expect(steady.pass(1, () => 40)[0]?.burst).toBe(true);
  expect(steady.verdict().because).toMatch(
    /^\d\d errors in 60 s, usually [56]\.\d: by chance at most once in 1?\de\+\d+ looks$/,
  );
});

test("PRA-8 errors that always come in clumps become usual, and a larger flood is still a burst", () => {
  const it = new Counting();
  const random = seeded(5);
  const clumps = () => (random() < 1 / 60 ? 20 : 0);
  it.pass(720, clumps);
  const verdicts = it.pass(dayOfSlots, clumps);
  const looks = verdicts.filter((one) => one.burst).length;
  console.log(`PRA-8 clumps of 20, seed 5: ${looks} of ${dayOfSlots} looks mistaken`);
  expect(looks).toBeLessThan(dayOfSlots / 500);
  expect(it.pass(3, () => 60).at(-1)?.burst).toBe(true);
});

test("PRA-8 an outage of ten minutes hides no burst after it; what stays for a day is the new normal", () => {
  const it = new Counting();
  it.pass(720, () => 0);
  it.pass(120, () => 500);
  it.pass(36, () => 0);
  expect(it.pass(2, () => 100).at(-1)?.burst).toBe(true);
  const changed = new Counting();
  changed.pass(720, () => 0);
  expect(changed.pass(360, poisson(20, 4)).at(-1)?.burst).toBe(true); // half an hour
  expect(changed.pass(dayOfSlots, poisson(20, 4)).at(-1)?.burst).toBe(false);
});

test("PRA-8 a burst ends with its window, and a reboot forgets the window, not what is usual", () => {
  const it = new Counting();
  it.pass(720, poisson(5, 1));
  it.pass(2, () => 500);
  expect(it.verdict().burst).toBe(true);
  it.pass(13, poisson(5, 2));
  expect(it.verdict().burst).toBe(false);
  const rebooted = JSON.parse(JSON.stringify(it.errors)) as Errors;
  const now = { ms: 20_000, wallMs: 0 };
  expect(burst(rebooted, defaultBurst, now)).toMatchObject({ count: 0, burst: false });
  expect(burst(countErrors(rebooted, defaultBurst, 60, now), defaultBurst, now).burst).toBe(false);
  expect(burst(countErrors(rebooted, defaultBurst, 200, now), defaultBurst, now).burst).toBe(true);
});

test("PRA-8 the counters are bounded and their figures finite, whatever passes between two looks", () => {
  const step = fc.tuple(fc.oneof(fc.nat(20_000), fc.nat(1e9)), fc.oneof(fc.nat(50), fc.nat(2e9), fc.constant(-5)));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      let errors = freshErrors({ ms: 0, wallMs: 0 });
      let ms = 0;
      for (const [passedMs, count] of steps) {
        ms += passedMs;
        errors = countErrors(errors, defaultBurst, count, { ms, wallMs: ms });
        expect(errors.slots.length).toBeLessThanOrEqual(12);
        expect(JSON.stringify(errors).length).toBeLessThan(400);
        const { usual, chance } = burst(errors, defaultBurst, { ms, wallMs: ms });
        expect(Number.isFinite(usual)).toBe(true);
        expect(chance > 0 && chance <= 1).toBe(true);
      }
    }),
    { seed: 8, numRuns: 200 },
  );
});
