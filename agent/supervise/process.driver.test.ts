import { execFileSync, spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { open as openFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { openDatabase } from "@blueflame/shared/store/level/open-database.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { shedsEnvironment } from "../../test/support/shed-environment.ts";
import { specOf } from "../../test/support/spec.ts";
import { requireTool } from "../../test/tools.ts";
import { Families } from "./family.driver.ts";
import { nodeLauncher } from "./launch.driver.ts";
import { Outputs } from "./output.driver.ts";
import { posixLauncher } from "./posix-spawn.driver.ts";
import { allPids, environOf, procStat } from "./proc.driver.ts";
import { realProcesses } from "./process.driver.ts";
import type { ProcessPort } from "./process.ts";
import type { WorkloadSpec } from "./spec.ts";
import type { Instance } from "./state.ts";

let dir: string;
let owner: string;
let port: ProcessPort;
const exits: { id: string; code: number | null; signal: string | null }[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "blueflame-process-"));
  owner = `test-${process.pid}-${Math.random().toString(36).slice(2)}`;
  port = open();
  exits.length = 0;
});
afterEach(async () => {
  for (const name of (await port.find()).keys()) await port.clean(specOf({ name }));
  port.close();
  new Families(owner).dismiss();
  rmSync(dir, { recursive: true, force: true });
});

function open(): ProcessPort {
  const opened = realProcesses({ owner, logDir: join(dir, "logs"), clock: realClock() });
  opened.onExit((id, code, signal) => exits.push({ id, code, signal }));
  return opened;
}

function sh(script: string, over: Partial<WorkloadSpec> = {}): WorkloadSpec {
  return specOf({ command: ["/bin/sh", "-c", script], cwd: dir, ...over });
}

function start(spec: WorkloadSpec, id = "i1"): Instance {
  const started = port.spawn({ spec, id, env: {} });
  if ("failed" in started) throw new Error(started.failed);
  return { id, ...started, sinceMs: 0, sinceWallMs: 0, adopted: false };
}

async function until(holds: () => boolean): Promise<void> {
  for (let n = 0; n < 1000 && !holds(); n++) await pause(10);
  expect(holds()).toBe(true);
}

/** A shell makes its file first, and then writes the number into it. */
const written = (name: string) => existsSync(join(dir, name)) && readFileSync(join(dir, name), "utf8").endsWith("\n");
const lives = (pid: number) => {
  const state = procStat(pid)?.state;
  return state !== undefined && state !== "Z";
};

test("PHX-3 the exit of a workload comes as an event, with its code or its signal", async () => {
  start(sh("exit 7"), "coded");
  const killed = start(sh("exec sleep 60"), "killed");
  process.kill(killed.pid, "SIGKILL");
  await until(() => exits.length === 2);
  expect(exits).toContainEqual({ id: "coded", code: 7, signal: null });
  expect(exits).toContainEqual({ id: "killed", code: null, signal: "SIGKILL" });
});

test("a command that is not there is a failed spawn, not a crash of the agent", () => {
  expect(port.spawn({ spec: specOf({ command: ["/no/such/program"] }), id: "x", env: {} })).toHaveProperty("failed");
});

test("PHX-4 the clean-up ends the whole family, also grandchildren that left the session", async () => {
  const spec = sh(
    `setsid sh -c 'echo $$ > far; exec sleep 60' & sh -c 'echo $$ > near; exec sleep 60' & exec sleep 60`,
  );
  const main = start(spec);
  await until(() => written("far") && written("near"));
  process.kill(main.pid, "SIGKILL");
  await until(() => exits.length === 1);
  const left = ["far", "near"].map((name) => Number(readFileSync(join(dir, name), "utf8")));
  expect(left.every(lives)).toBe(true);
  const cleaned = await port.clean(spec);
  expect(cleaned).toMatchObject({ ok: true, killed: 2 });
  expect(left.some(lives)).toBe(false);
});

test("a process is known for its workload's by marker or cgroup, and by its session where it has shed both", async () => {
  const families = new Families(owner);
  start(sh(`echo $$ > marked; env -i /bin/sh -c 'echo $$ > bare; exec sleep 60' & exec sleep 60`), "i1");
  await until(() => written("marked") && written("bare"));
  const whose = (name: string, by: Families) => {
    const stat = procStat(Number(readFileSync(join(dir, name), "utf8")));
    return stat && by.whose(stat);
  };
  const { families: own } = port as ReturnType<typeof realProcesses>;
  expect([whose("marked", families), whose("marked", own), whose("bare", own)]).toEqual(Array(3).fill(specOf().name));
  const self = procStat(process.pid);
  expect(self && own.whose(self)).toBeUndefined();
});

test("PHX-4 without any cgroup the marker in the environment finds the family as well", async () => {
  const spec = sh(`setsid sh -c 'echo $$ > far; exec sleep 60' & exec sleep 60`);
  start(spec);
  await until(() => written("far"));
  const far = Number(readFileSync(join(dir, "far"), "utf8"));
  const members = await new Families(owner).members("engine", undefined);
  expect(members.map((one) => one.pid)).toContain(far);
});

test("PHX-4 declared lock files and sockets of the dead are removed; what somebody else holds is told and left", async () => {
  const files = ["pid.lock"].map((name) => join(dir, name));
  const dead = join(dir, "dead.sock");
  for (const file of files) writeFileSync(file, "1");
  const dies = `require("node:net").createServer().listen(${JSON.stringify(dead)}, () => process.kill(process.pid, "SIGKILL"))`;
  spawnSync(process.execPath, ["-e", dies]);
  const spec = sh("true", { clean: { files, sockets: [dead], ports: [] } });
  expect(await port.clean(spec)).toMatchObject({ ok: true, removed: [...files, dead] });

  const living: Server = createServer().listen(join(dir, "living.sock"));
  const held = await port.clean(sh("true", { clean: { files: [], sockets: [join(dir, "living.sock")], ports: [] } }));
  expect(held.ok).toBe(false);
  expect(existsSync(join(dir, "living.sock"))).toBe(true);
  living.close();
});

test("PHX-4 a disk that hangs ends a clean-up in seconds, named, and nothing is removed when it answers later", async () => {
  const file = join(dir, "pid.lock");
  writeFileSync(file, "1");
  // Whoever opens one of these waits for a writer, and holds a thread as a dead disk does.
  const dead = Array.from({ length: 32 }, (_, n) => join(dir, `dead-${n}`));
  execFileSync("mkfifo", dead);
  const opening = dead.map((path) => openFile(path, "r"));
  const cleaned = await port.clean(sh("true", { clean: { files: [file], sockets: [], ports: [] } }));
  expect(cleaned).toMatchObject({ ok: false, because: expect.stringContaining("not answered") });
  const writers = dead.map((path) => spawn("/bin/sh", ["-c", ': > "$0"', path]));
  for (const handle of await Promise.all(opening)) await handle.close();
  for (const writer of writers) writer.kill("SIGKILL");
  await pause(100);
  expect(existsSync(file)).toBe(true);
});

test("PHX-4 a declared port that a stranger holds is named before the start", async () => {
  const stranger = createServer().listen(0, "127.0.0.1");
  await until(() => stranger.address() !== null);
  const { port: number } = stranger.address() as { port: number };
  expect(await port.clean(sh("true", { clean: { files: [], sockets: [], ports: [number] } }))).toMatchObject({
    ok: false,
  });
  stranger.close();
  await until(() => !stranger.listening);
  expect(await port.clean(sh("true", { clean: { files: [], sockets: [], ports: [number] } }))).toMatchObject({
    ok: true,
  });
});

test("PHX-4 a killed program held its port a moment longer than it was seen dead: the clean-up failed, and a person was called", async () => {
  const dying = createServer().listen(0, "127.0.0.1");
  await until(() => dying.address() !== null);
  const { port: number } = dying.address() as { port: number };
  setTimeout(() => dying.close(), 200);
  expect(await port.clean(sh("true", { clean: { files: [], sockets: [], ports: [number] } }))).toMatchObject({
    ok: true,
  });
});

test("a process that a signal stopped is seen as stopped, and one that took its PID is never touched", async () => {
  const main = start(sh("exec sleep 60"));
  expect(port.look(main)).toBe("running");
  process.kill(main.pid, "SIGSTOP");
  await until(() => port.look(main) === "stopped");
  const reused = { ...main, startTicks: main.startTicks + 1 };
  expect(port.look(reused)).toBe("gone");
  port.signal(reused, "SIGKILL");
  await pause(50);
  expect(lives(main.pid)).toBe(true);
  port.signal(main, "SIGTERM");
  await until(() => exits.length === 1);
});

test("the marker and the given variables reach the workload, and its output reaches its file", async () => {
  const spec = sh('echo "out $GREETING"; echo err >&2; exec sleep 60', { env: { GREETING: "hello" } });
  const main = start(spec);
  await until(
    () =>
      existsSync(join(dir, "logs", "engine.log")) &&
      readFileSync(join(dir, "logs", "engine.log"), "utf8").includes("err"),
  );
  expect(readFileSync(join(dir, "logs", "engine.log"), "utf8")).toBe("out hello\nerr\n");
  expect(environOf(main.pid, "BLUEFLAME_MARK")).toBe(`${owner}:engine:i1`);
  expect(allPids()).toContain(main.pid);
});

test("output is bounded by rotation while the workload goes on writing", async () => {
  const spec = sh("while :; do echo 0123456789012345678901234567890123456789; done", {
    output: { maxBytes: 4096, files: 2 },
  });
  start(spec);
  const log = join(dir, "logs", "engine.log");
  for (let round = 0; round < 4; round++) {
    await until(() => existsSync(log) && readFileSync(log).length > 4096);
    await port.rotate(spec);
  }
  expect(existsSync(`${log}.1`)).toBe(true);
  expect(existsSync(`${log}.2`)).toBe(true);
  expect(existsSync(`${log}.3`)).toBe(false);
});

test("rotations take turns, so that a disk that hangs holds few threads, and every workload has its own", async () => {
  const outputs = new Outputs(join(dir, "many"));
  const names = Array.from({ length: 12 }, (_, n) => `w${n}`);
  for (const name of names) writeFileSync(outputs.path(name), "x".repeat(100));
  await Promise.all(names.flatMap((name) => [outputs.rotate(name, 50, 1), outputs.rotate(name, 50, 1)]));
  expect(names.map((name) => statSync(outputs.path(name)).size)).toEqual(names.map(() => 0));
  expect(names.map((name) => statSync(`${outputs.path(name)}.1`).size)).toEqual(names.map(() => 100));
});

test("CARD-4 a new agent finds what the earlier one left running, by its marker, and only its own", async () => {
  const main = start(sh("sleep 60 & exec sleep 60"));
  // The kernel shows it a moment after the spawn has returned.
  await until(() => environOf(main.pid, "BLUEFLAME_MARK") !== undefined);
  port.close();
  const stranger = spawn("/bin/sleep", ["60"], { env: { BLUEFLAME_MARK: "another:engine:i9" }, stdio: "ignore" });
  port = open();
  const found = await port.find();
  expect([...found.keys()]).toEqual(["engine"]);
  expect(found.get("engine")).toEqual([{ id: "i1", pid: main.pid, startTicks: main.startTicks }]);
  stranger.kill("SIGKILL");
});

test("PHX-4 children of a program that wrote over its environment, forked before anybody could look, are ended too", async (context) => {
  // Workers are forked in the first milliseconds.
  const script = shedsEnvironment(`
if os.fork() == 0:
    open("worker", "w").write(f"{os.getpid()}\\n")`);
  const spec = specOf({ command: [requireTool(context, "python3"), "-c", script], cwd: dir });
  const main = start(spec);
  await until(() => written("worker") && environOf(main.pid, "BLUEFLAME_MARK") === undefined);
  const worker = Number(readFileSync(join(dir, "worker"), "utf8"));
  await until(() => environOf(worker, "BLUEFLAME_MARK") === undefined);
  process.kill(main.pid, "SIGKILL");
  await until(() => exits.length === 1);
  expect(lives(worker)).toBe(true);
  expect(await port.clean(spec, main)).toMatchObject({ ok: true, killed: 1 });
  expect(lives(worker)).toBe(false);
});

test.each([
  ["posix_spawn", posixLauncher()],
  ["child_process", nodeLauncher],
])("a workload started by %s inherits none of the agent's files, LevelDB's neither", async (_way, launch) => {
  if (!launch) throw new Error("this machine has no such launcher");
  const store = await openDatabase(join(dir, "store"), { clock: realClock() });
  const output = openSync(join(dir, "out"), "a");
  const ended = new Promise((exited) => {
    const env = { PATH: process.env.PATH };
    const script = "ls -l /proc/self/fd; exec ls -l /proc/$$/fd";
    launch({ file: "/bin/sh", args: ["-c", script], cwd: dir, env, output, exited });
  });
  await ended;
  closeSync(output);
  await store.close();
  const held = readFileSync(join(dir, "out"), "utf8");
  expect(held).toContain(join(dir, "out"));
  expect(held).not.toContain(join(dir, "store"));
});

test("a life that begins while the strays of others are gathered is not taken for whole: its orphans are still found", async () => {
  const families = new Families(owner);
  const pids: number[] = [];
  const begin = async (workload: string) => {
    const born = join(dir, workload);
    const child = spawn("/bin/sh", ["-c", `sleep 60 & echo $! > ${born}.tmp; mv ${born}.tmp ${born}; exec sleep 60`], {
      detached: true,
      stdio: "ignore",
    });
    await until(() => existsSync(born));
    const leader = { pid: child.pid ?? 0, startTicks: procStat(child.pid ?? 0)?.startTicks ?? 0 };
    families.enlist(workload, leader);
    const orphan = Number(readFileSync(born, "utf8"));
    pids.push(leader.pid, orphan);
    return { leader, orphan };
  };
  for (let round = 0; round < 5; round++) {
    await begin(`early-${round}`);
    const gathering = families.gather();
    const late = await begin(`late-${round}`);
    await gathering;
    process.kill(late.leader.pid, "SIGKILL");
    await until(() => !lives(late.leader.pid));
    expect(families.mayLive(`late-${round}`)).toBe(true);
    expect((await families.members(`late-${round}`, late.leader)).map((one) => one.pid)).toContain(late.orphan);
  }
  for (const pid of pids) if (lives(pid)) process.kill(pid, "SIGKILL");
});
