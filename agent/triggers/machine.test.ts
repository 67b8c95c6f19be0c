import { printDuration } from "@blueflame/shared/units/units.ts";
import { expect, test } from "vitest";
import { healthy, quiet, triggerBench } from "../../test/support/trigger-bench.ts";
import { step } from "./machine.ts";
import type { Figures, Observation } from "./observation.ts";
import { type Event, fresh, keysMax, resumed } from "./state.ts";
import { boxPlaybooks, catalogue } from "./trigger.ts";

const node = (over: Figures): Observation => quiet({ node: { ...quiet().node, ...over } });
const engine = (over: Figures): Observation => quiet({ workloads: { engine: healthy(over) } });
const timeouts = (count: number): Event => ({ is: "requests", workload: "engine", count, timeouts: count, errors: 0 });
const ended = (sandbox = false): Event => ({ is: "ended", workload: "engine", sandbox, because: "exit code 1" });
const anomaly = (anomalous: boolean): Event => ({
  is: "anomaly",
  workload: "engine",
  anomalous,
  because: "p95 is out",
});

test("GRC-2 seventeen named triggers of every type are active out of the box, with the thresholds of the row", () => {
  expect(catalogue).toHaveLength(17);
  expect(new Set(catalogue.map(({ name }) => name)).size).toBe(17);
  expect(catalogue.filter(({ off, added }) => off || added)).toEqual([]);
  const kinds = ["beat_silence", "api_timeouts", "threshold", "trust", "sandbox", "error_burst", "anomaly", "schedule"];
  for (const kind of [...kinds, "trend", "job_late", "crash", "frozen"])
    expect(catalogue.map((trigger) => trigger.kind)).toContain(kind);
  const of = (name: string) => catalogue.find((trigger) => trigger.name === name);
  expect(of("workload-silent")).toMatchObject({ withinMs: 60_000 });
  expect(of("api-timeouts")).toMatchObject({ count: 5, withinMs: 60_000 });
  expect(of("high-latency")).toMatchObject({ metric: "p95_latency_ms", side: "above", threshold: 1000 });
  expect(of("cpu-high")).toMatchObject({ metric: "cpu_busy_ratio", threshold: 0.85 });
  expect(of("memory-high")).toMatchObject({ metric: "memory_used_ratio", threshold: 0.8 });
  expect(of("disk-high")).toMatchObject({ metric: "disk_used_ratio", threshold: 0.9 });
  expect(of("trust-drop")).toMatchObject({ side: "below", threshold: 0.7 });
});

test("GRC-3 every playbook of the box is asked for by a trigger, and only what the supervision heals itself asks for none", () => {
  expect(new Set(catalogue.map(({ playbook }) => playbook))).toEqual(new Set([...boxPlaybooks, ""]));
  expect(catalogue.filter(({ playbook }) => playbook === "").map(({ name }) => name)).toEqual([
    "workload-crashed",
    "workload-frozen",
    "job-late",
  ]);
});

test("GRC-2 GRC-4 no trigger of the box waits for a person: none is critical", () => {
  expect(catalogue.filter(({ severity }) => severity === "critical")).toEqual([]);
});

/** A bad sight, one just good enough to be nothing, the good one, and what is expected of the trigger. */
const levels: [name: string, bad: Observation, border: Observation, subject: string, because: string][] = [
  [
    "workload-silent",
    engine({ beat_age_ms: 60_001 }),
    engine({ beat_age_ms: 60_000 }),
    "workload/engine",
    "no beat for 1m, allowed is 1m",
  ],
  [
    "high-latency",
    engine({ p95_latency_ms: 1050 }),
    engine({ p95_latency_ms: 1000 }),
    "workload/engine",
    "p95_latency_ms is 1050ms, above 1000ms",
  ],
  [
    "cpu-high",
    node({ cpu_busy_ratio: 0.97, ours_cpu_ratio: 0.9 }),
    node({ cpu_busy_ratio: 0.85, ours_cpu_ratio: 0.8 }),
    "node",
    "cpu_busy_ratio is 97%, above 85%",
  ],
  [
    "memory-high",
    node({ memory_used_ratio: 0.82, ours_memory_ratio: 0.6 }),
    node({ memory_used_ratio: 0.8, ours_memory_ratio: 0.6 }),
    "node",
    "memory_used_ratio is 82%, above 80%",
  ],
  [
    "disk-high",
    node({ disk_used_ratio: 0.915 }),
    node({ disk_used_ratio: 0.9 }),
    "node",
    "disk_used_ratio is 91.5%, above 90%",
  ],
  ["trust-drop", engine({ trust: 0.65 }), engine({ trust: 0.7 }), "workload/engine", "trust is 0.65, below 0.7"],
  [
    "job-late",
    quiet({ lateJobs: { backup: 250_400 } }),
    quiet(),
    "job/backup",
    "job backup was not picked up and is 4m10s late",
  ],
];

test.each(levels)(
  "GRC-2 GRC-11 %s fires within 10 s of its threshold, and says why; on the threshold it is silent; it ends when it is over",
  (name, bad, border, subject, because) => {
    for (const firstMs of [0, 1, 2500, 4999]) {
      const bench = triggerBench({ firstMs });
      bench.see(border);
      bench.pass(60_000);
      expect(bench.log).toEqual([]);
      const crossedMs = bench.sinceMs;
      bench.see(bad);
      bench.pass(10_000);
      const fired = bench.steps.flatMap((step) => step.fired);
      expect(fired.map((symptom) => [symptom.trigger, symptom.because])).toEqual([[name, because]]);
      expect(bench.log[0]).toContain(`fired ${name} ${subject}`);
      const firedMs = Number(bench.log[0]?.split(" ")[0]) * 1000;
      expect(firedMs - crossedMs).toBeLessThan(10_000);
      const { sinceMs = 0 } = fired[0] ?? {};
      expect(firedMs - (sinceMs - 1_000_000)).toBeLessThanOrEqual(3000);
      bench.see(quiet());
      bench.pass(15_000);
      expect(bench.log.slice(1)).toEqual([expect.stringContaining(`cleared ${name} ${subject}`)]);
      bench.pass(600_000);
      expect(bench.log).toHaveLength(2);
    }
  },
);

test.each([
  ["high-latency", engine({ p95_latency_ms: 1050 }), engine({ p95_latency_ms: 950 })],
  ["cpu-high", node({ cpu_busy_ratio: 0.97, ours_cpu_ratio: 0.9 }), node({ cpu_busy_ratio: 0.8, ours_cpu_ratio: 0.7 })],
  ["disk-high", node({ disk_used_ratio: 0.95 }), node({ disk_used_ratio: 0.88 })],
  ["trust-drop", engine({ trust: 0.6 }), engine({ trust: 0.72 })],
])("%s goes on between its thresholds: there nothing begins and nothing ends", (name, bad, between) => {
  const bench = triggerBench();
  bench.see(between);
  bench.pass(60_000);
  bench.see(bad);
  bench.pass(20_000);
  bench.see(between);
  bench.pass(100_000);
  expect(bench.log.map((line) => line.split(" ")[1])).toEqual(["fired"]);
  expect(bench.state.stands).toMatchObject({ [Object.keys(bench.state.stands)[0] ?? ""]: { at: "firing" } });
  expect(bench.log[0]).toContain(name);
});

test("GRC-2 a peak that the next reading does not confirm within the hold fires nothing", () => {
  const bench = triggerBench({ everyMs: 2000 });
  bench.see((ms) => (ms % 4000 === 0 ? engine({ p95_latency_ms: 5000 }) : quiet()));
  bench.pass(600_000);
  expect(bench.log).toEqual([]);
});

test("a condition that goes on fires again each time that its cooldown is over", () => {
  const bench = triggerBench();
  bench.see(engine({ p95_latency_ms: 3000 }));
  bench.pass(300_000);
  expect(bench.log).toEqual([
    "3 fired high-latency workload/engine",
    "123 fired high-latency workload/engine",
    "243 fired high-latency workload/engine",
  ]);
});

test("what nobody repeats for five minutes is no longer known: it ends", () => {
  const bench = triggerBench();
  bench.tell(anomaly(true));
  bench.pass(1_000_000);
  expect(bench.log).toEqual(["3 fired anomaly workload/engine", "300 cleared anomaly workload/engine"]);
  bench.see(engine({ p95_latency_ms: 2000 }));
  bench.pass(10_000);
  bench.see(() => undefined);
  bench.pass(1_000_000);
  expect(bench.log.at(-1)).toMatch(/^13\d\d cleared high-latency/);
  expect(bench.state.stands).toEqual({});
});

test("DOL-8 a job that is late is found once for its cooldown, beside others, and is over when it was picked up", () => {
  const bench = triggerBench();
  bench.see((ms) =>
    quiet({ lateJobs: { ...(ms >= 20_000 && { backup: ms - 20_000 }), ...(ms >= 31_000 && { rotate: 1000 }) } }),
  );
  bench.pass(100_000);
  expect(bench.log).toEqual(["20 fired job-late job/backup", "35 fired job-late job/rotate"]);
  const [first] = bench.steps.flatMap((step) => step.fired);
  expect(first).toMatchObject({ trigger: "job-late", workload: "", job: "backup", playbook: "" });
  bench.see(quiet({ lateJobs: { rotate: 5000 } }));
  bench.pass(10_000);
  expect(bench.log.slice(2)).toEqual(["105 cleared job-late job/backup"]);
  bench.pass(600_000);
  expect(bench.log.slice(3)).toEqual(["635 fired job-late job/rotate"]);
});

test("what is stopped or removed is forgotten, with its counts and its cooldown, and nobody else is", () => {
  const bench = triggerBench();
  const both = { engine: healthy({ p95_latency_ms: 2000 }), "engine-2": healthy({ p95_latency_ms: 2000 }) };
  bench.see(quiet({ workloads: both }));
  bench.tell(timeouts(4));
  bench.pass(4000);
  bench.see(quiet({ workloads: { "engine-2": healthy({ p95_latency_ms: 2000 }) } }));
  bench.tell({ is: "gone", workload: "engine" });
  expect(Object.keys(bench.state.stands)).toEqual(["high-latency workload/engine-2"]);
  expect([bench.state.windows, Object.keys(bench.state.marks)]).toEqual([{}, ["high-latency workload/engine-2"]]);
});

test("a figure that cannot be had begins nothing and ends nothing: a restart is no recovery from latency", () => {
  const bench = triggerBench();
  bench.see(engine({ p95_latency_ms: 2000 }));
  bench.pass(4000);
  bench.see(quiet({ workloads: {} }));
  bench.pass(60_000);
  bench.see(quiet());
  bench.pass(12_000);
  expect(bench.log).toEqual(["3 fired high-latency workload/engine", "70 cleared high-latency workload/engine"]);
});

test("a trigger that is switched off, or looks at other workloads, says nothing", () => {
  const triggers = catalogue.map((one) => ({ ...one, off: one.name === "trust-drop", workloads: ["other"] }));
  const bench = triggerBench({ triggers });
  bench.see(
    quiet({ workloads: { engine: healthy({ p95_latency_ms: 2000, trust: 0.1 }), other: healthy({ trust: 0.1 }) } }),
  );
  bench.tell(timeouts(9));
  bench.tell(ended());
  bench.pass(60_000);
  expect(bench.log).toEqual([]);
  bench.tell({ ...ended(), workload: "other" } as Event);
  expect(bench.log).toEqual(["60 fired workload-crashed workload/other"]);
});

test("an agent that died while its cause was ending counted the clear hold from nothing: over before it and over after it is over", () => {
  const bench = triggerBench();
  bench.see(engine({ p95_latency_ms: 2000 }));
  bench.pass(11_000);
  bench.see(engine({ p95_latency_ms: 500 }));
  bench.pass(6000);
  const [key = ""] = Object.keys(bench.state.stands);
  expect(bench.state.stands[key]?.at).toBe("clearing");
  const next = (p95?: number) => {
    const one = triggerBench({ state: resumed(bench.state, catalogue, true, bench.now().ms) });
    one.stall(18_000);
    one.see(p95 === undefined ? () => undefined : engine({ p95_latency_ms: p95 }));
    return one;
  };
  // By time alone nothing is over: this agent has seen nothing yet.
  const blind = next();
  blind.pass(30_000);
  expect(blind.log).toEqual([]);
  const same = next(500);
  same.pass(3000);
  expect(same.log).toEqual(["20 cleared high-latency workload/engine"]);
  // What has come back meanwhile begins anew, also for the next time that it is over.
  const back = next(2000);
  back.pass(3000);
  back.see(engine({ p95_latency_ms: 500 }));
  back.pass(6000);
  expect(back.state.stands[key]?.at).toBe("clearing");
  expect(back.log).toEqual([]);
});

test("GRC-11 somebody looks at least every 10 s, whatever stands", () => {
  const bench = triggerBench({ firstMs: 1e9 });
  let looks = bench.steps.length;
  for (let n = 0; n < 100; n++) {
    bench.pass(10_000);
    expect(bench.steps.length).toBeGreaterThan(looks);
    looks = bench.steps.length;
  }
});

test("after a restart of the agent what has fired goes on and cools down; after a restart of the machine only schedules and usual errors are known", () => {
  const bench = triggerBench();
  bench.see(engine({ p95_latency_ms: 2000 }));
  bench.tell(timeouts(4));
  bench.pass(20_000);
  bench.tell(anomaly(true));
  const same = resumed(bench.state, catalogue, true, bench.now().ms);
  expect(Object.keys(same.stands)).toEqual(["high-latency workload/engine"]);
  expect([same.windows, same.fired]).toEqual([{}, {}]);
  // An upgrade that is taken back: a stand that the newer version has called otherwise was read, and the older one died of it.
  const newer = {
    ...bench.state,
    stands: { "high-latency workload/engine": { ...Object.values(same.stands)[0], at: "dozing" } },
  };
  expect(resumed(newer as never, catalogue, true, bench.now().ms).stands).toEqual({});
  const next = triggerBench({ state: same });
  next.stall(30_000);
  next.see(engine({ p95_latency_ms: 2000 }));
  next.pass(80_000);
  expect(next.log).toEqual([]);
  next.pass(30_000);
  expect(next.log).toEqual(["123 fired high-latency workload/engine"]);
  expect(resumed(bench.state, catalogue, false, bench.now().ms)).toEqual({
    ...fresh(),
    schedules: bench.state.schedules,
  });
  expect(Object.keys(bench.state.schedules)).toEqual(["daily-check", "weekly-check"]);
});

test("SYN-2 GRC-2 a workload was started again after a minute without a beat whatever its own beat.timeout said: 90 s are 90 s, 5 min are 5 min", () => {
  for (const [timeoutMs, firesS] of [
    [undefined, 65],
    [3000, 65],
    [60_000, 65],
    [90_000, 95],
    [300_000, 305],
  ] as const) {
    const bench = triggerBench();
    const own = timeoutMs === undefined ? {} : { beat_timeout_ms: timeoutMs };
    bench.see((ms) => engine({ beat_age_ms: ms, ...own }));
    bench.pass(firesS * 1000);
    expect(bench.log).toEqual([`${firesS} fired workload-silent workload/engine`]);
    expect(bench.steps.flatMap(({ fired }) => fired)[0]?.because).toContain(
      `allowed is ${printDuration(Math.max(timeoutMs ?? 0, 60_000))}`,
    );
    // A beat ends it, also one that is older than a minute where more is allowed.
    bench.see(engine({ beat_age_ms: (timeoutMs ?? 0) > 60_000 ? 70_000 : 100, ...own }));
    bench.pass(20_000);
    expect(bench.log.slice(1)).toEqual([`${firesS + 10} cleared workload-silent workload/engine`]);
  }
});

test(`no more than ${keysMax} subjects are kept: further ones are passed over, and counted`, () => {
  const bench = triggerBench();
  const crowd = Object.fromEntries(Array.from({ length: keysMax + 50 }, (_, n) => [`w${n}`, healthy({ trust: 0.1 })]));
  bench.see(quiet({ workloads: crowd }));
  bench.pass(100);
  expect(Object.keys(bench.state.stands)).toHaveLength(keysMax);
  expect(bench.steps.flatMap((step) => step.fired)).toHaveLength(keysMax);
  expect(bench.state.passedOver).toBe(50);
  // Without the bench, which takes each state through JSON.
  let state = fresh();
  for (let n = 0; n < keysMax + 50; n++) {
    const event = { ...timeouts(1), workload: `other${n}` } as Event;
    ({ state } = step(catalogue, state, event, { ms: 1000 + n, wallMs: 1e12 }));
  }
  expect(Object.keys(state.windows)).toHaveLength(keysMax);
  expect(Object.keys(state.windows)[0]).toBe("api-timeouts workload/other50");
});
