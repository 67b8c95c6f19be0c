import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, expect, test, vi } from "vitest";
import { nodeLauncher } from "../supervise/launch.driver.ts";
import { posixLauncher } from "../supervise/posix-spawn.driver.ts";

const own = "/proc/self/oom_score_adj";
const before = readFileSync(own, "latin1");
const scoreOf = (pid: number | string) => Number(readFileSync(`/proc/${pid}/oom_score_adj`, "latin1"));

afterEach(() => writeFileSync(own, before));

// Less than it was given needs a right that tests may not have; between two scores above it anybody may move.
const given = Number(before) + 300;
const protectedAt = Number(before) + 100;

test.each([
  ["posix_spawn", posixLauncher()],
  ["child_process", nodeLauncher],
])(
  "a workload that %s starts, and what it forks at once, never has the score that protects the agent",
  async (_way, launch) => {
    if (!launch) throw new Error("this machine has no such launcher");
    writeFileSync(own, String(given));
    vi.resetModules();
    const { protectSelf, bornOrdinary } = await import("./oom-score.driver.ts");
    expect(protectSelf(protectedAt)).toBeUndefined();
    const output = openSync("/dev/null", "a");
    for (let round = 0; round < 20; round++) {
      const ended = Promise.withResolvers<void>();
      // Its first act is a fork, whose score is its exit code less 200: 100 when it was born ordinary.
      const script = `exit $(( $(cat /proc/self/oom_score_adj) - ${Number(before) + 200} ))`;
      let code: number | null = null;
      const started = bornOrdinary(() =>
        launch({
          file: "/bin/sh",
          args: ["-c", script],
          cwd: "/",
          env: { PATH: process.env.PATH },
          output,
          exited: (found) => {
            code = found;
            ended.resolve();
          },
        }),
      );
      expect(started).toHaveProperty("pid");
      expect(scoreOf("self")).toBe(protectedAt);
      await ended.promise;
      expect(code).toBe(100);
    }
    closeSync(output);
  },
);

test("an agent that may not protect itself says so, stays as it was, and starts its workloads all the same", async () => {
  vi.resetModules();
  const { protectSelf, bornOrdinary } = await import("./oom-score.driver.ts");
  const refused = protectSelf(-1000);
  if (refused) expect(refused).toContain(`stays ${Number(before)} instead of -1000`);
  expect(scoreOf("self")).toBe(refused ? Number(before) : -1000);
  expect(bornOrdinary(() => scoreOf("self"))).toBe(Math.max(0, Number(before)));
  await pause(0);
  expect(protectSelf(Number(before))).toBeUndefined();
});
