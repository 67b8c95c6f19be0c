import { expect, test } from "vitest";
import { lookAgainMs, lookAtAllAgainMs } from "./cadence.ts";
import {
  type Breach,
  type FamilyMemory,
  type FamilySight,
  forgiveFamily,
  freshFamily,
  judgeFamily,
  killedForMemory,
  newLife,
} from "./judge.ts";

const limits = { memoryBytes: 200 * 2 ** 20, cpu: 2, tasks: 50 };
const watched = { workload: "engine", limits, held: { memory: false, cpu: false, tasks: false } };
const held = { workload: "engine", limits, held: { memory: true, cpu: true, tasks: true } };
const mebi = (count: number) => ({ memoryBytes: count * 2 ** 20 });

/** Looks one after the other; the breaches that came of them, each with its moment. */
function looks(
  family: typeof watched,
  sights: readonly (FamilySight & { readonly atMs: number })[],
  from: FamilyMemory = freshFamily,
): { atMs: number; breach: Breach }[] {
  let memory = from;
  return sights.flatMap(({ atMs, ...sight }) => {
    const judged = judgeFamily(family, sight, memory, atMs);
    memory = judged.memory;
    return judged.breach ? [{ atMs, breach: judged.breach }] : [];
  });
}

const every = (stepMs: number, count: number, sight: (at: number) => FamilySight) =>
  Array.from({ length: count }, (_, at) => ({ atMs: at * stepMs, ...sight(at) }));

test("DOL-6 a watched family with more tasks than its limit is ended at the first sight", () => {
  expect(looks(watched, [{ atMs: 0, tasks: 50 }])).toEqual([]);
  expect(looks(watched, [{ atMs: 0, tasks: 51 }])).toEqual([
    {
      atMs: 0,
      breach: {
        workload: "engine",
        what: "tasks",
        act: "end",
        because: "its family has 51 processes and threads, its limit is 50",
      },
    },
  ]);
});

test("DOL-6 a family that the kernel holds at its limit is ended when it goes on forking for 5 s, and not for a short peak", () => {
  const peak = every(1000, 12, (at) => ({ tasks: 50, refusedForks: at < 3 ? at * 10 : 30 }));
  expect(looks(held, peak)).toEqual([]);
  const runaway = every(1000, 12, (at) => ({ tasks: 48, refusedForks: at * 10 }));
  expect(looks(held, runaway).map(({ atMs, breach }) => [atMs, breach.act])).toEqual([
    [6000, "end"],
    [11_000, "end"],
  ]);
});

test("DOL-6 forks that are refused while the family is far from its limit are somebody else's bound", () => {
  expect(
    looks(
      held,
      every(1000, 30, (at) => ({ tasks: 10, refusedForks: at })),
    ),
  ).toEqual([]);
});

test("DOL-5 a watched family over its memory limit at two looks in a row is to be restarted, once", () => {
  const sights = [190, 210, 190, 210, 220, 230].map((count, at) => ({ atMs: at * 1000, ...mebi(count) }));
  expect(looks(watched, sights)).toEqual([
    {
      atMs: 4000,
      breach: {
        workload: "engine",
        what: "memory",
        act: "restart",
        because: "it is over its memory limit: its family holds 220 MiB of 200 MiB",
      },
    },
  ]);
});

test("DOL-5 when the kernel has ended one of a held family for its memory, the rest is restarted", () => {
  expect(
    looks(
      held,
      [0, 0, 1, 1].map((oomKills, at) => ({ atMs: at * 1000, oomKills })),
    ),
  ).toEqual([{ atMs: 2000, breach: expect.objectContaining({ what: "memory", act: "restart" }) }]);
});

test("a kill for memory explains an exit for ten seconds, also one that comes while a restart is under way already", () => {
  const first = judgeFamily(held, { oomKills: 1 }, freshFamily, 2000);
  const second = judgeFamily(held, { oomKills: 2 }, first.memory, 4000);
  expect([first.breach?.act, second.breach]).toEqual(["restart", undefined]);
  expect(killedForMemory(limits, second.memory, 14_000)).toContain("memory limit of 200 MiB");
  expect(killedForMemory(limits, second.memory, 14_001)).toBeUndefined();
});

test("DOL-5 a life that was started after the kernel's kill is not restarted for it; the kill is told", () => {
  const full = judgeFamily(held, { tasks: 50, refusedForks: 9 }, freshFamily, 0).memory;
  const begun = newLife(held, { oomKills: 1, refusedForks: 20 }, { ...full, memoryOver: 1 }, 1000);
  expect(begun.breach).toMatchObject({ what: "memory", act: "tell", because: expect.stringContaining("200 MiB") });
  expect(looks(held, [{ atMs: 2000, oomKills: 1, refusedForks: 20, tasks: 50 }], begun.memory)).toEqual([]);
  expect(looks(watched, [{ atMs: 2000, ...mebi(210) }], begun.memory)).toEqual([]);
  expect(newLife(held, { oomKills: 1 }, begun.memory, 3000).breach).toBeUndefined();
});

test("DOL-5 CPU beyond its limit for a minute is told and harms nobody; a held family is throttled and not judged", () => {
  // 250 % of a core, looked at every 5 s.
  const busy = every(5000, 30, (at) => ({ cpuMs: at * 12_500 }));
  expect(looks(watched, busy).map(({ atMs, breach }) => [atMs, breach.act, breach.because])).toEqual([
    [
      60_000,
      "tell",
      "it has taken more than its 200 % of a core for 60 s, now 250 %; only a cgroup could hold it back",
    ],
  ]);
  expect(looks(held, busy)).toEqual([]);
  expect(
    looks(
      watched,
      every(5000, 30, (at) => ({ cpuMs: at * 9000 })),
    ),
  ).toEqual([]);
});

test("DOL-5 what is not limited is never a breach", () => {
  const free = { ...watched, limits: { memoryBytes: 0, cpu: 0, tasks: 0 } };
  expect(
    looks(
      free,
      every(5000, 30, (at) => ({ tasks: 10_000, cpuMs: at * 50_000, ...mebi(10_000) })),
    ),
  ).toEqual([]);
});

test("after the agent was away nothing that must hold for a while is judged by one look, but an explosion is", () => {
  const memory = judgeFamily(watched, { ...mebi(210), tasks: 10 }, freshFamily, 0).memory;
  expect(judgeFamily(watched, mebi(210), forgiveFamily(memory), 60_000).breach).toBeUndefined();
  expect(judgeFamily(watched, mebi(210), memory, 1000).breach?.act).toBe("restart");
  expect(judgeFamily(watched, { tasks: 51 }, forgiveFamily(memory), 60_000).breach?.act).toBe("end");
});

test("a family is looked at more often the nearer it is to a limit that nobody else holds", () => {
  const again = (family: typeof watched, sight: FamilySight) => lookAgainMs(limits, family.held, sight);
  expect([again(watched, mebi(10)), again(watched, mebi(110))]).toEqual([5000, 1000]);
  expect([again(held, mebi(190)), again(held, { tasks: 40 }), again(held, { tasks: 39 })]).toEqual([5000, 1000, 5000]);
  expect(lookAgainMs({ memoryBytes: 0, cpu: 0, tasks: 4096 }, watched.held, { tasks: 10, ...mebi(900) })).toBe(60_000);
  expect([lookAtAllAgainMs(24, 100), lookAtAllAgainMs(25, 100)]).toEqual([5000, 60_000]);
});
