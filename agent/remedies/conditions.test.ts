import { expect, test } from "vitest";
import type { When } from "../playbooks/playbook.ts";
import { holds, type Seen } from "./conditions.ts";
import { needsOf, planDependencies } from "./dependencies.ts";

const seen: Seen = {
  workload: "engine",
  alive: true,
  well: false,
  of: { p95_latency_ms: 1050 },
  node: { cpu_busy_ratio: 0.5, p95_latency_ms: 1 },
  has: { safe_mode: true, data: false, artifacts: false, dependencies: false, healthy_config: false },
  failedBefore: false,
};
const high = { figure: "p95_latency_ms", is: "above", value: 1000, text: "1000ms" } as const;
const low = { figure: "cpu_busy_ratio", is: "below", value: 0.1, text: "10%" } as const;
const unknown = { figure: "memory_usage_mb", is: "below", value: 1, text: "1" } as const;

test.each<[When, boolean, RegExp]>([
  [{ any: [high] }, true, /^p95_latency_ms is 1050, asked is above 1000ms$/],
  [{ any: [low, high] }, true, /1050/],
  [{ any: [low] }, false, /^cpu_busy_ratio is 0.5, asked is below 10%$/],
  [{ any: [unknown] }, false, /^memory_usage_mb is not known$/],
  [{ any: [], workload: "running" }, true, /holds/],
  [{ any: [], workload: "well" }, false, /it is not well/],
  [{ any: [], workload: "unwell" }, true, /holds/],
  [{ any: [], workload: "down" }, false, /not down/],
  [{ any: [], has: "safe_mode" }, true, /holds/],
  [{ any: [], has: "healthy_config" }, false, /it has no healthy config/],
  [{ any: [], earlier: "failed" }, false, /no step before has failed/],
  [{ any: [], earlier: "done" }, true, /holds/],
  [{ any: [high], has: "data" }, false, /it has no data/],
])("%j: %s", (when, expected, because) => {
  const result = holds(when, seen);
  expect(result.holds).toBe(expected);
  expect(result.because).toMatch(because);
});

test("a condition about a workload does not hold for the node", () => {
  expect(holds({ any: [], workload: "down" }, { ...seen, workload: "" }).holds).toBe(false);
});

const graph = new Map([
  ["engine", ["queue", "cache"]],
  ["queue", ["disk"]],
  ["cache", ["disk"]],
  ["disk", []],
  ["other", []],
]);
const plan = (
  stands: Record<string, "well" | "down" | "recovering" | "stopped" | "done">,
  again = true,
  spent = [""],
) =>
  planDependencies(
    "engine",
    graph,
    (name) => stands[name] ?? "well",
    again,
    (name) => spent.includes(name),
  );

test("what a workload depends on is known to the depth, what others need first", () => {
  expect(needsOf("engine", graph)).toEqual(["disk", "queue", "cache"]);
  expect(needsOf("disk", graph)).toEqual([]);
  const circle = new Map([
    ["a", ["b", "gone"]],
    ["b", ["a"]],
  ]);
  expect(needsOf("a", circle)).toEqual(["b"]);
});

test("SYN-3 a failure belongs to its root: only what is not well is touched, deepest first, and what recovers is waited for", () => {
  expect(plan({ disk: "down", queue: "recovering" })).toEqual({
    is: "plan",
    root: "disk",
    steps: [
      { name: "disk", do: "heal" },
      { name: "queue", do: "wait" },
    ],
  });
});

test("SYN-3 when all look well the direct ones are started anew, in order, and only on the rung", () => {
  expect(plan({})).toEqual({
    is: "plan",
    steps: [
      { name: "queue", do: "again" },
      { name: "cache", do: "again" },
    ],
  });
  expect(plan({}, false)).toEqual({ is: "none", because: "all it depends on are well" });
  const none = { is: "none", because: "it depends on nothing" };
  expect(
    planDependencies(
      "disk",
      graph,
      () => "down",
      true,
      () => false,
    ),
  ).toEqual(none);
});

test("DOL-6 what was started as often lately as it may be is started no more by those that depend on it: it is waited for", () => {
  const steps = [{ name: "disk", do: "wait" }];
  expect(plan({ disk: "down" }, true, ["disk"])).toEqual({ is: "plan", root: "disk", steps });
  expect(plan({}, true, ["queue"])).toEqual({ is: "plan", steps: [{ name: "cache", do: "again" }] });
  expect(plan({}, true, ["queue", "cache"])).toMatchObject({ is: "none" });
});

test("a job that has done its work is neither waited for nor started once more by rung 4, and hides nobody who is down", () => {
  expect(plan({ disk: "done", queue: "down" })).toMatchObject({ is: "plan", root: "queue" });
  expect(plan({ disk: "done", queue: "done", cache: "done" })).toEqual({
    is: "none",
    because: "it depends on nothing",
  });
  expect(plan({ queue: "done" })).toEqual({ is: "plan", steps: [{ name: "cache", do: "again" }] });
});

test("GRC-7 what a person stopped is not started for the sake of another", () => {
  expect(plan({ disk: "stopped", queue: "down" })).toEqual({
    is: "none",
    because: "disk, on which it depends, was stopped by a person",
  });
});
