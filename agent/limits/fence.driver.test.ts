import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Families } from "../supervise/family.driver.ts";
import { type FenceMachine, Fences } from "./fence.driver.ts";
import { ownBounds } from "./self.driver.ts";

// A kernel gives a controller to version 1 or to version 2, never to both: what the other one would be told is looked at here
// in a folder that stands for its tree.
let tree: string;
let machine: FenceMachine;

beforeEach(() => {
  tree = mkdtempSync(join(tmpdir(), "blueflame-fence-"));
  machine = { mounts: "", cgroups: "0::/agent.service\n", pid: process.pid, parentPid: process.ppid };
});
afterEach(() => rmSync(tree, { recursive: true, force: true }));

const limits = { memoryBytes: 512 * 2 ** 20, cpu: 1.5, tasks: 50 };
const text = (...path: string[]) => readFileSync(join(tree, ...path), "latin1");

/** A unit's cgroup with these controllers, and our folder in it. */
function unit(names: string): string {
  const root = join(tree, "agent.service", "blueflame-0123456789ab");
  mkdirSync(join(root, "engine"), { recursive: true });
  for (const path of [join(tree, "agent.service"), root]) {
    writeFileSync(join(path, "cgroup.controllers"), names);
    writeFileSync(join(path, "cgroup.subtree_control"), "");
    writeFileSync(join(path, "cgroup.procs"), "");
  }
  return root;
}

test("DOL-5 in version 2 the three limits are written to the workload's own cgroup, whose family ends as a whole", () => {
  const root = unit("cpuset cpu io memory pids\n");
  const fences = new Fences("unused", root, machine);
  expect(fences.set("engine", limits, false)).toEqual({
    held: { memory: true, cpu: true, tasks: true },
    missing: {},
    later: [],
    again: false,
  });
  const files = ["memory.max", "memory.oom.group", "cpu.max", "pids.max"];
  expect(files.map((file) => readFileSync(join(root, "engine", file), "latin1"))).toEqual([
    "536870912",
    "1",
    "150000 100000",
    "50",
  ]);
  fences.set("engine", { memoryBytes: 0, cpu: 0, tasks: 0 }, false);
  expect(files.map((file) => readFileSync(join(root, "engine", file), "latin1"))).toEqual([
    "max",
    "0",
    "max 100000",
    "max",
  ]);
});

test("what version 2 counts of refused forks and kills is read, and nothing else is taken for it", () => {
  const root = unit("memory pids\n");
  const fences = new Fences("unused", root, machine);
  fences.set("engine", limits, false);
  writeFileSync(join(root, "engine", "pids.current"), "49\n");
  writeFileSync(join(root, "engine", "pids.events"), "max 7\n");
  writeFileSync(join(root, "engine", "memory.events"), "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n");
  expect(fences.counted("engine")).toEqual({ tasks: 49, refusedForks: 7, oomKills: 2 });
});

test("a controller that is nowhere is named as missing with the reason, and the others are held all the same", () => {
  const fences = new Fences("unused", unit("pids\n"), machine);
  expect(fences.set("engine", limits, false)).toMatchObject({
    held: { memory: false, cpu: false, tasks: true },
    missing: { memory: "no memory controller of cgroups can be had here" },
  });
});

test("where version 1 has the controllers, the workload's folder lies below the agent's own cgroup", () => {
  mkdirSync(join(tree, "memory", "agents", "a1"), { recursive: true });
  const mounts = `cgroup ${join(tree, "memory")} cgroup rw,memory 0 0\n`;
  const cgroups = "4:memory:/agents/a1/blueflame-ba9876543210/engine\n0::/\n";
  const fences = new Fences("blueflame-0123456789ab", undefined, { ...machine, mounts, cgroups });
  expect(fences.set("engine", limits, false).held).toEqual({ memory: true, cpu: false, tasks: false });
  expect(text("memory/agents/a1/blueflame-0123456789ab/engine/memory.limit_in_bytes")).toBe("536870912");
});

test("a process that had forked before it entered is followed, and empty folders are removed", async (context) => {
  const families = new Families(`fence-${process.pid}-${Date.now()}`);
  const fences = new Fences(families.folder, families.cgroupRoot);
  const { held, missing } = fences.set("engine", limits, false);
  if (!held.tasks) {
    families.dismiss();
    return context.skip(`no cgroup for tasks here: ${missing.tasks}`);
  }
  const children = [0, 1].map(() => spawn("/bin/sleep", ["60"], { stdio: "ignore" }));
  const pids = children.map(({ pid }) => pid ?? 0);
  await fences.enter("engine", pids[0] ?? 0);
  expect(await fences.gather("engine", pids)).toBeGreaterThan(0);
  expect(await fences.gather("engine", pids)).toBe(0);
  expect(fences.counted("engine").tasks).toBe(2);
  const folder = readFileSync(`/proc/${pids[0]}/cgroup`, "latin1")
    .split("\n")
    .find((line) => line.includes(families.folder));
  for (const child of children) {
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
  }
  fences.dismiss();
  families.dismiss();
  expect(folder).toContain("/engine");
  expect(existsSync(`/sys/fs/cgroup/pids/${families.folder}`)).toBe(false);
});

test("the bounds that the system gives the agent are read", () => {
  const bounds = ownBounds();
  expect(bounds.openFiles).toBeGreaterThan(0);
  expect(bounds.processes).toBeGreaterThan(0);
});
