import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { requireTool } from "../../test/tools.ts";
import { kernelParentIn } from "./proc.driver.ts";

const here = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);

/** What an agent sees of a workload that it has started, whose marker is gone, and that leads a session of its own. */
const agent = `
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
const { Families } = await import(${here("family.driver.ts")});
const { procStat } = await import(${here("proc.driver.ts")});
const { Scanner } = await import(${here("../exorcism/scan.driver.ts")});
const { defaultPolicy } = await import(${here("../exorcism/sight.ts")});
const { nothing } = await import(${here("../exorcism/memory.ts")});
const { realClock } = await import(${here("../../shared/time/real-clock.driver.ts")});
const families = new Families("namespace");
const workload = spawn("/bin/sleep", ["60"], { detached: true, env: { BLUEFLAME_MARK: families.mark("engine", "i1") } });
const startTicks = procStat(workload.pid)?.startTicks;
while (!readFileSync("/proc/" + workload.pid + "/environ", "latin1").includes("BLUEFLAME_MARK")) await new Promise(setImmediate);
const members = await families.members("engine", { pid: workload.pid, startTicks });
const leaders = await families.leaders();
const scanner = new Scanner(families, [], realClock());
const policy = { reportOnly: false, cpu: 0.9, stuckAfterMs: 60_000, ...defaultPolicy };
const { scan } = await scanner.scan([], policy, nothing, new Set());
scanner.close();
console.log(JSON.stringify({
  agent: process.pid,
  member: members.some(({ pid }) => pid === workload.pid),
  leader: leaders.some(({ pid }) => pid === workload.pid),
  scanned: scan.processes.some(({ pid }) => pid === workload.pid),
}));
workload.kill("SIGKILL");
families.dismiss();
`;

test("an agent that is the second process of a container sees the workloads that it has started: none is left beside its successor", (context) => {
  const unshare = requireTool(context, "unshare");
  const inside = (...command: string[]) =>
    spawnSync(unshare, ["-pf", "--mount-proc", "--kill-child", ...command], { encoding: "utf8" });
  if (inside("true").status !== 0) context.skip("this user may make no PID namespace");
  // The shell is the first, and stays: it has something to do after the second.
  const program = [process.execPath, "--input-type=module", "-e", agent];
  const { stdout, stderr } = inside("/bin/sh", "-c", `"$@"; exit $?`, "sh", ...program);
  expect(stdout, stderr).not.toBe("");
  expect(JSON.parse(stdout)).toEqual({ agent: 2, member: true, leader: true, scanned: true });
});

test("the second process is the parent of kernel threads only where the kernel says that it is one of its own", () => {
  const line = (name: string, flags: number) => `2 (${name}) S 1 0 0 0 -1 ${flags} 0 0 0 0 0 0 0 0 20 0 1 0 21 0 0`;
  expect(kernelParentIn(line("kthreadd", 0x208040))).toBe(2);
  expect(kernelParentIn(line("kthreadd", 0x404000))).toBeUndefined();
  expect(kernelParentIn(line("a) S (b", 0x404000))).toBeUndefined();
  expect(kernelParentIn("")).toBeUndefined();
  expect(kernelParentIn(readFileSync("/proc/self/stat", "latin1"))).toBeUndefined();
});
