import { expect, test } from "vitest";
import { healthy, quiet, triggerBench } from "../../test/support/trigger-bench.ts";
import type { Figures, Observation } from "./observation.ts";
import { catalogue } from "./trigger.ts";

const minuteMs = 60_000;
const stressNg = "stress-ng (pid 4711) takes 180 % of a core";
const calm = quiet();
const node = (over: Figures, more: Partial<Observation> = {}): Observation =>
  quiet({ node: { ...calm.node, ...over }, ...more });

/** The machine under stress-ng, as the sensors see it. */
const stressed = (workload: Figures = {}): Observation =>
  node(
    {
      cpu_busy_ratio: 0.99,
      ours_cpu_ratio: 0.12,
      load_1m_ratio: 4,
      memory_used_ratio: 0.9,
      ours_memory_ratio: 0.1,
    },
    { workloads: { engine: healthy(workload) }, heaviestStranger: stressNg },
  );

test("GRC-2 load that a stranger brings is noted with its name, once in five minutes, and nothing is fired", () => {
  const bench = triggerBench();
  bench.pass(5 * minuteMs);
  bench.see(stressed());
  bench.pass(11 * minuteMs);
  expect(bench.log.filter((line) => line.includes("fired"))).toEqual([]);
  expect(bench.log.filter((line) => line.includes("cpu-high")).map((line) => line.split(" ")[0])).toEqual([
    "308",
    "608",
    "908",
  ]);
  const [first] = bench.steps.flatMap((step) => step.noted);
  expect(first).toEqual({
    trigger: "cpu-high",
    workload: "",
    because: `cpu_busy_ratio is 99%, above 85%; not by us: ${stressNg}; our workloads take 12%`,
  });
  bench.see(calm);
  bench.pass(minuteMs);
  expect(bench.state.stands).toEqual({});
});

test.each<[string, Figures, Figures, "ours" | "theirs"]>([
  ["a workload of ours that spins", {}, { cpu_busy_ratio: 0.95, ours_cpu_ratio: 0.9 }, "ours"],
  ["a stranger that spins", {}, { cpu_busy_ratio: 0.95, ours_cpu_ratio: 0.1 }, "theirs"],
  [
    "a stranger beside our own standing load",
    { cpu_busy_ratio: 0.6, ours_cpu_ratio: 0.55 },
    { cpu_busy_ratio: 1, ours_cpu_ratio: 0.5 },
    "theirs",
  ],
  [
    "ours that grows beside a standing stranger",
    { cpu_busy_ratio: 0.6, ours_cpu_ratio: 0.2 },
    { cpu_busy_ratio: 0.95, ours_cpu_ratio: 0.55 },
    "ours",
  ],
  [
    "a small burst of ours beside a stranger that nearly fills it",
    { cpu_busy_ratio: 0.7, ours_cpu_ratio: 0.05 },
    { cpu_busy_ratio: 0.95, ours_cpu_ratio: 0.3 },
    "theirs",
  ],
  ["a build and nothing of ours", { ours_cpu_ratio: 0 }, { cpu_busy_ratio: 1, ours_cpu_ratio: 0 }, "theirs"],
])("whose CPU it is: %s", (_, before, after, whose) => {
  const bench = triggerBench();
  bench.see(node(before));
  bench.pass(5 * minuteMs);
  bench.see(node(after));
  bench.pass(minuteMs);
  expect(bench.log.map((line) => line.split(" ")[1])).toEqual([whose === "ours" ? "fired" : "noted"]);
});

test.each<[string, Figures, Figures, "ours" | "theirs"]>([
  [
    "a leak of ours on a machine that others have half filled",
    { memory_used_ratio: 0.55, ours_memory_ratio: 0.05 },
    { memory_used_ratio: 0.83, ours_memory_ratio: 0.32 },
    "ours",
  ],
  [
    "a stranger that takes what was free beside a large workload of ours",
    { memory_used_ratio: 0.55, ours_memory_ratio: 0.5 },
    { memory_used_ratio: 0.9, ours_memory_ratio: 0.5 },
    "theirs",
  ],
])("whose memory it is: %s", (_, before, after, whose) => {
  const bench = triggerBench();
  bench.see(node(before));
  bench.pass(5 * minuteMs);
  bench.see(node(after));
  bench.pass(minuteMs);
  expect(bench.log.map((line) => line.split(" ")[1])).toEqual([whose === "ours" ? "fired" : "noted"]);
});

test("what a stranger took above the calm threshold stays its own, however long ago it came", () => {
  const bench = triggerBench();
  bench.pass(5 * minuteMs);
  bench.see(node({ memory_used_ratio: 0.78, ours_memory_ratio: 0.1 }));
  bench.pass(60 * minuteMs);
  bench.see(node({ memory_used_ratio: 0.84, ours_memory_ratio: 0.16 }));
  bench.pass(minuteMs);
  expect(bench.log).toEqual(["3908 noted memory-high node"]);
});

test("a slow leak of ours is ours, however slowly the calm time has followed it", () => {
  const bench = triggerBench();
  const growth = (ms: number) => Math.min(0.5, (ms / (120 * minuteMs)) * 0.5);
  bench.see((ms) => node({ memory_used_ratio: 0.35 + growth(ms), ours_memory_ratio: 0.05 + growth(ms) }));
  bench.pass(121 * minuteMs);
  expect(bench.log[0]).toBe("6488 fired memory-high node");
});

test("a machine that was full when we came: whoever takes more; and where nobody knows whose it is, nobody is blamed", () => {
  for (const [figures, out] of [
    [{ cpu_busy_ratio: 0.95, ours_cpu_ratio: 0.6 }, "fired"],
    [{ cpu_busy_ratio: 0.95, ours_cpu_ratio: 0.4 }, "noted"],
  ] as const) {
    const bench = triggerBench();
    bench.see(node(figures));
    bench.pass(10_000);
    expect(bench.log.map((line) => line.split(" ")[1])).toEqual([out]);
  }
  const { ours_cpu_ratio: _unknown, ...rest } = calm.node;
  const bench = triggerBench();
  bench.see(quiet({ node: { ...rest, cpu_busy_ratio: 0.95 } }));
  bench.pass(10_000);
  expect(bench.log.map((line) => line.split(" ")[1])).toEqual([]);
});

test("when the stranger leaves and ours goes on, it fires after its hold", () => {
  const bench = triggerBench();
  bench.pass(5 * minuteMs);
  bench.see(node({ cpu_busy_ratio: 0.99, ours_cpu_ratio: 0.4 }));
  bench.pass(minuteMs);
  bench.see(node({ cpu_busy_ratio: 0.95, ours_cpu_ratio: 0.9 }));
  bench.pass(minuteMs);
  expect(bench.log).toEqual(["308 noted cpu-high node", "368 fired cpu-high node"]);
});

test("a workload that a starved machine slows is noted; one that is slower than that explains fires", () => {
  const bench = triggerBench();
  bench.pass(5 * minuteMs);
  bench.see(stressed({ p95_latency_ms: 2900 }));
  bench.pass(minuteMs);
  expect(bench.log.filter((line) => line.includes("engine"))).toEqual(["308 noted high-latency workload/engine"]);
  bench.see(stressed({ p95_latency_ms: 3100 }));
  bench.pass(10_000);
  expect(bench.log.filter((line) => line.includes("fired"))).toEqual(["368 fired high-latency workload/engine"]);
});

test("timeouts and anomalies of a starved machine are noted, and three times as many timeouts are not", () => {
  const bench = triggerBench();
  bench.pass(5 * minuteMs);
  bench.see(stressed());
  bench.pass(10_000);
  const timeouts = (count: number) =>
    bench.tell({ is: "requests", workload: "engine", count, timeouts: count, errors: 0 });
  timeouts(14);
  bench.tell({ is: "anomaly", workload: "engine", anomalous: true, because: "p95 is out" });
  bench.pass(3000);
  expect(bench.log.filter((line) => line.includes("engine"))).toEqual([
    "310 noted api-timeouts workload/engine",
    "313 noted anomaly workload/engine",
  ]);
  timeouts(1);
  expect(bench.log.at(-1)).toBe("313 fired api-timeouts workload/engine");
});

test("a minute after the stress the figures count again as they are", () => {
  const bench = triggerBench();
  bench.pass(5 * minuteMs);
  bench.see(stressed());
  bench.pass(minuteMs);
  bench.see(quiet({ workloads: { engine: healthy({ p95_latency_ms: 1500 }) } }));
  bench.pass(50_000);
  expect(bench.log.filter((line) => line.includes("fired"))).toEqual([]);
  bench.pass(30_000);
  expect(bench.log.filter((line) => line.includes("fired"))).toEqual(["423 fired high-latency workload/engine"]);
});

test("a machine that was busy ever since we look is its own normal, and excuses no workload", () => {
  for (const calmMs of [0, 30_000]) {
    const bench = triggerBench();
    if (calmMs > 0) bench.pass(calmMs);
    bench.see(stressed({ p95_latency_ms: 1100 }));
    bench.pass(10_000);
    expect(bench.log.filter((line) => line.includes("fired"))).toHaveLength(1);
  }
});

test("facts are facts on a starved machine too: a crash, a dead sandbox, trust, a full disk", () => {
  const bench = triggerBench();
  bench.pass(5 * minuteMs);
  const bad = stressed({ trust: 0.5 });
  bench.see({ ...bad, node: { ...bad.node, disk_used_ratio: 0.97 } });
  bench.pass(9000);
  bench.tell({ is: "ended", workload: "engine", sandbox: false, because: "exit code 1" });
  bench.tell({ is: "ended", workload: "other", sandbox: true, because: "exit code 71" });
  expect(
    bench.log
      .filter((line) => line.includes("fired"))
      .map((line) => line.split(" ")[2])
      .sort(),
  ).toEqual(["disk-high", "sandbox-crash", "trust-drop", "workload-crashed"]);
});

test("the agent's own lag is taken off latencies and ages: what it missed is nobody's silence", () => {
  const bench = triggerBench();
  bench.pass(2000);
  bench.stall(70_000);
  bench.tell({ is: "late", byMs: 70_000 });
  bench.see(quiet({ workloads: { engine: healthy({ beat_age_ms: 71_000, p95_latency_ms: 60_000 }) } }));
  bench.pass(20_000);
  expect(bench.log).toEqual([]);
  // The silence goes on.
  bench.see((ms) => quiet({ workloads: { engine: healthy({ beat_age_ms: ms }) } }));
  bench.pass(90_000);
  expect(bench.log).toEqual(["135 fired workload-silent workload/engine"]);
});

test("a latency was silent for a minute after the agent was late by a second: only a pause of the machine has slowed it", () => {
  for (const [pausedMs, firesS] of [
    [0, 8],
    [1000, 68],
  ] as const) {
    const bench = triggerBench({ triggers: catalogue.filter(({ name }) => name === "high-latency") });
    bench.pass(1000);
    bench.stall(1000);
    bench.tell({ is: "late", byMs: 1000, pausedMs });
    bench.see(quiet({ workloads: { engine: healthy({ p95_latency_ms: 1050 }) } }));
    bench.pass(90_000);
    const [fired] = bench.log.filter((line) => line.includes("fired"));
    expect(fired, `${pausedMs} ms`).toBe(`${firesS} fired high-latency workload/engine`);
  }
});

test("what is told in a heap after the agent was away lay in a longer window than it seems", () => {
  const bench = triggerBench();
  bench.stall(180_000);
  bench.tell({ is: "late", byMs: 180_000 });
  const timeouts = (count: number) =>
    bench.tell({ is: "requests", workload: "engine", count, timeouts: count, errors: 0 });
  // Four times the window: four times as many.
  timeouts(19);
  expect(bench.log).toEqual([]);
  timeouts(1);
  expect(bench.log).toEqual(["180 fired api-timeouts workload/engine"]);
});

test("a hold does not run while the agent is away", () => {
  const bench = triggerBench();
  bench.see(quiet({ workloads: { engine: healthy({ p95_latency_ms: 3000 }) } }));
  bench.pass(100);
  bench.stall(4000);
  bench.tell({ is: "late", byMs: 4000 });
  bench.look();
  expect(bench.log).toEqual([]);
  bench.see(calm);
  bench.pass(20_000);
  expect(bench.log).toEqual([]);
});
