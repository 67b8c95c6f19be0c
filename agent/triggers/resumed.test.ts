import { expect, test } from "vitest";
import { epochMs, healthy, quiet, triggerBench } from "../../test/support/trigger-bench.ts";
import type { Observation } from "./observation.ts";
import { resumed, type State } from "./state.ts";
import { catalogue, type LevelTrigger, type Trigger } from "./trigger.ts";

const minuteMs = 60_000;
const of = (name: string) => catalogue.filter((trigger) => trigger.name === name);
const oldMs = 86_400_000;
const latency = (p95: number, uptimeMs = oldMs) =>
  quiet({ workloads: { engine: healthy({ p95_latency_ms: p95, uptime_ms: uptimeMs }) } });

/** An agent that takes over what another one had stored, so long after that one began; it sees nothing at first. */
function successor(stored: State, triggers: readonly Trigger[], afterMs: number) {
  const state = resumed(stored, triggers, true, epochMs + afterMs);
  const bench = triggerBench({ state, triggers });
  bench.see(() => undefined);
  bench.stall(afterMs);
  bench.look();
  return bench;
}

/** What was stored last of a slow engine: at its firing, however long it was seen to be slow afterwards. */
function slowOnce(): State {
  const bench = triggerBench({ triggers: of("high-latency") });
  bench.see(latency(2000));
  bench.pass(4000);
  expect(bench.log).toEqual(["3 fired high-latency workload/engine"]);
  return bench.state;
}

test("an agent's first look, an hour after the last firing, called it over, or fired it while nobody could hear of it yet", () => {
  const bench = successor(slowOnce(), of("high-latency"), 60 * minuteMs);
  bench.pass(4000);
  expect(bench.log).toEqual([]);
  expect(Object.values(bench.state.stands).map(({ at }) => at)).toEqual(["firing"]);
  // The first reading says that it holds, and that it holds still: the cooldown is over since long.
  bench.see(latency(2000));
  bench.pass(5000);
  expect(bench.log).toEqual(["3605 fired high-latency workload/engine"]);
});

test("what nobody confirms within five minutes of this agent's life is over, and what is found to be over is so after its clear hold", () => {
  const silent = successor(slowOnce(), of("high-latency"), 60 * minuteMs);
  silent.pass(5 * minuteMs - 1);
  expect(silent.log).toEqual([]);
  silent.pass(1);
  expect(silent.log).toEqual(["3900 cleared high-latency workload/engine"]);
  const well = successor(slowOnce(), of("high-latency"), 60 * minuteMs);
  well.see(latency(100));
  well.pass(10_000);
  expect(well.log).toEqual(["3605 cleared high-latency workload/engine"]);
});

test("of what was started between the last firing and this agent's start nothing is known, as of any new process", () => {
  const bench = successor(slowOnce(), of("high-latency"), 10 * minuteMs);
  bench.see(latency(2000, 5 * minuteMs));
  bench.pass(1000);
  expect(bench.steps.flatMap(({ lapsed }) => lapsed)).toEqual([{ trigger: "high-latency", workload: "engine" }]);
});

test("timeouts that an agent has counted went with it: its successor knows that there are few only after a while of its own", () => {
  const first = triggerBench({ triggers: of("api-timeouts") });
  for (let n = 0; n < 5; n++) first.tell({ is: "requests", workload: "engine", count: 9, timeouts: 1, errors: 0 });
  expect(first.log).toEqual(["0 fired api-timeouts workload/engine"]);
  const bench = successor(first.state, of("api-timeouts"), 10_000);
  bench.pass(14_999);
  expect(Object.values(bench.state.stands).map(({ at }) => at)).toEqual(["firing"]);
  bench.pass(15_000);
  expect(bench.log).toEqual(["30 cleared api-timeouts workload/engine"]);
});

test("a late job was fired at the first look, when nothing could start it, and then rested for its cooldown", () => {
  const late: Observation = quiet({ lateJobs: { backup: 3 * minuteMs } });
  const first = triggerBench({ triggers: of("job-late") });
  first.see(late);
  first.pass(1000);
  const bench = successor(first.state, of("job-late"), 20 * minuteMs);
  expect(bench.log).toEqual([]);
  bench.see(late);
  bench.pass(5000);
  expect(bench.log).toEqual(["1200 fired job-late job/backup"]);
});

test("a trigger that a new config limits to other workloads stood, and fired, for one that it did not look at any more", () => {
  const limited = of("high-latency").map((trigger) => ({ ...trigger, workloads: ["web"] }));
  const bench = successor(slowOnce(), limited, minuteMs);
  expect(bench.state.stands).toEqual({});
  bench.see(latency(100));
  bench.pass(10 * minuteMs);
  expect(bench.log).toEqual([]);
});

test("a trigger that a new config gives a figure of the node stands for no workload any more, and the other way round", () => {
  const slow = slowOnce();
  const [trigger] = of("high-latency") as LevelTrigger[];
  const ofNode = [{ ...(trigger as LevelTrigger), metric: "disk_used_ratio", threshold: 0.9, clear: 0.85 }];
  expect(successor(slow, ofNode, minuteMs).state.stands).toEqual({});
  const full = triggerBench({ triggers: ofNode });
  full.see(quiet({ node: { ...quiet().node, disk_used_ratio: 0.95 } }));
  full.pass(4000);
  expect(Object.keys(full.state.stands)).toEqual(["high-latency node"]);
  expect(successor(full.state, of("high-latency"), minuteMs).state.stands).toEqual({});
  expect(Object.keys(successor(full.state, ofNode, minuteMs).state.stands)).toEqual(["high-latency node"]);
});

test.each([
  ["another agent", true],
  ["a reboot", false],
])(
  "after %s the errors that a workload always prints are no burst, for which it was restarted, and far more still are",
  (_what, sameBoot) => {
    const bursts = of("error-burst");
    const first = triggerBench({ triggers: bursts });
    const print = (bench: typeof first, count: number, forMs: number) => {
      for (let ms = 0; ms < forMs; ms += 10_000) {
        bench.tell({ is: "errors", workload: "engine", count });
        bench.pass(10_000);
      }
    };
    print(first, 5, 120 * minuteMs);
    const awayMs = 30 * minuteMs;
    const afterMs = sameBoot ? first.sinceMs + awayMs : 0;
    const stored = JSON.parse(JSON.stringify(first.state)) as State;
    const next = triggerBench({ state: resumed(stored, bursts, sameBoot, epochMs + afterMs), triggers: bursts });
    next.stall(afterMs);
    print(next, 5, 10 * minuteMs);
    expect(next.log).toEqual([]);
    print(next, 60, 30_000);
    expect(next.log).toEqual([expect.stringContaining("fired error-burst workload/engine")]);
  },
);
