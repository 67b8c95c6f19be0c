import { expect, test } from "vitest";
import { healthy, quiet, triggerBench } from "../../test/support/trigger-bench.ts";
import type { Figures, Observation } from "./observation.ts";
import type { Event } from "./state.ts";
import { catalogue } from "./trigger.ts";

const engine = (over: Figures): Observation => quiet({ workloads: { engine: healthy(over) } });
const timeouts = (count: number): Event => ({ is: "requests", workload: "engine", count, timeouts: count, errors: 0 });
const errors = (count: number): Event => ({ is: "errors", workload: "engine", count });
const ended = (sandbox = false): Event => ({ is: "ended", workload: "engine", sandbox, because: "exit code 1" });
const anomaly = (anomalous: boolean): Event => ({
  is: "anomaly",
  workload: "engine",
  anomalous,
  because: "p95 is out",
});
const trend = (workload: string, metric: string, etaMs: number | undefined, confidence = 0.95): Event => ({
  is: "trend",
  workload,
  metric,
  ...(etaMs !== undefined && { etaMs }),
  confidence,
  because: "it grows by 1 MiB/s",
});

test("GRC-2 GRC-13 five requests that time out within a minute fire in the very step that tells of the fifth", () => {
  const bench = triggerBench();
  for (let n = 0; n < 4; n++) {
    bench.tell(timeouts(1));
    bench.pass(14_900);
  }
  expect(bench.log).toEqual([]);
  expect(bench.tell(timeouts(1)).fired).toEqual([
    {
      trigger: "api-timeouts",
      workload: "engine",
      severity: "high",
      playbook: "restart-service",
      because: "5 requests timed out within 1m",
      sinceMs: 1_000_000 + bench.sinceMs,
    },
  ]);
  bench.pass(30_000);
  expect(bench.log[1]).toBe("80 cleared api-timeouts workload/engine");
});

test("GRC-2 five timeouts in more than a minute are nothing, and neither are a thousand requests that answer", () => {
  const bench = triggerBench();
  for (let n = 0; n < 50; n++) {
    bench.tell(timeouts(1));
    bench.tell({ is: "requests", workload: "engine", count: 1000, timeouts: 0, errors: 0 });
    bench.pass(15_001);
  }
  expect(bench.log).toEqual([]);
});

test("GRC-13 each report of requests is judged at once by its figures: the latency fires when its hold is over, without a reading", () => {
  const bench = triggerBench({ firstMs: 1_000_000 });
  const figures = { p95_latency_ms: 1400, cpu_busy_ratio: 1 };
  bench.tell({ is: "requests", workload: "engine", count: 1, timeouts: 0, errors: 0, figures });
  bench.pass(4000);
  expect(bench.log).toEqual(["3 fired high-latency workload/engine"]);
  bench.tell({ is: "requests", workload: "engine", count: 1, timeouts: 0, errors: 0, figures: { p95_latency_ms: 40 } });
  bench.pass(6000);
  expect(bench.log[1]).toBe("9 cleared high-latency workload/engine");
});

test("counts of a process that is no more say nothing about the one that runs", () => {
  const bench = triggerBench();
  bench.tell(timeouts(4));
  bench.pass(4000);
  bench.see(engine({ uptime_ms: 2000 }));
  bench.pass(5000);
  bench.tell(timeouts(1));
  expect(bench.log).toEqual([]);
  bench.tell(timeouts(4));
  expect(bench.log).toHaveLength(1);
});

test("GRC-2 a burst of errors fires; what a workload always prints is no burst, and a flood above it is one again", () => {
  const bench = triggerBench();
  bench.tell(errors(19));
  expect(bench.log).toEqual([]);
  expect(bench.tell(errors(1)).fired[0]).toMatchObject({
    trigger: "error-burst",
    playbook: "run-diagnostics",
    because: "20 errors within 1m, usual are 0",
  });
  bench.pass(60_000);
  // A line each two seconds, for an hour: news at first, then how it is.
  for (let n = 0; n < 1800; n++) {
    bench.tell(errors(1));
    bench.pass(2000);
  }
  const asUsual = bench.log.filter((line) => line.includes("fired")).length;
  expect(asUsual).toBeLessThanOrEqual(4);
  const later = triggerBench({ state: bench.state });
  later.stall(bench.sinceMs);
  later.tell(errors(150));
  expect(later.log).toEqual([expect.stringContaining("fired error-burst workload/engine")]);
});

test("GRC-2 a crash, a frozen workload and a sandbox that crashed fire in the step that tells of them, and end when it lives again", () => {
  for (const [event, name] of [
    [ended(), "workload-crashed"],
    [ended(true), "sandbox-crash"],
    [{ is: "frozen", workload: "engine", because: "no beat for 3010 ms" }, "workload-frozen"],
  ] as const) {
    const bench = triggerBench();
    bench.pass(2500);
    expect(bench.tell(event).fired.map(({ trigger }) => trigger)).toEqual([name]);
    // Still the old process, or none.
    bench.see((ms) => (ms < 12_000 ? engine({ beat_age_ms: 9000 }) : quiet({ workloads: {} })));
    bench.pass(900_000);
    expect(bench.log).toEqual([`2.5 fired ${name} workload/engine`]);
    bench.see((ms) => engine({ uptime_ms: ms - 901_000 }));
    bench.pass(10_000);
    expect(bench.log.slice(1)).toEqual([`907 cleared ${name} workload/engine`]);
  }
});

test("every crash counts, and a sandbox without its own trigger is a crash", () => {
  const bench = triggerBench();
  for (let n = 0; n < 3; n++) {
    bench.tell(ended());
    bench.pass(1000);
  }
  expect(bench.log).toHaveLength(3);
  expect(bench.state.fired).toEqual({ "workload-crashed": 3 });
  const without = triggerBench({ triggers: catalogue.map((one) => ({ ...one, off: one.kind === "sandbox" })) });
  without.tell(ended(true));
  expect(without.log).toEqual(["0 fired workload-crashed workload/engine"]);
});

test("a frozen workload that beats again is over, without a new process", () => {
  const bench = triggerBench();
  bench.tell({ is: "frozen", workload: "engine", because: "stopped by a signal" });
  bench.see((ms) => engine({ beat_age_ms: ms < 6000 ? 3000 + ms : 100 }));
  bench.pass(20_000);
  expect(bench.log[1]).toBe("12 cleared workload-frozen workload/engine");
});

test("GRC-2 an anomaly fires when it lasts, and one odd look does not", () => {
  const bench = triggerBench();
  bench.tell(anomaly(true));
  bench.pass(2000);
  bench.tell(anomaly(false));
  bench.pass(60_000);
  expect(bench.log).toEqual([]);
  bench.tell(anomaly(true));
  bench.pass(3000);
  expect(bench.log).toEqual(["65 fired anomaly workload/engine"]);
  expect(bench.steps.flatMap((step) => step.fired)[0]?.because).toBe("p95 is out");
});

test("GRC-2 a leak and a disk that fills fire while there is time, by a trend that can be believed", () => {
  const bench = triggerBench();
  bench.tell(trend("engine", "process_memory_bytes", 16 * 60_000));
  bench.tell(trend("engine", "process_memory_bytes", 60_000, 0.7));
  bench.tell(trend("engine", "some_other_figure", 60_000));
  bench.tell(trend("", "disk_used_ratio", 61 * 60_000));
  bench.pass(10_000);
  expect(bench.log).toEqual([]);
  bench.tell(trend("engine", "process_memory_bytes", 14 * 60_000));
  bench.tell(trend("", "disk_used_ratio", 50 * 60_000));
  bench.pass(4000);
  expect(bench.log).toEqual(["13 fired memory-leak workload/engine", "13 fired disk-filling node"]);
  bench.tell(trend("engine", "process_memory_bytes", undefined));
  bench.tell(trend("", "disk_used_ratio", 90 * 60_000));
  bench.pass(20_000);
  expect(bench.log.slice(2)).toEqual(["29 cleared memory-leak workload/engine"]);
});
