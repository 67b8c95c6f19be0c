import { expect, test } from "vitest";
import type { Breach } from "./judge.ts";
import { freshNode, judgeNode, type NodeSight, rememberNode } from "./node-memory.ts";

const totalBytes = 1000 * 2 ** 20;
const sight = (atMs: number, available: number, families: Record<string, number>): NodeSight => ({
  atMs,
  totalBytes,
  availableBytes: available * 2 ** 20,
  families: Object.fromEntries(Object.entries(families).map(([name, count]) => [name, count * 2 ** 20])),
});

function watch(sights: readonly NodeSight[]): { atMs: number; breach: Breach }[] {
  let memory = freshNode;
  return sights.flatMap((one) => {
    const judged = judgeNode(one, memory);
    memory = rememberNode(judged.memory, one);
    return judged.breach ? [{ atMs: one.atMs, breach: judged.breach }] : [];
  });
}

test("DOL-5 when the node is nearly out of memory the family that leaks is ended, and not the larger healthy one", () => {
  const leak = [100, 200, 300, 395].map((bytes, at) => sight(at * 5000, 420 - bytes, { database: 450, leaky: bytes }));
  expect(watch([...leak, sight(20_250, 24, { database: 450, leaky: 396 })])).toEqual([
    {
      atMs: 20_250,
      breach: {
        workload: "leaky",
        what: "node_memory",
        act: "end",
        because:
          "the node has 24 MiB of 1000 MiB left, and 'leaky' has taken 296 MiB of the 296 MiB that were lost in 20 s: ended before the kernel picks somebody healthy",
      },
    },
  ]);
});

test("a leak of an hour is found too, when the last minute shows nothing", () => {
  const hour = Array.from({ length: 60 }, (_, at) =>
    sight(at * 60_000, 400 - at * 6, { database: 400, slow: 50 + at * 6 }),
  );
  const end = [0, 250].map((ms) => sight(3_660_000 + ms, 29, { database: 400, slow: 420 }));
  expect(watch([...hour, ...end]).map(({ breach }) => breach.workload)).toEqual(["slow"]);
});

test("memory that strangers took ends nobody of ours: a person is told, once in ten minutes", () => {
  const stolen = Array.from({ length: 100 }, (_, at) =>
    sight(at * 5000, Math.max(20, 400 - at * 40), { database: 300 }),
  );
  expect(watch(stolen).map(({ breach }) => [breach.workload, breach.act])).toEqual([["", "tell"]]);
});

test("a family that holds more than half of the machine is the cause even if nobody saw it grow", () => {
  expect(watch([0, 250].map((ms) => sight(ms, 25, { big: 600, small: 10 })))).toEqual([
    { atMs: 250, breach: expect.objectContaining({ workload: "big", act: "end" }) },
  ]);
});

test("one look below the floor is not enough, unless there may be no second one; and one end has to show before the next", () => {
  const grown = (available: number, ms: number) => sight(ms, available, { a: 400, b: 390 });
  const before = sight(0, 500, { a: 10, b: 390 });
  expect(watch([before, grown(29, 5000), grown(40, 5250), grown(29, 5500)])).toEqual([]);
  expect(watch([before, grown(10, 5000), grown(10, 5250), grown(10, 9000)]).length).toBe(1);
  expect(watch([before, grown(10, 5000), grown(10, 10_001)]).length).toBe(2);
});

test("a family with shared memory was ended for what a stranger took: its processes together seemed to hold half of the machine", () => {
  const fair = (mib: number) => ({ fair: { postgres: mib * 2 ** 20 } });
  const low = [0, 250].map((ms) => ({ ...sight(ms, 20, { postgres: 560, small: 10 }), ...fair(80) }));
  expect(watch(low).map(({ breach }) => [breach.workload, breach.act])).toEqual([["", "tell"]]);
  // Nor for having grown by it; who has grown for itself is found behind it.
  const seen = [sight(0, 500, { postgres: 100, leaky: 20 }), sight(5000, 10, { postgres: 560, leaky: 300 })];
  expect(
    watch([seen[0] as NodeSight, { ...(seen[1] as NodeSight), ...fair(15) }]).map(({ breach }) => breach.workload),
  ).toEqual(["leaky"]);
});
