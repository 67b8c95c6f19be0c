import { expect, test } from "vitest";
import { healthy, quiet, triggerBench } from "../../test/support/trigger-bench.ts";
import { resumed, type Step } from "./state.ts";
import { catalogue, type LevelTrigger } from "./trigger.ts";

const latency = catalogue.filter(({ name }) => name === "high-latency");
const engine = { trigger: "high-latency", workload: "engine" };

/** A bench on which the engine is slow and has fired, at 5 s a reading. */
function slowBench() {
  const bench = triggerBench({ triggers: latency });
  bench.see(quiet({ workloads: { engine: healthy({ p95_latency_ms: 2000 }) } }));
  bench.pass(6000);
  expect(bench.log).toEqual(["3 fired high-latency workload/engine"]);
  /** A new process that answers with this; undefined: it says nothing of its latency. */
  const born = (value: number | undefined) => {
    const bornMs = bench.sinceMs;
    bench.see((ms) => {
      const { p95_latency_ms: _before, ...rest } = healthy({ uptime_ms: ms - bornMs });
      return quiet({ workloads: { engine: value === undefined ? rest : { ...rest, p95_latency_ms: value } } });
    });
    return bench.tell({ is: "born", workload: "engine" });
  };
  return { bench, born };
}

const outs = (steps: readonly Step[], what: "fired" | "cleared" | "lapsed" | "holding") =>
  steps.flatMap((step) => step[what].map(({ trigger, workload }) => ({ trigger, workload })));

test("GRC-2 what was known of the process before never fires for the next one, and is over for it at once", () => {
  const { bench, born } = slowBench();
  expect(born(undefined).lapsed).toEqual([engine]);
  bench.pass(1_000_000);
  expect(outs(bench.steps, "fired")).toHaveLength(1);
  expect(bench.state.stands).toEqual({});
});

test("GRC-2 the new process is as slow: its hold begins anew, it says that it holds, and fires after the cooldown only", () => {
  const { bench, born } = slowBench();
  born(2000);
  bench.pass(3900);
  expect(outs(bench.steps, "holding")).toEqual([]);
  bench.pass(4000);
  expect(outs(bench.steps, "holding")).toEqual([engine]);
  bench.pass(120_000);
  expect(bench.log).toEqual(["3 fired high-latency workload/engine", "123 fired high-latency workload/engine"]);
});

test("GRC-2 the new process is fast: it is over when that was so for the clear hold", () => {
  const { bench, born } = slowBench();
  born(100);
  bench.pass(20_000);
  expect(bench.log).toEqual(["3 fired high-latency workload/engine", "15 cleared high-latency workload/engine"]);
});

test("a figure that is not there any more fires no second time, and the five minutes in which it went on firing are gone", () => {
  const { bench } = slowBench();
  const { p95_latency_ms: _gone, ...rest } = healthy();
  bench.see(quiet({ workloads: { engine: rest } }));
  bench.pass(600_000);
  expect(bench.log).toEqual(["3 fired high-latency workload/engine"]);
  expect(outs(bench.steps, "lapsed")).toEqual([engine]);
});

test("a new process is noticed by its age alone: another agent may have started it", () => {
  const { bench } = slowBench();
  const bornMs = bench.sinceMs;
  bench.see((ms) => {
    const { p95_latency_ms: _gone, ...rest } = healthy({ uptime_ms: ms - bornMs });
    return quiet({ workloads: { engine: rest } });
  });
  bench.pass(5000);
  expect(outs(bench.steps, "lapsed")).toEqual([engine]);
});

test("a hold that was counting begins anew with a new process", () => {
  const bench = triggerBench({ triggers: latency });
  bench.see(quiet({ workloads: { engine: healthy({ p95_latency_ms: 2000 }) } }));
  bench.pass(1000);
  bench.tell({ is: "born", workload: "engine" });
  const { p95_latency_ms: _gone, ...rest } = healthy({ uptime_ms: 0 });
  bench.see(quiet({ workloads: { engine: rest } }));
  bench.pass(60_000);
  expect(bench.log).toEqual([]);
});

test("what outlives a process is not forgotten with it: trust, and the node's own figures", () => {
  const bench = triggerBench({
    triggers: catalogue.filter(({ name }) => name === "trust-drop" || name === "disk-high"),
  });
  const { node } = quiet();
  const seen = (uptimeMs: number) =>
    quiet({
      node: { ...node, disk_used_ratio: 0.95 },
      workloads: { engine: healthy({ trust: 0.3, uptime_ms: uptimeMs }) },
    });
  bench.see(seen(3_600_000));
  bench.pass(10_000);
  bench.tell({ is: "born", workload: "engine" });
  bench.see(seen(1));
  bench.pass(60_000);
  expect(outs(bench.steps, "lapsed")).toEqual([]);
  expect(Object.values(bench.state.stands).map(({ at }) => at)).toEqual(["firing", "firing"]);
});

test("timeouts of the process before are none of the next one's: it is over after the clear hold, from its start", () => {
  const bench = triggerBench({ triggers: catalogue.filter(({ name }) => name === "api-timeouts") });
  for (let n = 0; n < 5; n++) bench.tell({ is: "requests", workload: "engine", count: 9, timeouts: 1, errors: 0 });
  bench.tell({ is: "born", workload: "engine" });
  bench.pass(30_000);
  expect(bench.log).toEqual(["0 fired api-timeouts workload/engine", "5 cleared api-timeouts workload/engine"]);
});

test("a new process that flickers around its threshold fires no more often than its cooldown allows", () => {
  const [trigger] = latency as LevelTrigger[];
  const bench = triggerBench({ triggers: latency });
  bench.see((ms) => quiet({ workloads: { engine: healthy({ p95_latency_ms: ms % 20_000 < 10_000 ? 2000 : 100 }) } }));
  for (let n = 0; n < 60; n++) {
    bench.pass(7000);
    bench.tell({ is: "born", workload: "engine" });
  }
  const at = bench.log.filter((line) => line.includes(" fired ")).map((line) => Number.parseFloat(line) * 1000);
  for (const [n, ms] of at.slice(1).entries())
    expect(ms - (at[n] ?? 0)).toBeGreaterThanOrEqual(trigger?.cooldownMs ?? Number.NaN);
});

const trustOnly = catalogue.filter(({ name }) => name === "trust-drop");
const dayMs = 86_400_000;
/** As `learning/trust.ts` lets it come back: half of the way in a week. */
const drifting = (from: number, sinceMs: number) => 0.8 - (0.8 - from) * 2 ** (-Math.max(0, sinceMs) / (7 * dayMs));
const minutesOf = (log: readonly string[]) =>
  log.filter((line) => line.includes(" fired ")).map((line) => Math.round(Number.parseFloat(line) / 60));

test("trust-drop fired every four minutes for eleven days, for a workload that had failed three times and was well ever since", () => {
  const bench = triggerBench({ triggers: trustOnly, everyMs: 30_000 });
  bench.see((ms) => quiet({ workloads: { engine: healthy({ trust: drifting(0.5, ms) }) } }));
  bench.pass(20 * dayMs);
  const minutes = minutesOf(bench.log);
  // In the hour in which a version may still be taken back for it, again and again; then day by day.
  expect(minutes.slice(0, 6)).toEqual([0, 4, 8, 16, 32, 64]);
  expect(minutes.length).toBeLessThan(24);
  expect(bench.log.at(-1)).toContain("cleared trust-drop");
});

test("trust that falls again fires again after its cooldown, however long it had been low, and though it had come back a little", () => {
  const bench = triggerBench({ triggers: trustOnly, everyMs: 30_000 });
  const fallsMs = 3 * dayMs;
  bench.see((ms) => {
    const trust = ms < fallsMs ? drifting(0.5, ms) : drifting(drifting(0.5, fallsMs) - 0.1, ms - fallsMs);
    return quiet({ workloads: { engine: healthy({ trust }) } });
  });
  bench.pass(fallsMs - 1);
  const before = minutesOf(bench.log).length;
  bench.pass(17 * 60_000);
  expect(minutesOf(bench.log).slice(before)).toEqual([0, 4, 8, 16].map((minute) => fallsMs / 60_000 + minute));
});

test("an agent that starts again knows that trust has fallen no further", () => {
  const first = triggerBench({ triggers: trustOnly, everyMs: 30_000 });
  first.see((ms) => quiet({ workloads: { engine: healthy({ trust: drifting(0.5, ms) }) } }));
  first.pass(2 * dayMs);
  const state = resumed(first.state, trustOnly, true, first.now().ms);
  const next = triggerBench({ triggers: trustOnly, everyMs: 30_000, state });
  next.see((ms) => quiet({ workloads: { engine: healthy({ trust: drifting(0.5, ms) }) } }));
  next.stall(2 * dayMs);
  next.pass(60 * 60_000);
  expect(minutesOf(next.log)).toEqual([]);
});
