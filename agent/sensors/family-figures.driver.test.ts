import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Families } from "../supervise/family.driver.ts";
import { allPids, procStat } from "../supervise/proc.driver.ts";
import { FamilyFigures, type FamilySeen } from "./family-figures.driver.ts";
import { KernelFile } from "./proc-read.driver.ts";
import { Strangers } from "./stranger.driver.ts";

const owner = `family-figures-${process.pid}`;
let dir: string;
let children: ChildProcess[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-family-"));
  children = [];
});
afterEach(async () => {
  for (const { pid } of children) endGroup(pid);
  await Promise.all(
    children.map((child) => child.exitCode ?? child.signalCode ?? new Promise((end) => child.once("exit", end))),
  );
  rmSync(dir, { recursive: true, force: true });
});

function endGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended already.
  }
}

/** A process in a group of its own, so that all of it can be ended. */
function run(script: string): number {
  const child = spawn("/bin/sh", ["-c", script], { detached: true, stdio: "ignore", cwd: dir });
  children.push(child);
  return child.pid ?? 0;
}

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds(); tries += 1) {
    if (tries > 400) throw new Error("waited 20 s in vain");
    await pause(50);
  }
}

const cpu = (seen: FamilySeen | undefined) => seen?.figures.process_cpu_ratio ?? 0;

test("SYN-7 CPU, memory, tasks, open files and I/O of a workload are those of its whole family", async () => {
  const family = new FamilyFigures(realClock(), () => undefined);
  // A shell that waits, a child that burns, and a child that writes.
  const pid = run("while :; do :; done & while :; do echo x; sleep 0.05; done > out & wait");
  await until(() => (family.read("w", pid)?.pids.length ?? 0) >= 3);
  family.forget("w");
  const first = family.read("w", pid);
  expect(first?.figures.process_cpu_ratio).toBeUndefined();
  expect(first?.figures.process_memory_bytes).toBeGreaterThan(500_000);
  expect(first?.figures.process_tasks).toBeGreaterThanOrEqual(3);
  expect(first?.figures.process_open_files).toBeGreaterThanOrEqual(9);
  let second = first;
  // How much it gets depends on who else is on this machine.
  await until(() => {
    second = family.read("w", pid);
    return cpu(second) > 0.05 && (second?.ioBytes ?? 0) > 0;
  });
  expect(cpu(second)).toBeLessThan(2.5);
  expect(second?.figures.io_bytes_per_second).toBeGreaterThan(0);
});

test("SYN-7 a deep family of more processes than are looked at is told in its true size, also without a cgroup", async () => {
  const family = new FamilyFigures(realClock(), () => undefined);
  const pid = run("for i in $(seq 20); do (for j in $(seq 20); do sleep 30 & done; wait) & done; wait");
  const all = 1 + 20 + 20 * 20;
  await until(() => (family.read("w", pid)?.pids.length ?? 0) >= all);
  expect(family.read("w", pid)?.figures.process_tasks).toBe(all);
  family.close();
});

test("SYN-7 a process that is gone gives nothing, and a zombie is gone", async () => {
  const family = new FamilyFigures(realClock(), () => undefined);
  const pid = run("sleep 100");
  await until(() => family.read("w", pid) !== undefined);
  process.kill(-pid, "SIGKILL");
  await until(() => family.read("w", pid) === undefined);
  children = [];
});

const families = new Families(owner);
const root = families.cgroupRoot;
families.dismiss();

test.skipIf(root === undefined)(
  "SYN-7 where there are cgroups a family is whole, and what has ended in between is counted too (needs cgroup v2 to write to)",
  async () => {
    const inGroups = new Families(owner);
    const family = new FamilyFigures(realClock(), (workload) => `${inGroups.cgroupRoot}/${workload}`);
    // Each burner is another short life: by its parents alone most of its CPU would be missed.
    const pid = run("sleep 0.3; while :; do setsid sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done'; done");
    inGroups.enlist("w", { pid, startTicks: procStat(pid)?.startTicks ?? 0 });
    await inGroups.gather();
    await until(() => (family.read("w", pid)?.pids.length ?? 0) > 1);
    family.read("w", pid);
    await pause(1000);
    expect(cpu(family.read("w", pid))).toBeGreaterThan(0.05);
    process.kill(-pid, "SIGKILL");
    inGroups.kill(await inGroups.members("w", undefined));
    await until(() => !inGroups.mayLive("w"));
    inGroups.dismiss();
    children = [];
  },
);

test("memory is what the cgroup's controller counts, where there is one, without what could be given back at once", () => {
  writeFileSync(join(dir, "cgroup.procs"), `${process.pid}\n`);
  const family = new FamilyFigures(realClock(), () => dir);
  expect(family.read("w", process.pid)?.figures.process_memory_bytes).toBeGreaterThan(10 * 2 ** 20);
  family.forget("w");
  writeFileSync(join(dir, "memory.current"), "5000\n");
  writeFileSync(join(dir, "memory.stat"), "anon 4000\ninactive_file 1000\n");
  expect(family.read("w", process.pid)?.figures.process_memory_bytes).toBe(4000);
  family.close();
});

test("files of the kernel that are kept open are closed with the process, and bounded in all", async () => {
  // What else this process has open is its own: sockets and pipes of whoever shares it come and go.
  const opened = () => readdirSync("/proc/self/fd").filter((fd) => ofKernel.test(linkOf(`/proc/self/fd/${fd}`))).length;
  const before = opened();
  const family = new FamilyFigures(realClock(), () => undefined);
  for (let life = 0; life < 5; life += 1) {
    const pid = run("sleep 100 & wait");
    await until(() => (family.read("w", pid)?.pids.length ?? 0) === 2);
    expect(opened() - before).toBeGreaterThanOrEqual(4);
    endGroup(pid);
    await until(() => family.read("w", pid) === undefined);
  }
  family.read("self", process.pid);
  family.close();
  await until(() => opened() <= before);
});

const ofKernel = /^\/proc\/\d+\/\w+$/;
function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ""; // closed meanwhile
  }
}

test("a file of the kernel that is made anew under its path is read anew", () => {
  const path = join(dir, "cpu.stat");
  const file = new KernelFile(path);
  expect(file.text()).toBeUndefined();
  writeFileSync(path, "usage_usec 1\n");
  expect(file.text()).toBe("usage_usec 1\n");
  const long = `usage_usec 2\n${"x".repeat(40_000)}`;
  writeFileSync(path, long);
  expect(file.text()).toBe(long);
  file.close();
  file.close();
  const stat = new KernelFile(`/proc/${run("exec sleep 100")}/stat`);
  expect(stat.text()).toContain(" (");
  stat.close();
});

test("who makes a busy machine busy is found, and nobody is looked for on one that is not", async () => {
  const strangers = new Strangers(realClock(), { first: 100, later: 100 });
  const calm = { cpu_busy_ratio: 0.2, memory_used_ratio: 0.3 };
  const busy = { cpu_busy_ratio: 0.95, memory_used_ratio: 0.3, memory_total_bytes: 2 ** 40 };
  // Many threads, as one gets next to nothing where many others want the same cores.
  const spinning = `for (let n = 0; n < 8; n++) new (require("node:worker_threads").Worker)("for (;;);", { eval: true });`;
  const pid = run(`exec '${process.execPath}' -e '${spinning}'`);
  // Whoever else works on this machine counts as ours, so that the burner is the one to be found.
  const others = () => new Set(allPids().filter((one) => one !== pid));
  expect(await strangers.heaviest(calm, others())).toBe("");
  let words = "";
  for (let tries = 0; tries < 100 && !words.includes(`(pid ${pid})`); tries += 1) {
    await pause(200);
    words = await strangers.heaviest(busy, others());
  }
  expect(words).toMatch(new RegExp(`^\\S+ \\(pid ${pid}\\) takes \\d+ % of a core$`));
  await pause(200);
  expect(await strangers.heaviest(busy, new Set(allPids()))).not.toContain(`(pid ${pid})`);
  expect(await strangers.heaviest(calm, others())).toBe("");
});

test("who holds the memory of a full machine is found", async () => {
  const full = { cpu_busy_ratio: 0.1, memory_used_ratio: 0.95, memory_total_bytes: 1 };
  expect(await new Strangers(realClock()).heaviest(full, new Set())).toMatch(
    /^\S.* \(pid \d+\) holds [\d.]+ GiB of memory$/,
  );
});
