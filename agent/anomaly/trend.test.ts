import { seeded } from "@blueflame/shared/random/random.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { seedsOr } from "../../test/support/seeds.ts";
import { defaultTrend, freshTrend, recordTrend, type Trend, type TrendVerdict, trendOf } from "./trend.ts";

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;

type Figure = (atMs: number, noise: () => number) => number;

/** Normal noise by Box and Muller. */
function noise(seed: number): () => number {
  const random = seeded(seed);
  return () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Follows a figure that is read every 15 s, and judges it every `lookMs` against a limit of 1000. */
function followed(figure: Figure, forMs: number, seed: number, lookMs = minuteMs) {
  const clock = new VirtualClock();
  const now = () => ({ bootId: "b1", bootMs: clock.bootMs(), wallMs: clock.wallMs() });
  const chance = noise(seed);
  let trend: Trend = freshTrend(now());
  const verdicts: (TrendVerdict & { readonly atMs: number })[] = [];
  for (let atMs = 0; atMs <= forMs; atMs += 15_000) {
    const value = figure(atMs, chance);
    if (value > 1000) break;
    trend = recordTrend(trend, value, now());
    if (atMs % lookMs === 0) verdicts.push({ ...trendOf(trend, 1000, defaultTrend, now()), atMs });
    clock.advance(15_000);
  }
  return { trend, verdicts };
}

const saw = (periodMs: number, height: number) => (atMs: number) => (height * (atMs % periodMs)) / periodMs;

/** Figures that reach no limit. */
const harmless: readonly [string, () => Figure][] = [
  ["noise", () => (_, g) => 500 + 20 * g()],
  ["a collector every 10 minutes", () => (atMs, g) => 300 + saw(10 * minuteMs, 400)(atMs) + 5 * g()],
  ["a collector every 45 minutes", () => (atMs, g) => 300 + saw(45 * minuteMs, 400)(atMs) + 5 * g()],
  ["a cache that warms up", () => (atMs, g) => 500 - 200 * Math.exp(-atMs / (15 * minuteMs)) + 5 * g()],
  ["day and night", () => (atMs, g) => 500 + 100 * Math.sin((2 * Math.PI * atMs) / (24 * hourMs)) + 5 * g()],
  [
    "a random walk",
    () => {
      let at = 500;
      return (_, g) => {
        at += g();
        return at;
      };
    },
  ],
  ["a flat line", () => () => 500],
];

const seeds = seedsOr(1);
test.each(harmless)("PRA-8 %s is no failure that comes within half an hour, looked at for 24 hours", (name, make) => {
  let [soon, growing, looks] = [0, 0, 0];
  for (const seed of seeds) {
    const { verdicts } = followed(make(), 24 * hourMs, seed, 3 * minuteMs);
    soon += verdicts.filter((one) => one.growing && (one.etaMs ?? 0) < 30 * minuteMs).length;
    growing += verdicts.filter((one) => one.growing).length;
    looks += verdicts.length;
  }
  const percent = ((100 * growing) / looks).toFixed(1);
  console.log(
    `PRA-8 ${name}, ${seeds.length} seeds: ${soon} of ${looks} looks say "soon", ${percent} % say "it grows"`,
  );
  expect(soon).toBe(0);
});

const leaks: readonly [string, number, Figure][] = [
  ["200 per hour", 200, (atMs, g) => 200 + (200 * atMs) / hourMs + 5 * g()],
  ["1000 per hour", 1000, (atMs, g) => 200 + (1000 * atMs) / hourMs + 5 * g()],
  [
    "200 per hour under a collector",
    200,
    (atMs, g) => 200 + (200 * atMs) / hourMs + saw(5 * minuteMs, 100)(atMs) + 5 * g(),
  ],
  ["400 per hour in steps of 16", 400, (atMs) => 200 + 16 * Math.floor((400 * atMs) / hourMs / 16)],
];

test.each(leaks.flatMap(([name, slope, figure]) => [1, 2, 3].map((seed) => [name, seed, slope, figure] as const)))(
  "PRA-8 a leak of %s is told before the limit, with the time that is left, seed %i",
  (name, seed, slope, figure) => {
    const { verdicts } = followed(figure, 24 * hourMs, seed);
    const endMs = verdicts.at(-1)?.atMs ?? 0;
    const told = verdicts.filter((one) => one.growing);
    const [first] = told;
    console.log(
      `PRA-8 ${name}, seed ${seed}: told ${(endMs - (first?.atMs ?? endMs)) / minuteMs} of ${endMs / minuteMs} minutes ahead`,
    );
    expect(endMs - (first?.atMs ?? endMs)).toBeGreaterThan(15 * minuteMs);
    const late = told.filter((one) => one.atMs > endMs / 2);
    expect(late.length).toBeGreaterThan(5);
    for (const one of late) {
      expect(Math.abs(one.slopePerHour / slope - 1)).toBeLessThan(0.25);
      expect(Math.abs((one.etaMs ?? 0) - (endMs - one.atMs))).toBeLessThan(0.25 * endMs);
    }
    expect(told.at(-1)?.because).toMatch(
      /^it grows by \+\d+ per hour over .*, confidence [01]\.\d\d: (1000 is|the limit is)/,
    );
  },
);

test("PRA-8 no trend is seen in less than twenty minutes", () => {
  const { verdicts } = followed((atMs) => (2000 * atMs) / hourMs, 19 * minuteMs, 1);
  expect(verdicts.some((one) => one.growing)).toBe(false);
  expect(verdicts.at(-1)?.because).toMatch(/points over 19m: at least 12 over 20m are needed$/);
});

test("PRA-8 what shrinks has no time to its limit, and what is over it has none left", () => {
  const { verdicts } = followed((atMs) => 900 - (100 * atMs) / hourMs, 2 * hourMs, 1);
  const last = verdicts.at(-1);
  expect(last?.etaMs).toBeUndefined();
  expect(last?.slopePerHour).toBeCloseTo(-100, 0);
  let trend = freshTrend({ bootId: "b1", bootMs: 0, wallMs: 0 });
  for (let ms = 0; ms <= hourMs; ms += 15_000)
    trend = recordTrend(trend, 10 + ms / minuteMs, { bootId: "b1", bootMs: ms, wallMs: ms });
  expect(trendOf(trend, 60, defaultTrend, { bootId: "b1", bootMs: hourMs, wallMs: hourMs })).toMatchObject({
    growing: true,
    etaMs: 0,
  });
});

test("PRA-8 a trend that is read back as JSON goes on over a reboot and a wall clock that was set", () => {
  let trend = freshTrend({ bootId: "b1", bootMs: 0, wallMs: 0 });
  const fill = (fromMs: number, toMs: number, beganMs: number, wallMs: number) => {
    for (let ms = fromMs; ms <= toMs; ms += 15_000) {
      trend = recordTrend(trend, 100 + ms / minuteMs, {
        bootId: `b${beganMs}`,
        bootMs: ms - beganMs,
        wallMs: ms + wallMs,
      });
    }
    trend = JSON.parse(JSON.stringify(trend)) as Trend;
  };
  fill(0, hourMs, 0, 0);
  fill(hourMs + minuteMs, 2 * hourMs, hourMs, 0); // booted, a minute later by the wall
  fill(2 * hourMs + 15_000, 3 * hourMs, hourMs, 1e12); // the wall clock was set by decades
  const verdict = trendOf(trend, 1000, defaultTrend, {
    bootId: `b${hourMs}`,
    bootMs: 2 * hourMs,
    wallMs: 3 * hourMs + 1e12,
  });
  expect(verdict.growing).toBe(true);
  expect(verdict.slopePerHour).toBeCloseTo(60, 0);
  expect((verdict.etaMs ?? 0) / minuteMs).toBeCloseTo(720, -1);
});

test("PRA-8 a wall clock that is set in the middle of a leak neither hides it nor moves its end", () => {
  const told = (jumpMs: number) => {
    const clock = new VirtualClock();
    const now = () => ({ bootId: "b1", bootMs: clock.bootMs(), wallMs: clock.wallMs() });
    let trend = freshTrend(now());
    for (let n = 0; n < 40; n += 1) {
      if (n === 20) clock.stepWall(jumpMs);
      trend = recordTrend(trend, 1000 + 20 * n, now());
      clock.advance(minuteMs);
    }
    return trendOf(trend, 2000, defaultTrend, now());
  };
  expect(told(0).growing).toBe(true);
  for (const jumpMs of [6 * hourMs, 48 * hourMs, -6 * hourMs]) expect(told(jumpMs)).toEqual(told(0));
});

test("PRA-8 the memory of a trend is bounded, whatever is told at whatever pace", () => {
  const reading = fc.tuple(fc.oneof(fc.nat(30_000), fc.nat(1e8)), fc.double({ min: -1e15, max: 1e15 }));
  fc.assert(
    fc.property(fc.array(reading, { minLength: 100, maxLength: 300 }), (readings) => {
      let trend = freshTrend({ bootId: "b1", bootMs: 0, wallMs: 0 });
      let ms = 0;
      for (const [passedMs, value] of readings) {
        ms += passedMs;
        trend = recordTrend(trend, value, { bootId: "b1", bootMs: ms, wallMs: ms });
      }
      expect(trend.points.length).toBeLessThanOrEqual(64);
      expect(JSON.stringify(trend).length).toBeLessThan(4000);
      const verdict = trendOf(trend, 1, defaultTrend, { bootId: "b1", bootMs: ms, wallMs: ms });
      expect(verdict.confidence >= 0 && verdict.confidence <= 1).toBe(true);
      expect(JSON.stringify(verdict)).not.toContain("null");
    }),
    { seed: 8, numRuns: 100 },
  );
});
