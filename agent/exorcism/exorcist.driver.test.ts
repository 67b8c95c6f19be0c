import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { requireTool } from "../../test/tools.ts";
import { koffi } from "../libc.driver.ts";
import { Families } from "../supervise/family.driver.ts";
import { allPids, procStat } from "../supervise/proc.driver.ts";
import { realProcesses } from "../supervise/process.driver.ts";
import { type Exorcism, type Exorcist, type ExorcistOptions, openExorcist } from "./exorcist.driver.ts";
import type { WorkloadView } from "./sight.ts";

let dir: string;
let owner: string;
let processes: ReturnType<typeof realProcesses>;
let exorcist: Exorcist | undefined;
let view: WorkloadView;
let records: Exorcism[];
let frozen: string[];
const others: ChildProcess[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "blueflame-exorcism-"));
  owner = `exorcism-${process.pid}-${Math.random().toString(36).slice(2)}`;
  processes = realProcesses({ owner, logDir: join(dir, "logs"), clock: realClock() });
  records = [];
  frozen = [];
  view = { name: "engine", phase: "moving", signsKnown: true, owesSigns: false };
});
afterEach(async () => {
  await exorcist?.close();
  exorcist = undefined;
  await processes.clean(specOf());
  processes.close();
  for (const child of others.splice(0)) child.kill("SIGKILL");
  new Families(owner).dismiss();
  rmSync(dir, { recursive: true, force: true });
});

/** Half a core is enough here: a machine that others load counts its waiting too, but not to the last percent. */
function open(over: Partial<ExorcistOptions> = {}): void {
  exorcist = openExorcist({
    exorcism: { reportOnly: false, everyMs: 300, cpu: 0.5, stuckAfterMs: 2000 },
    declared: [],
    families: processes.families,
    clock: realClock(),
    views: () => [view],
    onExorcised: (record) => records.push(record),
    onFrozen: (workload) => frozen.push(workload),
    log: () => undefined,
    policy: { settleMs: 500, withParentMs: 1000 },
    coreShare: 1,
    ...over,
  });
}

/** Starts a life of the workload, and shows it to the exorcist as alive. */
function live(id: string, script: string): number {
  const spec = specOf({ command: ["/bin/sh", "-c", script], cwd: dir });
  const started = processes.spawn({ spec, id, env: {} });
  if ("failed" in started) throw new Error(started.failed);
  view = { ...view, phase: "alive", main: { ...started, id, adopted: false } };
  return started.pid;
}

function stranger(file: string, ...args: string[]): number {
  const child = spawn(file, args, { stdio: "ignore", detached: true, cwd: dir });
  others.push(child);
  return child.pid ?? 0;
}

async function until(holds: () => boolean, seconds = 25): Promise<void> {
  for (let n = 0; n < seconds * 50 && !holds(); n++) await pause(20);
  expect(holds()).toBe(true);
}

/** A number that a process of the test has written into a file of its own. */
async function written(name: string): Promise<number> {
  await until(() => existsSync(join(dir, name)) && readFileSync(join(dir, name), "utf8").endsWith("\n"));
  return Number(readFileSync(join(dir, name), "utf8"));
}

const lives = (pid: number) => ![undefined, "Z", "X"].includes(procStat(pid)?.state);
const deadChildrenOf = (pid: number) =>
  allPids().filter((one) => procStat(one)?.ppid === pid && procStat(one)?.state === "Z").length;

test("PHX-8 a grandchild that spins without output is ended; main process, a helper that prints and innocents go on", async () => {
  const script = (name: string, loop: string) => writeFileSync(join(dir, `${name}.sh`), `echo $$ > ${name}\n${loop}\n`);
  script("innocent", "while :; do :; done");
  script("spins", "while :; do :; done");
  script("prints", "while :; do echo on >> out; done");
  const innocents = [stranger("/bin/sh", "innocent.sh")];
  innocents.push(live("i1", `sh prints.sh & sh -c "sh spins.sh & wait" & wait`));
  const spins = await written("spins");
  innocents.push(await written("prints"));
  open();
  await until(() => !lives(spins));
  await until(() => records.some(({ did }) => did === "ended"));
  expect(innocents.map(lives)).toEqual([true, true, true]);
  const record = records.find(({ did }) => did === "ended");
  expect(record).toMatchObject({ kind: "stuck", owner: "engine", who: { pid: spins } });
  expect(record?.freed?.cpuRatio).toBeGreaterThan(0.01);
  expect(record?.freed?.memoryBytes).toBeGreaterThan(100_000);
  expect(record?.because).toMatch(
    /^it has burned CPU for \d+ s, now \d+ % of a core, and written nothing, and 'engine' has/,
  );
});

test("PHX-8 a set-sid orphan of an earlier life is ended with what it held, and the life that runs now is not", async () => {
  const serves = `require("node:net").createServer().listen(0, "127.0.0.1", function () {
    require("node:fs").writeFileSync("port", this.address().port + "\\n");
    require("node:fs").writeFileSync("orphan", process.pid + "\\n");
  })`;
  const first = live("i1", `setsid ${process.execPath} -e '${serves}' & exec sleep 120`);
  const orphan = await written("orphan");
  process.kill(first, "SIGKILL");
  await until(() => !lives(first));
  const innocents = [stranger("/bin/sleep", "120"), stranger(process.execPath, "-e", "setInterval(() => {}, 1000)")];
  innocents.push(live("i2", "setsid sleep 120 & echo $! > helper; exec sleep 120"));
  innocents.push(await written("helper"));
  open();
  await until(() => !lives(orphan));
  await until(() => records.length > 0);
  expect(records[0]).toMatchObject({ kind: "orphaned", did: "ended", owner: "engine" });
  expect(records[0]?.freed?.ports).toEqual([await written("port")]);
  expect(records[0]?.freed?.files).toBeGreaterThan(3);
  await pause(1000);
  expect(innocents.map(lives)).toEqual([true, true, true, true]);
  // Where init does not reap (a container), that is told too.
  expect(records.filter(({ kind }) => kind !== "defunct").length).toBe(1);
});

test("PHX-8 what runs on of a workload that is stopped is ended, and in report-only mode it is told and lives", async () => {
  const main = live("i1", "exec sleep 120");
  const { main: _main, ...without } = view;
  view = { ...without, phase: "down" };
  open({ exorcism: { reportOnly: true, everyMs: 300, cpu: 0.9, stuckAfterMs: 60_000 } });
  await until(() => records.length > 0);
  await pause(1000);
  expect(records).toEqual([
    expect.objectContaining({ kind: "orphaned", did: "reported", who: expect.objectContaining({ pid: main }) }),
  ]);
  expect(lives(main)).toBe(true);
  await exorcist?.close();
  open({ paused: () => true });
  await pause(2000);
  expect(lives(main)).toBe(true);
  await exorcist?.close();
  open();
  await until(() => !lives(main));
});

test("PHX-8 a parent that has missed its children's deaths is asked and reaps them, slowly, and all are counted; it is not ended", async (context) => {
  // The deaths came before it listened: it would never have reaped.
  const misses = `
import os, signal, time
for n in range(5):
    if os.fork() == 0:
        os._exit(0)
time.sleep(0.5)
def reap(*_):
    time.sleep(0.5)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]: pass
    except ChildProcessError: pass
signal.signal(signal.SIGCHLD, reap)
print(os.getpid(), file=open("listens", "w"))
while True: time.sleep(60)`;
  const main = live("i1", `exec ${requireTool(context, "python3")} -c '${misses}'`);
  await until(() => deadChildrenOf(main) === 5);
  await written("listens");
  open();
  await until(() => deadChildrenOf(main) === 0);
  await until(() => records.length > 0);
  expect(records).toEqual([expect.objectContaining({ kind: "defunct", did: "asked", reaped: 5 })]);
  expect(lives(main)).toBe(true);
});

test("PHX-8 a parent that does not reap even when asked keeps its dead children, and its life", async () => {
  // A shell that turns into sleep: it does not know that it has children.
  const main = live("i1", "sleep 0.1 & sleep 0.1 & exec sleep 120");
  await until(() => deadChildrenOf(main) === 2);
  open();
  await until(() => records.length > 0);
  expect(records[0]).toMatchObject({ kind: "defunct", did: "asked", reaped: 0, who: { pid: main } });
  expect(lives(main)).toBe(true);
});

test("PHX-8 where the agent is init, orphans that fall to it are reaped, and its own children are left to their exit event", async (context) => {
  const addon = koffi();
  if (!addon) return context.skip("without the C functions nobody can be waited for");
  const prctl = addon.load(null).func("int prctl(int option, unsigned long arg)");
  const childSubreaper = 36;
  prctl(childSubreaper, 1);
  try {
    const main = live("i1", `sh -c 'sh -c "echo \\$\\$ > orphan; sleep 0.5" &' ; exec sleep 120`);
    const orphan = await written("orphan");
    await until(() => procStat(orphan)?.ppid === process.pid && procStat(orphan)?.state === "Z");
    open();
    await until(() => procStat(orphan) === undefined);
    await until(() => records.length > 0);
    expect(records).toEqual([expect.objectContaining({ kind: "defunct", did: "reaped", reaped: 1 })]);
    expect(lives(main)).toBe(true);
  } finally {
    prctl(childSubreaper, 0);
  }
});

test("PHX-8 declared workers whose parent was killed are ended; their like without the word, and a declared daemon, live", async () => {
  const word = `${process.pid}7`;
  const innocents = [stranger("/bin/sleep", "4321")];
  const pool = stranger("/bin/sh", "-c", `sleep ${word}1 & echo $! > w1; sleep ${word}2 & echo $! > w2; wait`);
  const workers = [await written("w1"), await written("w2")];
  stranger("/bin/sh", "-c", `sleep ${word}3 & echo $! > daemon`);
  innocents.push(await written("daemon"));
  open({ declared: [{ name: "pool", program: "/bin/sleep", argument: word }] });
  await pause(3000);
  expect([...workers, ...innocents].map(lives)).toEqual([true, true, true, true]);
  process.kill(pool, "SIGKILL");
  await until(() => !workers.some(lives));
  await until(() => records.length >= 2);
  expect(records.map(({ kind, did, owner: name }) => `${kind} ${did} ${name}`)).toEqual([
    "left_over ended pool",
    "left_over ended pool",
  ]);
  expect(innocents.map(lives)).toEqual([true, true]);
  process.kill(innocents[1] ?? 0, "SIGKILL");
});

test("PHX-8 a main process that spins while it owes signs is told to supervision, and lives on here", async () => {
  const main = live("i1", "while :; do :; done");
  view = { ...view, owesSigns: true };
  open();
  await until(() => frozen.length > 0);
  expect(frozen).toEqual(["engine"]);
  expect(records).toEqual([expect.objectContaining({ kind: "stuck", did: "told" })]);
  expect(lives(main)).toBe(true);
  expect(exorcist?.cost().processes).toBeGreaterThan(3);
});
