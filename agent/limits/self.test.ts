import { expect, test } from "vitest";
import { boundWarnings, judgeSelf, type SelfMemory } from "./self.ts";

const limit = 512 * 2 ** 20;

test("DOL-5 the agent starts itself anew when its own memory is over its limit for a minute, and not for a peak", () => {
  const run = (held: (second: number) => number) => {
    let memory: SelfMemory = {};
    const asked: number[] = [];
    for (let second = 0; second <= 150; second += 5) {
      const judged = judgeSelf(limit, held(second) * 2 ** 20, memory, second * 1000);
      memory = judged.memory;
      if (judged.because) asked.push(second);
    }
    return asked;
  };
  expect(run(() => 600)).toEqual([60, 120]);
  expect(run((second) => (second === 50 ? 500 : 600))).toEqual([115]);
  expect(run(() => 512)).toEqual([]);
  expect(judgeSelf(limit, 600 * 2 ** 20, { overSinceMs: 0 }, 60_000).because).toBe(
    "the agent has held 600 MiB for 60 s, its limit is 512 MiB",
  );
});

test("bounds of the system that are too tight for so many workloads are named with the setting to raise", () => {
  const bounds = {
    openFiles: 1024,
    processes: 4096,
    cgroupTasks: Number.POSITIVE_INFINITY,
    cgroupMemoryBytes: undefined,
  };
  expect(boundWarnings(bounds, 50, limit)).toEqual([]);
  expect(boundWarnings({ ...bounds, openFiles: 256, cgroupTasks: 512, cgroupMemoryBytes: 2 ** 28 }, 50, limit)).toEqual(
    [
      "the agent may open 256 files and may need 912: raise LimitNOFILE of its unit, or ulimit -n",
      "the agent's cgroup, which its workloads share, may hold 512 tasks, and 864 may be needed: raise TasksMax of its unit",
      "the agent's cgroup, which its workloads share, has 256 MiB of memory, less than self.memory: raise MemoryMax of its unit",
    ],
  );
});
