import { seeded } from "@blueflame/shared/random/random.ts";
import { expect, test } from "vitest";
import { seedsOr } from "../../test/support/seeds.ts";
import type { Sample } from "./features.ts";
import { beginTraining, forestOf, trainSome, treesMax } from "./forest.ts";
import { freshWatch, look, trained, trainingDue, type Verdict, type Watch } from "./watch.ts";

function noise(seed: number): () => number {
  const random = seeded(seed);
  return () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Workloads in which nothing is wrong. */
const calm = {
  steady: (g) => {
    const load = Math.exp(0.3 * g());
    return {
      avg_latency_ms: 40 * load,
      p95_latency_ms: 90 * load * Math.exp(0.2 * g()),
      p99_latency_ms: 150 * load * Math.exp(0.3 * g()),
      error_rate: Math.max(0, 0.002 + 0.002 * g()),
      requests_per_second: 100 + 10 * g(),
      cpu_usage: Math.max(0, 0.3 + 0.05 * g()),
      memory_usage_mb: 400 + 10 * g(),
    };
  },
  flat: (g) => ({ error_rate: 0, cpu_usage: 0.01 + 0.001 * g(), memory_usage_mb: 55 }),
  /** One look in fifteen meets a job that is always there. */
  spiky: (g) => ({ cpu_usage: g() > 1.5 ? 0.7 : 0.05 + 0.01 * Math.abs(g()), memory_usage_mb: 200 + g() }),
  /** Student's t with three degrees of freedom: outliers that belong to it. */
  heavy: (g) => {
    const t = () => g() / Math.sqrt((g() ** 2 + g() ** 2 + g() ** 2) / 3);
    return { avg_latency_ms: 50 + 8 * t(), error_rate: 0, cpu_usage: 0.3 + 0.05 * t(), memory_usage_mb: 300 + 5 * t() };
  },
} satisfies Record<string, (g: () => number) => Sample>;

/** A watch that is trained whenever it is due, as the driver does it. */
class Watching {
  watch: Watch;
  trainings = 0;

  constructor(seed: number) {
    this.watch = freshWatch(seed);
  }
  look(sample: Sample): Verdict {
    const { watch, verdict } = look(this.watch, sample);
    this.watch = watch;
    if (trainingDue(watch)) {
      const training = beginTraining(watch.columns, watch.seed);
      const forest = training && forestOf(trainSome(training, treesMax));
      if (forest) this.watch = trained(watch, forest);
      this.trainings += 1;
    }
    return verdict;
  }
}

/** At most this many looks of 100 may be taken for an anomaly by mistake. Measured: 0.2, 0, 0, 0.7. */
const mistaken = { steady: 0.5, flat: 0, spiky: 0.1, heavy: 1.5 };

const cases = Object.keys(mistaken).flatMap((kind) => seedsOr(1).map((seed) => [kind, seed] as const));
test.each(cases)(
  "PRA-8 3000 looks at calm %s noise, seed %i: hardly one is an anomaly, and never three in a row",
  (kind, seed) => {
    const g = noise(seed);
    const watching = new Watching(seed);
    const verdicts = Array.from({ length: 3000 }, () => watching.look(calm[kind as keyof typeof calm](g)));
    const judged = verdicts.filter((one) => one.score !== undefined);
    const wrong = judged.filter((one) => one.anomaly);
    const percent = (100 * wrong.length) / judged.length;
    console.log(
      `PRA-8 ${kind} noise, seed ${seed}: ${wrong.length} of ${judged.length} looks mistaken (${percent.toFixed(3)} %)`,
    );
    expect(percent).toBeLessThanOrEqual(mistaken[kind as keyof typeof calm]);
    expect(Math.max(...verdicts.map((one) => one.streak))).toBeLessThan(3);
  },
);

const troubles: readonly [string, Sample][] = [
  ["avg_latency_ms", { avg_latency_ms: 400, p95_latency_ms: 900, p99_latency_ms: 1500 }],
  ["error_rate", { error_rate: 0.05 }],
  ["requests_per_second", { requests_per_second: 5 }],
  ["cpu_usage", { cpu_usage: 0.95 }],
  ["memory_usage_mb", { memory_usage_mb: 700 }],
];

test.each(troubles.flatMap(([name, out]) => [1].map((seed) => [name, seed, out] as const)))(
  "PRA-8 trouble with %s is seen at the first look and explained, seed %i",
  (name, seed, out) => {
    const g = noise(seed);
    const watching = new Watching(seed);
    for (let n = 0; n < 1100; n += 1) watching.look(calm.steady(g));
    const verdicts = Array.from({ length: 40 }, () => watching.look({ ...calm.steady(g), ...out }));
    expect(verdicts.filter((one) => one.anomaly).length).toBe(40);
    expect(verdicts[2]?.streak).toBeGreaterThanOrEqual(3);
    expect(verdicts[0]?.out.map((one) => one.feature)).toContain(name);
    expect(verdicts[0]?.because).toContain(`${name} is `);
  },
);

test("PRA-8 the explanation names value, usual range and distance", () => {
  const watching = new Watching(5);
  const g = noise(5);
  for (let n = 0; n < 1100; n += 1) watching.look(calm.steady(g));
  const { out, because } = watching.look({ ...calm.steady(g), memory_usage_mb: 700 });
  expect(out).toHaveLength(1);
  expect(out[0]?.usualLow).toBeCloseTo(384, -1);
  expect(out[0]?.usualHigh).toBeCloseTo(416, -1);
  expect(out[0]?.deviations).toBeCloseTo(30, -1);
  expect(because).toMatch(
    /^memory_usage_mb is 700MB, usually 38\d to 41\dMB, out by (2|3)\d deviations \(score 0\.\d\d, threshold 0\.\d\d\)$/,
  );
});

test("PRA-8 what becomes better is no trouble: faster, idle, leaner, busier, without errors", () => {
  const watching = new Watching(2);
  const g = noise(2);
  for (let n = 0; n < 1100; n += 1) watching.look(calm.steady(g));
  const better: Sample[] = [
    { avg_latency_ms: 0, p95_latency_ms: 0, p99_latency_ms: 1 },
    { cpu_usage: 0 },
    { memory_usage_mb: 20 },
    { requests_per_second: 5000 },
    { error_rate: 0 },
  ];
  for (const one of better) {
    for (let n = 0; n < 20; n += 1) expect(watching.look({ ...calm.steady(g), ...one }).anomaly).toBe(false);
  }
});

test("PRA-8 a flat line that stirs is nothing: below the least that matters no distance in deviations counts", () => {
  const watching = new Watching(3);
  for (let n = 0; n < 500; n += 1) watching.look({ cpu_usage: 0.01, memory_usage_mb: 55, error_rate: 0 });
  expect(watching.look({ cpu_usage: 0.1, memory_usage_mb: 80, error_rate: 0.015 }).anomaly).toBe(false);
  expect(watching.look({ cpu_usage: 0.1, memory_usage_mb: 80, error_rate: 0.3 }).anomaly).toBe(true);
});

test("PRA-8 untrained, nothing is an anomaly, whatever it sees", () => {
  const watching = new Watching(1);
  for (let n = 0; n < 63; n += 1) {
    const verdict = watching.look({ error_rate: n % 2, cpu_usage: n, memory_usage_mb: 1e9 * n });
    expect(verdict).toMatchObject({ anomaly: false, out: [], because: `untrained: ${n} looks of at least 64` });
  }
  // What is no figure is unknown, and a workload of which nothing is known stays untrained.
  const blind = new Watching(1);
  for (let n = 0; n < 300; n += 1) expect(blind.look({ cpu_usage: Number.NaN }).anomaly).toBe(false);
  expect(blind.watch.forest).toBeUndefined();
});

test("PRA-8 a lasting change stays an anomaly for many minutes, then it is the new normal", () => {
  const watching = new Watching(7);
  const g = noise(7);
  for (let n = 0; n < 1100; n += 1) watching.look(calm.steady(g));
  let looks = 0;
  while (watching.look({ ...calm.steady(g), memory_usage_mb: 700 + 10 * g() }).anomaly && looks < 5000) looks += 1;
  expect(looks).toBeGreaterThan(120); // ten minutes at a look every 5 s
  expect(looks).toBeLessThan(1500); // two hours
});

test("PRA-8 the memory is bounded, JSON-able, and trains again as it goes", () => {
  const watching = new Watching(4);
  const g = noise(4);
  for (let n = 0; n < 3000; n += 1) watching.look(calm.steady(g));
  expect(watching.watch.rows).toBe(1024);
  expect(watching.watch.columns.map((column) => column?.length)).toEqual(new Array(7).fill(1024));
  expect(JSON.stringify(watching.watch).length).toBeLessThan(100_000);
  expect(watching.trainings).toBeGreaterThanOrEqual(10);
  expect(watching.trainings).toBeLessThanOrEqual(14);
  const back = JSON.parse(JSON.stringify(watching.watch)) as Watch;
  expect(look(back, calm.steady(noise(9)))).toEqual(look(watching.watch, calm.steady(noise(9))));
});
