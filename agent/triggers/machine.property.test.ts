import { type Random, seeded } from "@blueflame/shared/random/random.ts";
import fc from "fast-check";
import { expect, test } from "vitest";
import { seedsOr } from "../../test/support/seeds.ts";
import { epochMs, healthy, quiet, triggerBench } from "../../test/support/trigger-bench.ts";
import { nextLookMs, step } from "./machine.ts";
import type { Figures, Observation } from "./observation.ts";
import { type Event, fresh, keysMax, type State } from "./state.ts";
import { catalogue, type LevelTrigger } from "./trigger.ts";

const levels = catalogue.filter((one): one is LevelTrigger => one.kind === "threshold" || one.kind === "trust");

const counts = catalogue.filter(({ kind }) => kind === "api_timeouts");

/** The machine with this figure of this trigger; what is of the node is ours. */
function sight({ metric }: LevelTrigger, value: number): Observation {
  const { node } = quiet();
  const ours = { ours_cpu_ratio: value, ours_memory_ratio: value };
  return metric in node
    ? quiet({ node: { ...node, ...ours, [metric]: value } })
    : quiet({ workloads: { engine: healthy({ [metric]: value }) } });
}

const firings = (log: readonly string[]) =>
  log.filter((line) => line.includes(" fired ")).map((line) => Math.round(Number.parseFloat(line) * 1000));

test.each(levels.map((one) => [one.name, one] as const))(
  "%s: whatever flickers around its threshold fires at most once in a cooldown, and is over before it is new",
  (_, trigger) => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: 200, maxLength: 200 }),
        fc.integer({ min: 0, max: 4999 }),
        (noise, firstMs) => {
          const bench = triggerBench({ triggers: [trigger], firstMs });
          const swing = Math.abs(trigger.threshold - trigger.clear) * 2;
          bench.see((ms) => sight(trigger, trigger.threshold + swing * (noise[Math.floor(ms / 5000)] ?? 0)));
          bench.pass(1_000_000);
          const fired = firings(bench.log);
          for (const [n, at] of fired.entries())
            expect(at - (fired[n - 1] ?? Number.NEGATIVE_INFINITY)).toBeGreaterThanOrEqual(trigger.cooldownMs);
          expect(fired.length).toBeLessThanOrEqual(Math.ceil(1_000_000 / trigger.cooldownMs));
        },
      ),
      { numRuns: 8 },
    );
  },
);

test.each(levels.map((one) => [one.name, one] as const))(
  "%s: what flickers between its thresholds only, never fires",
  (_, trigger) => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 100, maxLength: 100 }), (noise) => {
        const bench = triggerBench({ triggers: [trigger] });
        const { threshold, clear } = trigger;
        bench.see((ms) => sight(trigger, clear + (threshold - clear) * (noise[Math.floor(ms / 5000)] ?? 0)));
        bench.pass(500_000);
        expect(bench.log).toEqual([]);
      }),
      { numRuns: 6 },
    );
  },
);

/** A moment of a life: when it crosses, how readings lie, how late the driver is each time. */
function timing(chance: Random) {
  return {
    firstMs: Math.floor(chance() * 5000),
    everyMs: 1000 + Math.floor(chance() * 4001),
    crossMs: chance() * 30_000,
  };
}

test("GRC-11 however readings and crossing lie to each other, each level fires within 10 s, once, and ends", () => {
  const worst = { ms: 0, seed: 0 };
  for (const seed of seedsOr(250)) {
    const chance = seeded(seed);
    const trigger = levels[seed % levels.length];
    if (!trigger) throw new Error("no level");
    const { firstMs, everyMs, crossMs } = timing(chance);
    const bench = triggerBench({ triggers: levels, firstMs, everyMs });
    const bad = trigger.threshold * (trigger.side === "above" ? 1.01 + chance() * 0.09 : 0.99 - chance());
    bench.see((ms) => (ms >= crossMs && ms < crossMs + 60_000 ? sight(trigger, bad) : quiet()));
    bench.pass(crossMs + 90_000);
    const lines = bench.log.map((line) => line.split(" ").slice(1, 3).join(" "));
    expect(lines, `seed ${seed}`).toEqual([`fired ${trigger.name}`, `cleared ${trigger.name}`]);
    const tookMs = (firings(bench.log)[0] ?? Number.NaN) - crossMs;
    if (tookMs > worst.ms) Object.assign(worst, { ms: tookMs, seed });
  }
  expect(worst.ms).toBeLessThan(10_000);
  expect(worst.ms).toBeGreaterThan(5000);
});

test("GRC-13 five timeouts within the minute fire with the fifth; spread wider than a minute they never do", () => {
  for (const seed of seedsOr(250)) {
    const chance = seeded(seed);
    const isDense = chance() < 0.5;
    const bench = triggerBench({ triggers: counts, firstMs: timing(chance).firstMs });
    const gapMs = isDense ? 100 + chance() * 14_000 : 15_100 + chance() * 20_000;
    let fired = 0;
    let n = 0;
    for (; n < 12 && fired === 0; n++) {
      fired = bench.tell({ is: "requests", workload: "engine", count: 9, timeouts: 1, errors: 0 }).fired.length;
      bench.pass(gapMs);
    }
    expect([fired, n], `seed ${seed}`).toEqual(isDense ? [1, 5] : [0, 12]);
  }
});

const figure = fc.oneof(fc.double({ min: 0, max: 2, noNaN: true }), fc.double({ min: 0, max: 200_000, noNaN: true }));
const figures: fc.Arbitrary<Figures> = fc.dictionary(
  fc.constantFrom(
    ...[
      "cpu_busy_ratio",
      "ours_cpu_ratio",
      "load_1m_ratio",
      "memory_used_ratio",
      "ours_memory_ratio",
      "disk_used_ratio",
    ],
    ...["beat_age_ms", "p95_latency_ms", "trust", "uptime_ms", "process_cpu_ratio", "process_memory_bytes"],
  ),
  figure,
);
const name = fc.constantFrom("a", "b", "constructor", "__proto__");
const anyEvent: fc.Arbitrary<Event> = fc.oneof(
  fc.record({
    is: fc.constant("observed" as const),
    observation: fc.record({
      node: figures,
      workloads: fc.dictionary(name, figures),
      lateJobs: fc.dictionary(name, fc.nat(1e6)),
      staleSources: fc.constant([]),
      heaviestStranger: fc.constantFrom("", "stress-ng"),
    }),
  }),
  fc.record({
    is: fc.constant("requests" as const),
    workload: name,
    count: fc.nat(50),
    timeouts: fc.nat(7),
    errors: fc.nat(9),
    figures,
  }),
  fc.record({ is: fc.constant("errors" as const), workload: name, count: fc.nat(40) }),
  fc.record({ is: fc.constant("ended" as const), workload: name, sandbox: fc.boolean(), because: fc.constant("x") }),
  fc.record({ is: fc.constant("frozen" as const), workload: name, because: fc.constant("x") }),
  fc.record({
    is: fc.constant("anomaly" as const),
    workload: name,
    anomalous: fc.boolean(),
    because: fc.constant("x"),
  }),
  fc.record({
    is: fc.constant("trend" as const),
    workload: fc.constantFrom("", "a"),
    metric: fc.constantFrom("disk_used_ratio", "process_memory_bytes"),
    etaMs: fc.nat(4e6),
    confidence: fc.double({ min: 0, max: 1, noNaN: true }),
    because: fc.constant("x"),
  }),
  fc.record({ is: fc.constant("gone" as const), workload: name }),
  fc.record({ is: fc.constant("born" as const), workload: name }),
  fc.record({ is: fc.constant("late" as const), byMs: fc.nat(100_000) }),
  fc.record({ is: fc.constant("look" as const), localOffsetMs: fc.constantFrom(0, 3_600_000) }),
);

test("whatever is seen and told in whatever order: what is over had fired, states are JSON and change nothing before, and time asks once", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(anyEvent, fc.nat(30_000)), { maxLength: 60 }), (events) => {
      let state: State = fresh();
      let ms = epochMs;
      const open = new Set<string>();
      for (const [event, passMs] of events) {
        ms += passMs;
        const now = { ms, wallMs: ms + 1e12 };
        const before = JSON.stringify(state);
        const answer = step(catalogue, state, event, now);
        expect(JSON.stringify(state)).toBe(before);
        // A decision record, replayed, says the same.
        const replayed = step(catalogue, JSON.parse(before) as State, JSON.parse(JSON.stringify(event)) as Event, now);
        expect(JSON.stringify(replayed)).toBe(JSON.stringify(answer));
        const looked = step(catalogue, answer.state, { is: "look", localOffsetMs: 0 }, now);
        for (const each of [answer, looked]) {
          for (const { trigger, workload, job } of [...each.cleared, ...each.lapsed, ...each.holding])
            expect(open.has([trigger, workload, job].join("/"))).toBe(true);
          for (const { trigger, workload, job, sinceMs } of each.fired) {
            open.add([trigger, workload, job].join("/"));
            expect(sinceMs).toBeLessThanOrEqual(ms);
          }
          expect(Object.keys(each.state.stands).length).toBeLessThanOrEqual(keysMax);
        }
        state = looked.state;
        expect(nextLookMs(catalogue, state, now)).toBeGreaterThan(ms);
        expect(nextLookMs(catalogue, state, now)).toBeLessThanOrEqual(ms + 10_000);
      }
    }),
    { numRuns: 150 },
  );
});

test("an early, late or doubled look changes nothing about when it fires", () => {
  for (const seed of seedsOr(100)) {
    const chance = seeded(seed);
    const bench = triggerBench();
    bench.see((ms) => (ms >= 20_000 ? quiet({ workloads: { engine: healthy({ p95_latency_ms: 2000 }) } }) : quiet()));
    while (bench.sinceMs < 40_000) {
      bench.pass(Math.ceil(chance() * 900));
      for (let n = Math.floor(chance() * 4); n > 0; n--) bench.look();
    }
    expect(bench.log, `seed ${seed}`).toEqual(["23 fired high-latency workload/engine"]);
  }
});

const storms = seedsOr(3);
/** An hour of a storm takes a third of a second: a thousand of them are longer than a test may take. */
const limitMs = 240_000 + storms.length * 2000;

test(
  "one hour of a stranger's changing load beside twenty workloads: nothing is fired, whatever the seed",
  () => {
    const names = Array.from({ length: 20 }, (_, n) => `w${n}`);
    for (const seed of storms) {
      const chance = seeded(seed);
      const bench = triggerBench();
      bench.see((ms) => stormy(chance, ms > 120_000, names));
      bench.pass(3_720_000);
      expect(firings(bench.log), `seed ${seed}`).toEqual([]);
      expect(bench.log.some((line) => line.includes("noted cpu-high"))).toBe(true);
      expect(bench.log.some((line) => line.includes("noted memory-high"))).toBe(true);
    }
  },
  limitMs,
);

/** stress-ng comes and goes on CPU and memory; ours wobble, and are slowed by up to 30 times while it starves them. */
function stormy(chance: Random, isStorm: boolean, names: readonly string[]): Observation {
  const ours = 0.05 + chance() * 0.1;
  const cpu = isStorm ? Math.min(1, ours + 0.3 + chance()) : ours + chance() * 0.1;
  const memory = isStorm ? 0.3 + chance() * 0.65 : 0.3 + chance() * 0.02;
  const load = isStorm ? 1 + chance() * 5 : 0.3;
  const isStarved = cpu > 0.85 || load > 2;
  const slow = isStarved ? 1 + chance() * 30 : 1 + chance();
  return quiet({
    node: {
      cpu_busy_ratio: cpu,
      ours_cpu_ratio: ours,
      load_1m_ratio: load,
      memory_used_ratio: memory,
      ours_memory_ratio: 0.1 + chance() * 0.02,
      disk_used_ratio: 0.5 + chance() * 0.1,
    },
    workloads: Object.fromEntries(
      names.map((one) => [one, healthy({ p95_latency_ms: (20 + chance() * 60) * slow, beat_age_ms: chance() * 3000 })]),
    ),
    heaviestStranger: isStorm ? "stress-ng (pid 4711) takes 180 % of a core" : "",
  });
}
