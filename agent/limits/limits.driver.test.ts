import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { afterEach, beforeEach, expect, type TestContext, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { Families } from "../supervise/family.driver.ts";
import { procStat } from "../supervise/proc.driver.ts";
import { realProcesses } from "../supervise/process.driver.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import { type Controller, Fences } from "./fence.driver.ts";
import type { Breach } from "./judge.ts";
import { type Limits, type LimitsOptions, openLimits } from "./limits.driver.ts";
import { processLine } from "./process-table.driver.ts";

let dir: string;
let owner: string;
let processes: ReturnType<typeof realProcesses>;
let limits: Limits | undefined;
let breaches: Breach[];
const strangers: number[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "blueflame-limits-"));
  owner = `limits-${process.pid}-${Math.random().toString(36).slice(2)}`;
  processes = realProcesses({ owner, logDir: dir, clock: realClock() });
  breaches = [];
});
afterEach(async () => {
  await limits?.settled();
  limits?.close();
  limits = undefined;
  // On a busy machine one clean-up may run out of its time, and a process that takes memory must not outlive its test.
  for (let left = await processes.find(); left.size > 0; left = await processes.find())
    for (const name of left.keys()) await processes.clean(specOf({ name }));
  processes.close();
  for (const pid of strangers.splice(0)) process.kill(pid, "SIGKILL");
  new Fences(processes.families.folder, undefined).dismiss();
  new Families(owner).dismiss();
  rmSync(dir, { recursive: true, force: true });
});

const free = { memoryBytes: 0, cpu: 0, tasks: 4096 };

function open(specs: readonly WorkloadSpec[], over: Partial<LimitsOptions> = {}): Limits {
  limits = openLimits({
    specs: () => specs,
    families: processes.families,
    clock: realClock(),
    onBreach: (breach) => breaches.push(breach),
    log: () => undefined,
    ...over,
  });
  return limits;
}

function start(spec: WorkloadSpec): number {
  const started = processes.spawn({ spec, id: `${spec.name}-1`, env: {} });
  if ("failed" in started) throw new Error(started.failed);
  return started.pid;
}

/** Of the same program as the workloads, and not ours. */
function stranger(): number {
  const child = spawn("/bin/sleep", ["120"], { stdio: "ignore", detached: true });
  strangers.push(child.pid ?? 0);
  return child.pid ?? 0;
}

async function until(holds: () => boolean, seconds = 20): Promise<void> {
  for (let n = 0; n < seconds * 50 && !holds(); n++) await pause(20);
  expect(holds()).toBe(true);
}

const lives = (pid: number) => ![undefined, "Z", "X"].includes(procStat(pid)?.state);

function requireFence(context: TestContext, what: Controller): void {
  open([specOf({ name: "probe", limits: { memoryBytes: 2 ** 30, cpu: 1, tasks: 100 } })]);
  const applied = limits?.applied("probe").find((one) => one.what === what);
  limits?.close();
  if (applied?.how !== "cgroup") context.skip(`no cgroup for ${what} here: ${applied?.because}`);
}

const quiet = specOf({ name: "quiet", command: ["/bin/sleep", "120"], limits: free });
/** Asks for 300 children, 20 ms apart, and does not mind when it gets none. */
const bomb = specOf({
  name: "bomb",
  command: [
    process.execPath,
    "-e",
    `let n = 0; setInterval(() => { if (n++ < 600) require("node:child_process").spawn("/bin/sleep", ["120"]).on("error", () => {}); }, 20)`,
  ],
  limits: { ...free, tasks: 50 },
});
/** Takes its memory as soon as it runs, or when it is in its memory cgroup; what is taken before that the kernel does not count. */
const hog = (mebi: number, limit: number, { fenced = false } = {}) =>
  specOf({
    name: "hog",
    command: [
      process.execPath,
      "-e",
      `const inside = () => ${!fenced} || /(:memory|0:):.*hog/.test(require("node:fs").readFileSync("/proc/self/cgroup", "utf8"));
       setInterval(() => { if (inside()) globalThis.held ??= Buffer.alloc(${mebi} * 2 ** 20, 1) }, 20)`,
    ],
    limits: { ...free, memoryBytes: limit * 2 ** 20 },
  });

test("DOL-6 a task explosion that is watched is ended as a whole within seconds, and nobody beside it is touched", async () => {
  const innocents = [stranger(), stranger()];
  open([bomb, quiet], { fences: "none" });
  innocents.push(start(quiet));
  const main = start(bomb);
  await until(() => breaches.length > 0);
  await limits?.settled();
  expect(breaches[0]).toMatchObject({ workload: "bomb", what: "tasks", act: "end" });
  await until(() => processes.families.inside("bomb").length === 0);
  expect(lives(main)).toBe(false);
  expect(innocents.map(lives)).toEqual([true, true, true]);
});

test("DOL-6 a task explosion in a cgroup never gets beyond its limit, and is ended when it goes on", async (context) => {
  requireFence(context, "tasks");
  const innocents = [stranger()];
  open([bomb, quiet]);
  innocents.push(start(quiet));
  start(bomb);
  let most = 0;
  await until(() => {
    most = Math.max(most, processes.families.inside("bomb").length);
    return breaches.length > 0;
  });
  await limits?.settled();
  expect(most).toBeGreaterThan(10);
  expect(most).toBeLessThanOrEqual(50);
  expect(breaches[0]?.because).toContain("goes on forking");
  await until(() => processes.families.inside("bomb").length === 0);
  expect(innocents.map(lives)).toEqual([true, true]);
});

test("DOL-5 a watched family over its memory limit is named for a restart, and is not ended here", async () => {
  open([hog(300, 200), quiet], { fences: "none" });
  const main = start(hog(300, 200));
  await until(() => breaches.length > 0);
  expect(breaches[0]).toMatchObject({ workload: "hog", what: "memory", act: "restart" });
  expect(lives(main)).toBe(true);
});

test("DOL-5 memory over its limit is refused by the kernel where a cgroup holds it, and what happened is told", async (context) => {
  requireFence(context, "memory");
  open([hog(300, 200, { fenced: true }), quiet]);
  const innocent = start(quiet);
  const main = start(hog(300, 200, { fenced: true }));
  await until(() => breaches.length > 0);
  expect(breaches[0]).toMatchObject({ workload: "hog", what: "memory", act: "restart" });
  await until(() => !lives(main));
  expect(lives(innocent)).toBe(true);
  expect(limits?.killedForMemory("quiet")).toBeUndefined();
  expect(limits?.killedForMemory("hog")).toContain("memory limit of 200 MiB");
});

test("DOL-5 a restart right after the kernel's kill is the only one: the kill is told, and asks for no second", async (context) => {
  requireFence(context, "memory");
  open([hog(300, 200, { fenced: true })]);
  const main = start(hog(300, 200, { fenced: true }));
  await until(() => !lives(main));
  breaches.length = 0;
  await processes.clean(hog(300, 200, { fenced: true }));
  const next = start({ ...hog(50, 200), limits: hog(300, 200, { fenced: true }).limits });
  await pause(3000);
  expect(breaches.filter(({ act }) => act !== "tell")).toEqual([]);
  expect(limits?.killedForMemory("hog")).toContain("200 MiB");
  expect(lives(next)).toBe(true);
});

test("DOL-5 a look that a kill and a start fell into forgot that the kill was told, and had a healthy process started again", async () => {
  const { families } = processes;
  let kills = 0;
  class Counting extends Fences {
    override counted(workload: string) {
      return { ...super.counted(workload), oomKills: kills };
    }
  }
  let looks = 0;
  let gate = Promise.resolve();
  const slow = new Proxy(families, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      if (name !== "members" && name !== "inside") return value.bind(target);
      return async (...args: unknown[]) => {
        looks += 1;
        await gate;
        return value.apply(target, args);
      };
    },
  });
  const { promise: opened, resolve: go } = Promise.withResolvers<void>();
  gate = opened;
  const limited = { ...quiet, limits: { ...free, memoryBytes: 2 ** 30 } };
  open([limited], { families: slow, fences: new Counting(families.folder, families.cgroupRoot) });
  start(limited);
  await until(() => looks > 0);
  kills = 1;
  await processes.clean(limited);
  start(limited);
  go();
  await until(() => looks > 3);
  expect(breaches).toMatchObject([{ act: "tell", what: "memory" }]);
});

test("DOL-5 a family within its limits is left alone", async () => {
  open([hog(50, 400)]);
  const main = start(hog(50, 400));
  await pause(3000);
  expect(breaches).toEqual([]);
  expect(lives(main)).toBe(true);
});

test("DOL-5 CPU is held at its share where a cgroup can, and told as not held where none can", async (context) => {
  const busy = specOf({
    name: "busy",
    command: ["/bin/sh", "-c", "while :; do :; done"],
    limits: { ...free, cpu: 0.2 },
  });
  open([busy], { fences: "none" });
  expect(limits?.applied("busy")).toContainEqual(expect.objectContaining({ what: "cpu", limit: "20 %", how: "told" }));
  limits?.close();
  requireFence(context, "cpu");
  open([busy]);
  const main = start(busy);
  await pause(1000);
  const before = processLine(main)?.cpuTicks ?? 0;
  const beganMs = performance.now();
  await pause(3000);
  const ticks = (processLine(main)?.cpuTicks ?? 0) - before;
  // Unbounded it would take 100 ticks a second, or half of that on a loaded machine with two cores.
  expect(ticks / ((performance.now() - beganMs) / 1000)).toBeLessThan(33);
  expect(limits?.applied("busy")).toContainEqual({ what: "cpu", limit: "20 %", how: "cgroup", because: "" });
});

test("DOL-5 when the node is nearly out of memory the family that took it is ended, and its neighbours live", async () => {
  const total = 1024;
  // A machine of 1 GiB whose memory is what the hog leaves: the real one has too much to fill it in a test.
  const meminfo = () => {
    const held = Math.round((processLine(main)?.residentPages ?? 0) / 256);
    return `MemTotal: ${total * 1024} kB\nMemAvailable: ${Math.max(5, 300 - held) * 1024} kB\n`;
  };
  const grows = specOf({
    ...hog(0, 0),
    command: [
      process.execPath,
      "-e",
      "const all = []; setInterval(() => { if (all.length < 40) all.push(Buffer.alloc(10 * 2 ** 20, 1)); }, 50)",
    ],
  });
  let main = 0;
  open([grows, quiet], { meminfo });
  const innocent = start(quiet);
  main = start(grows);
  await until(() => breaches.length > 0);
  expect(breaches[0]).toMatchObject({ workload: "hog", what: "node_memory", act: "end" });
  await limits?.settled();
  await until(() => !lives(main));
  expect(lives(innocent)).toBe(true);
});

test("memory that was taken before the process was in its cgroup is over the limit all the same: on a busy machine nobody held it", async (context) => {
  requireFence(context, "memory");
  class Late extends Fences {
    override async enter(workload: string, pid: number): Promise<void> {
      await until(() => (processLine(pid)?.residentPages ?? 0) > 300 * 256);
      await super.enter(workload, pid);
    }
    override async gather(): Promise<number> {
      return 0;
    }
  }
  const { families } = processes;
  open([hog(300, 200)], { fences: new Late(families.folder, families.cgroupRoot) });
  start(hog(300, 200));
  await until(() => breaches.length > 0);
  expect(breaches[0]).toMatchObject({ workload: "hog", what: "memory", act: "restart" });
  expect(breaches[0]?.because).toContain("of 200 MiB");
});

test("a limit that its living family exceeds already waits for its next start, and nobody is restarted for it", async (context) => {
  requireFence(context, "memory");
  const large = hog(300, 1000, { fenced: true });
  open([large]);
  const main = start(large);
  await until(() => (processLine(main)?.residentPages ?? 0) > 300 * 256);
  limits?.close();
  open([hog(300, 200)]);
  const memory = () => limits?.applied("hog").find(({ what }) => what === "memory");
  expect(memory()).toMatchObject({ limit: "200 MiB", because: expect.stringContaining("next start") });
  await pause(2500);
  expect(breaches).toEqual([]);
  expect(lives(main)).toBe(true);
  await processes.clean(large);
  start(hog(50, 200));
  await until(() => memory()?.how === "cgroup");
});

test("while half of the memory is free and nothing is to be watched it wakes the agent once a second, and every 250 ms when it is not", async () => {
  const clock = new VirtualClock(1000);
  let wakes = 0;
  let availableKb = 6_000_000;
  const counting: Clock = {
    monotonicMs: () => clock.monotonicMs(),
    bootMs: () => clock.bootMs(),
    wallMs: () => clock.wallMs(),
    wakeAt: (atMs, wake) =>
      clock.wakeAt(atMs, () => {
        wakes++;
        wake();
      }),
  };
  const minute = async () => {
    wakes = 0;
    for (let n = 0; n < 600; n++) {
      clock.advance(100);
      await new Promise(setImmediate);
    }
    return wakes;
  };
  const meminfo = () => `MemTotal: 10000000 kB\nMemAvailable: ${availableKb} kB\n`;
  open([], { clock: counting, meminfo, fences: "none" });
  await minute();
  expect(await minute()).toBeLessThanOrEqual(61);
  availableKb = 4_000_000;
  await minute();
  expect(await minute()).toBeGreaterThanOrEqual(230);
});

/** A kernel that holds everything of everybody, on virtual time; at rest from 3 s on. */
function held() {
  const clock = new VirtualClock(1000);
  const seen = { gathers: 0, started: false, inLook: (): void => undefined };
  const holds = { held: { memory: true, cpu: true, tasks: true }, missing: {}, later: [], again: false };
  class Kernel extends Fences {
    override fenced = () => holds;
    override set = () => holds;
    override enter = async () => undefined;
    override counted() {
      seen.inLook();
      return {};
    }
    override async gather() {
      if (seen.started) seen.gathers++;
      return 0;
    }
  }
  const meminfo = () => "MemTotal: 10000000 kB\nMemAvailable: 6000000 kB\n";
  open([quiet], { clock, meminfo, fences: new Kernel(processes.families.folder, undefined) });
  const begin = () => {
    if (seen.started) return;
    seen.started = true;
    start(quiet);
  };
  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 250) {
      clock.advance(250);
      await limits?.settled();
    }
  };
  return { clock, seen, begin, pass };
}

test("a start in a calm second waits for no tick of that second", async () => {
  for (const afterMs of [0, 250, 500, 750]) {
    const { clock, seen, begin, pass } = held();
    await pass(69_000 + afterMs);
    begin();
    clock.advance(275);
    await limits?.settled();
    expect(seen.gathers).toBe(1);
    limits?.close();
    await processes.clean(quiet);
  }
});

test("what is forked at a start stayed outside for a minute when the start fell into a look at its family", async () => {
  const { clock, seen, begin, pass } = held();
  await pass(30_000);
  seen.inLook = () => queueMicrotask(begin);
  while (!seen.started && clock.monotonicMs() < 100_000) await pass(250);
  await pass(2000);
  expect(seen.gathers).toBeGreaterThanOrEqual(3);
});
