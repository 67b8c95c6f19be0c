import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, type TestContext, test } from "vitest";
import { specOf } from "../../test/support/spec.ts";
import { requireTool } from "../../test/tools.ts";
import { Families } from "../supervise/family.driver.ts";
import { realProcesses } from "../supervise/process.driver.ts";
import type { ProcessPort } from "../supervise/process.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import type { Instance, Phase } from "../supervise/state.ts";
import { type Notify, notifyFor } from "./notify-for.driver.ts";
import type { Beat } from "./told.ts";

interface Heard extends Beat {
  readonly workload: string;
  readonly atMs: number;
}

let dir: string;
let owner: string;
let processes: ProcessPort;
let notify: Notify;
const heard: Heard[] = [];
const lines: string[] = [];
const absent: string[] = [];
const phases = new Map<string, Phase>();

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "blueflame-notify-"));
  owner = `test-${process.pid}-${Math.random().toString(36).slice(2)}`;
  processes = realProcesses({ owner, logDir: join(dir, "logs"), clock: realClock() });
  for (const list of [heard, lines, absent]) list.length = 0;
  phases.clear();
});
afterEach(async () => {
  notify.close();
  for (const name of (await processes.find()).keys()) await processes.clean(specOf({ name }));
  processes.close();
  new Families(owner).dismiss();
  rmSync(dir, { recursive: true, force: true });
});

function open(...specs: WorkloadSpec[]): void {
  notify = notifyFor({
    dataDir: dir,
    owner,
    specs,
    clock: realClock(),
    phaseOf: (workload) => phases.get(workload),
    beat: (workload, beat) => heard.push({ workload, atMs: performance.now(), ...beat }),
    log: (_level, fields, message) => lines.push(`${JSON.stringify(fields)} ${message}`),
    notOffered: (workload, because) => absent.push(`${workload}: ${because}`),
  });
}

/** As the supervisor starts it. */
function start(spec: WorkloadSpec): Instance {
  const started = processes.spawn({ spec, id: "i1", env: notify.envFor(spec.name) });
  if ("failed" in started) throw new Error(started.failed);
  const instance: Instance = { id: "i1", ...started, sinceMs: 0, sinceWallMs: 0, adopted: false };
  phases.set(spec.name, { at: "starting", instance, graceUntilMs: 0 });
  return instance;
}

const sender = `
import os, socket, sys, time
def say(text, path=os.environ.get("NOTIFY_SOCKET", "")):
    one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.connect(path)
    one.send(text.encode())
    return one
`;
function python(context: TestContext, name: string, program: string, over: Partial<WorkloadSpec> = {}): WorkloadSpec {
  const command = [requireTool(context, "python3"), "-c", sender + program] as const;
  return specOf({ name, command, cwd: dir, notify: true, ...over });
}

async function until(holds: () => boolean, what: string): Promise<void> {
  for (let n = 0; n < 2000 && !holds(); n++) await pause(10);
  expect(holds(), `${what}; heard ${JSON.stringify(heard)}, said ${lines.join("\n")}`).toBe(true);
}

test("GRC-12 a real redis is ready when it says READY=1 to the agent, not when its process runs or its socket is there", async (context) => {
  // It is loading for as long as its append-only file says, with its socket open already.
  const loadS = 1.2;
  const command = (...words: string[]) =>
    `*${words.length}\r\n${words.map((w) => `$${w.length}\r\n${w}\r\n`).join("")}`;
  writeFileSync(join(dir, "appendonly.aof"), command("SELECT", "0") + command("DEBUG", "SLEEP", String(loadS)));
  const options = `--port 0 --unixsocket ${dir}/redis.sock --dir ${dir} --appendonly yes --enable-debug-command yes --supervised systemd`;
  const redis = requireTool(context, "redis-server");
  const spec = specOf({ name: "redis", command: [redis, ...options.split(" ")], cwd: dir, notify: true });
  open(spec);
  start(spec);
  await until(() => existsSync(`${dir}/redis.sock`), "redis opens its socket");
  const openedMs = performance.now();
  await until(() => heard.some(({ ready }) => ready), "redis says READY=1");
  const ready = heard.find((beat) => beat.ready);
  expect((ready?.atMs ?? 0) - openedMs).toBeGreaterThan(loadS * 1000 * 0.8);
  expect(heard[0]).toMatchObject({ ready: false, status: "has not said READY=1 yet: Redis is loading..." });
  expect(ready).toMatchObject({ workload: "redis", status: "Ready to accept connections" });
  processes.signal((phases.get("redis") as { instance: Instance }).instance, "SIGTERM");
  await until(() => heard.at(-1)?.status.startsWith("says that it stops") ?? false, "redis says STOPPING=1");
  expect(heard.at(-1)?.ready).toBe(false);
  expect(lines).toEqual([]);
});

test("a workload gets its own socket, for its user alone, and the watchdog time of its beats", async (context) => {
  const spec = python(context, "engine", 'say("READY=1"); say("WATCHDOG=1\\nSTATUS=" + os.environ["WATCHDOG_USEC"])', {
    beat: { timeoutMs: 2500 },
  });
  open(spec, specOf({ name: "silent" }));
  expect(notify.envFor("silent")).toEqual({});
  expect(statSync(join(dir, "notify")).mode & 0o777).toBe(0o700);
  expect(statSync(join(dir, "notify", "engine.sock")).mode & 0o777).toBe(0o600);
  start(spec);
  await until(() => heard.length === 2, "two beats come");
  expect(heard.map(({ ready, status }) => [ready, status])).toEqual([
    [true, ""],
    [true, "2500000"],
  ]);
  notify.close();
  expect(existsSync(join(dir, "notify", "engine.sock"))).toBe(false);
});

test("a child that ends at once is heard, for the barrier it waits at opens only after it was looked at", async (context) => {
  const child = `
if os.fork() == 0:
    os.setsid()
    reading, writing = os.pipe()
    one = say("READY=1")
    socket.send_fds(one, [b"BARRIER=1"], [writing])
    os.close(writing)
    os.read(reading, 1) # as sd_notify_barrier: until the other side has closed its end
    os._exit(0)
os.wait()
say("STATUS=the child has left")
time.sleep(60)
`;
  const spec = python(context, "engine", child);
  open(spec);
  start(spec);
  await until(() => heard.length >= 2, "child and parent are heard");
  expect(heard.map(({ ready, status }) => [ready, status])).toEqual([
    [true, ""],
    [true, "the child has left"],
  ]);
});

test("a daemon that has left its session and lost its parents is still heard as one of the family", async (context) => {
  const daemon = `
if os.fork() == 0:
    os.setsid()
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent: time.sleep(0.01)
        say("READY=1")
        time.sleep(60)
    os._exit(0)
time.sleep(60)
`;
  const spec = python(context, "engine", daemon);
  open(spec);
  start(spec);
  await until(() => heard.length === 1, "the daemon is heard");
  expect(heard[0]).toMatchObject({ workload: "engine", ready: true });
});

test("a stranger, another workload and nonsense are refused, counted and logged once", async (context) => {
  const own = python(context, "engine", 'say("nonsense"); say("READY=1"); time.sleep(60)');
  const other = python(context, "other", `say("STOPPING=1", "${join(dir, "notify", "engine.sock")}"); say("READY=1")`);
  open(own, other);
  start(own);
  await until(() => heard.length === 1, "its own word counts");
  start(other);
  await until(() => heard.length === 2, "the other's own word counts");
  const stranger = `${sender}say("STOPPING=1", "${join(dir, "notify", "engine.sock")}"); time.sleep(0.2)`;
  expect(spawnSync(requireTool(context, "python3"), ["-c", stranger]).status).toBe(0);
  await pause(100);
  expect(heard.map(({ workload, ready }) => [workload, ready])).toEqual([
    ["engine", true],
    ["other", true],
  ]);
  expect(lines).toEqual([expect.stringMatching(/"workload":"engine".*refused: it has a line that is not KEY=VALUE$/)]);
});

test("who floods its own socket waits there: another's beats come in time", async (context) => {
  const flood = python(context, "flood", 'say("READY=1"); one = say("STATUS=x")\nwhile True: one.send(b"WATCHDOG=1")');
  const calm = python(context, "calm", 'say("READY=1")\nwhile True: time.sleep(0.05); say("WATCHDOG=1")');
  open(flood, calm);
  start(flood);
  start(calm);
  await until(() => heard.filter(({ workload }) => workload === "calm").length >= 40, "the calm one is heard");
  // Each when it was said, not in heaps: a message wakes the agent.
  const calmMs = heard.filter(({ workload }) => workload === "calm").map(({ atMs }) => atMs);
  expect(calmMs.filter((atMs, n) => atMs > (calmMs[n - 1] ?? 0) + 5).length).toBeGreaterThan(20);
  const seconds = ((heard.at(-1)?.atMs ?? 0) - (heard[0]?.atMs ?? 0)) / 1000;
  // 32 in 50 ms.
  expect(heard.filter(({ workload }) => workload === "flood").length).toBeLessThan(32 * (20 * seconds + 2));
});

test("where no socket can be made the workload is guarded without the protocol, and that is said", () => {
  const long = join(dir, "x".repeat(90));
  notify = notifyFor({
    dataDir: long,
    owner,
    specs: [
      specOf({ name: "beats", notify: true, beat: { timeoutMs: 2000 } }),
      specOf({ name: "file", notify: true, beat: { timeoutMs: 2000, file: "/x" } }),
    ],
    clock: realClock(),
    phaseOf: () => undefined,
    beat: () => undefined,
    log: () => undefined,
    notOffered: (workload, because) => absent.push(`${workload}: ${because}`),
  });
  expect(notify.specs.map(({ notify, beat }) => [notify, beat?.file])).toEqual([
    [false, undefined],
    [false, "/x"],
  ]);
  expect(notify.specs.map(({ beat }) => beat !== undefined)).toEqual([false, true]);
  expect(notify.envFor("beats")).toEqual({});
  expect(absent).toHaveLength(2);
  expect(absent[0]).toMatch(/^beats: 'beats' is guarded without .* is longer than the 107 bytes of a socket's path$/);
});

test("the next agent process takes the same path over; an adopted workload that was ready stays ready", async (context) => {
  const spec = python(
    context,
    "engine",
    'say("READY=1")\nwhile True:\n  time.sleep(0.05)\n  try: say("WATCHDOG=1")\n  except OSError: pass',
  );
  open(spec);
  const instance = start(spec);
  await until(() => heard.length > 2, "it is heard");
  const first = notify;
  phases.set("engine", { at: "running", instance, readySinceMs: 0 });
  open(spec);
  first.close(); // later than the new one has come: it must not take the new one's file away
  heard.length = 0;
  await until(() => heard.length > 2, "it is heard again");
  expect(heard.every(({ ready }) => ready)).toBe(true);
});

test("a workload that does not speak it is not told of the agent's own service manager either", async () => {
  process.env.NOTIFY_SOCKET = "/run/systemd/notify";
  processes.close();
  processes = realProcesses({ owner, logDir: join(dir, "logs"), clock: realClock() });
  delete process.env.NOTIFY_SOCKET;
  const spec = specOf({ name: "plain", command: ["/usr/bin/env"], cwd: dir });
  open(spec);
  start(spec);
  const output = () => readFileSync(join(dir, "logs", "plain.log"), "utf8");
  await until(() => output().includes("BLUEFLAME_MARK="), "its environment is printed");
  expect(output()).not.toContain("NOTIFY_SOCKET");
});
