import { expect, test } from "vitest";
import { healthy, quiet, triggerBench } from "../../test/support/trigger-bench.ts";
import { catalogue } from "./trigger.ts";

const triggers = catalogue.filter(({ name }) => name === "cpu-high" || name === "memory-high");
const { node } = quiet();
const gib = 2 ** 30;

/** What each workload takes, of the CPU in cores and of the memory in bytes, while the node is as it is. */
const takes = (shares: Readonly<Record<string, readonly [cores: number, bytes: number]>>, over: typeof node = node) =>
  quiet({
    node: over,
    workloads: Object.fromEntries(
      Object.entries(shares).map(([name, [cores, bytes]]) => [
        name,
        healthy({ process_cpu_ratio: cores, process_memory_bytes: bytes }),
      ]),
    ),
  });
const busy = { ...node, cpu_busy_ratio: 0.95, ours_cpu_ratio: 0.9 };
const full = { ...node, memory_used_ratio: 0.9, ours_memory_ratio: 0.8 };

/** A minute of calm, then this; the symptom that fires. */
function firesAfter(calm: ReturnType<typeof takes>, then: ReturnType<typeof takes>) {
  const bench = triggerBench({ triggers });
  bench.see(calm);
  bench.pass(70_000);
  bench.see(then);
  bench.pass(12_000);
  return bench.steps.flatMap(({ fired }) => fired)[0];
}

test("GRC-4 the workload that grew most is the cause of the node's CPU, with its share as evidence; what a database always takes is none", () => {
  const calm = takes({ db: [1.5, gib], api: [0.1, gib] });
  const symptom = firesAfter(calm, takes({ db: [1.6, gib], api: [2.1, gib] }, busy));
  expect(symptom).toMatchObject({ trigger: "cpu-high", workload: "", culprit: "api" });
  expect(symptom?.because).toBe(
    "cpu_busy_ratio is 95%, above 85%; api takes 210%, 10% while it was calm: 95% of what ours have grown by",
  );
});

test("GRC-4 the same for memory; who was not there in the calm has grown by all that it takes", () => {
  const symptom = firesAfter(takes({ db: [0.1, 2 * gib] }), takes({ db: [0.1, 2 * gib], api: [0.1, gib] }, full));
  expect(symptom).toMatchObject({ trigger: "memory-high", culprit: "api" });
});

test("nobody is blamed where the growth is spread, or small, or where no calm was seen", () => {
  const calm = takes({ a: [0.1, gib], b: [0.1, gib], c: [0.1, gib] });
  expect(firesAfter(calm, takes({ a: [1.1, gib], b: [1.1, gib], c: [1.1, gib] }, busy))?.culprit).toBeUndefined();
  expect(firesAfter(calm, takes({ a: [0.4, gib], b: [0.1, gib], c: [0.1, gib] }, busy))?.culprit).toBeUndefined();
  const hot = takes({ a: [3, gib], b: [0.1, gib] }, busy);
  expect(firesAfter(hot, hot)).toMatchObject({ trigger: "cpu-high" });
  expect(firesAfter(hot, hot)?.culprit).toBeUndefined();
});

test("a stranger's load blames nobody: nothing fires at all", () => {
  const calm = takes({ api: [0.1, gib] });
  const strange = takes({ api: [0.7, gib] }, { ...node, cpu_busy_ratio: 0.95, ours_cpu_ratio: 0.15 });
  expect(firesAfter(calm, strange)).toBeUndefined();
});

test("a process that was started anew is not blamed for what the one before took", () => {
  const bench = triggerBench({ triggers });
  bench.see(takes({ api: [0.1, gib], db: [0.1, gib] }));
  bench.pass(70_000);
  bench.see(takes({ api: [3, gib], db: [0.1, gib] }, busy));
  bench.pass(12_000);
  bench.tell({ is: "born", workload: "api" });
  bench.see(takes({ api: [0.1, gib], db: [3, gib] }, busy));
  bench.pass(1_000_000);
  const fired = bench.steps.flatMap((step) => step.fired);
  expect(fired[0]?.culprit).toBe("api");
  expect(fired.at(-1)?.culprit).toBe("db");
});

test("GRC-4 the node is still busy, but by strangers: for who was healed for it that is over, and it does not climb the ladder for them", () => {
  const bench = triggerBench({ triggers });
  bench.see(takes({ api: [0.1, gib] }));
  bench.pass(70_000);
  bench.see(takes({ api: [3.6, gib] }, busy));
  bench.pass(12_000);
  expect(bench.steps.flatMap(({ fired }) => fired)).toMatchObject([{ trigger: "cpu-high", culprit: "api" }]);
  bench.see(takes({ api: [0.1, gib] }, { ...node, cpu_busy_ratio: 0.97, ours_cpu_ratio: 0.03 }));
  bench.pass(12_000);
  expect(bench.steps.flatMap(({ cleared }) => cleared)).toEqual([{ trigger: "cpu-high", workload: "" }]);
  // Ours again, and no more than once in a cooldown.
  bench.see(takes({ api: [3.6, gib] }, busy));
  bench.pass(60_000);
  expect(bench.steps.flatMap(({ fired }) => fired)).toHaveLength(1);
  bench.pass(60_000);
  expect(bench.steps.flatMap(({ fired }) => fired)).toHaveLength(2);
});
