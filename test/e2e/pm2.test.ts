// deploy/pm2 without PM2: its file is read and its program run, ended and started again as PM2 6 does it, with the same words.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { layoutOf, watchdogCommand } from "@blueflame/agent/install/plan.ts";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { inRoot } from "../../deploy/root.ts";
import { run } from "../../deploy/running.ts";
import { GuardedNode } from "../prove/guard-pair.ts";
import { built } from "./built.ts";
import { until } from "./programs.ts";

beforeAll(() => built("blueflame-agent", "blueflame-watchdog", "blueflame-emergency"));

const folder = inRoot("deploy", "pm2");
const backMs = 30_000;

/** One of `apps`: see https://pm2.keymetrics.io/docs/usage/application-declaration/. */
interface App {
  readonly script: string;
  readonly interpreter: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly autorestart: boolean;
  readonly restart_delay: number;
  readonly max_restarts: number;
  readonly treekill: boolean;
}

/** What PM2 reads: the file, in the environment of who types `pm2 start`. */
async function appOf(env: Readonly<Record<string, string>>): Promise<App> {
  const print = "console.log(JSON.stringify(require('./ecosystem.config.cjs').apps))";
  const given = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const read = await run(["/usr/bin/env", "-i", ...given, process.execPath, "-e", print], 20_000, folder);
  const [app, ...more] = JSON.parse(read.stdout || "[]") as App[];
  if (!app || more.length > 0) throw new Error(`not one app: ${read.stdout}${read.stderr}`);
  return app;
}

let home: string;
let node: GuardedNode;
let stop: (() => void) | undefined;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "bf-home-"));
});
afterEach(async () => {
  stop?.();
  await node?.close();
  rmSync(home, { recursive: true, force: true });
});

/** Starts it, and again whenever it ends, until it is stopped. Returns the process of now. */
function keptUp(app: App): () => ChildProcess {
  let running: ChildProcess;
  let wanted = true;
  const start = () => {
    if (!wanted) return;
    const log = openSync(join(node.dir, "log"), "a");
    const env = { ...process.env, HOME: home, ...app.env };
    running = spawn(app.script, app.args, { cwd: folder, env, detached: true, stdio: ["ignore", log, log] });
    closeSync(log);
    running.once("exit", () => setTimeout(start, app.restart_delay));
  };
  start();
  stop = () => {
    wanted = false;
  };
  return () => running;
}

test("GRC-12 under PM2 the file of deploy/pm2 runs what `install` has installed: its watchdog has an agent, comes back when it is killed, and `pm2 stop` leaves the workloads alone", async () => {
  const machine = layoutOf(false, {}, "/root", "/var/lib/blueflame");
  const byDefault = await appOf({});
  expect([byDefault.script, ...byDefault.args]).toEqual([
    machine.command,
    ...watchdogCommand(machine, true, true).slice(1),
  ]);

  const idle = { name: "idle", command: ["/bin/sh", "-c", "while :; do sleep 1; done"], probation: "1s" };
  const layout = layoutOf(true, {}, home, "");
  node = new GuardedNode([idle], { programs: layout.library, env: { HOME: home } });
  expect(await node.install(home)).toMatchObject({ code: 0, stderr: "" });
  const places = { BLUEFLAME_AGENT: layout.command, BLUEFLAME_CONFIG: layout.config };
  const app = await appOf({ ...places, BLUEFLAME_DATA_DIR: node.dataDir });
  // Otherwise PM2 would run it by a Node of its own, give up, or kill the workloads with it.
  expect(app).toMatchObject({ interpreter: "none", autorestart: true, treekill: false });
  expect(app.max_restarts).toBeGreaterThan(1e9);

  const child = keptUp(app);
  await node.allBack(["idle"], [], backMs);
  const [first = 0] = node.of("watchdog");
  const [agent, workload] = [node.of("agent"), node.leads("idle")];
  expect(child().pid).toBe(first);

  const copies = new Set<string>();
  const look = setInterval(() => {
    for (const pids of [node.of("agent"), node.leads("idle")]) if (pids.length > 1) copies.add(pids.join(" and "));
  }, 20);
  process.kill(first, "SIGKILL");
  await until("PM2's watchdog is the only one", () => String(node.of("watchdog")) === String(child().pid));
  await node.allBack(["idle"], [first], backMs);
  clearInterval(look);
  expect([...copies]).toEqual([]);
  expect([node.of("watchdog"), node.of("agent"), node.leads("idle")]).toEqual([[child().pid], agent, workload]);

  stop?.();
  child().kill("SIGINT");
  await until("watchdog and agent have ended", () => node.of("watchdog").length + node.of("agent").length === 0);
  expect(node.leads("idle")).toEqual(workload);
});
