// npm start [-- --no-demo]: a hub, and an agent on this machine that guards the sample. Ctrl-C ends everything it started.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { bundle, programs } from "./bundle.ts";
import { demonstrate } from "./demonstration.ts";
import { type Hub, hubAt } from "./fleet.ts";
import { isRunning, type NodeJson, workloadOf } from "./fleet-json.ts";
import { Story } from "./follow.ts";
import {
  builtAgent,
  hasCertificate,
  type Installation,
  plan,
  writeAgentConfig,
  writeContext,
  writeHubConfig,
} from "./installation.ts";
import { inRoot, root } from "./root.ts";
import { processesOf, run, startDetached, sweep } from "./running.ts";

const lookEveryMs = 300;
const demoAfterMs = 10_000;
const wanted = ["blueflame-agent", "blueflame-watchdog", "blueflame-hub", "blueflame", "risk-firewall"];

/** An end with a reason for people; everything that was started is stopped before it is printed. */
class Failed extends Error {}

const leaving = new AbortController();
const say = (line: string) => console.log(line);
let interrupts = 0;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    interrupts += 1;
    leaving.abort();
    if (interrupts > 1) void force();
  });
}

let installed: Installation | undefined;

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const unknown = args.find((arg) => arg !== "--no-demo");
  if (unknown !== undefined) {
    console.error(`npm start does not know '${unknown}'. There is: npm start -- --no-demo`);
    return 2;
  }
  say("Blue Flame: a hub, and an agent that guards a sample workload on this machine.");
  const lock = claim(inRoot(".blueflame", "start.pid"));
  if (typeof lock === "number") {
    console.error(
      `npm start already runs in this clone, as PID ${lock}. Stop it first (Ctrl-C there, or kill ${lock}).`,
    );
    return 1;
  }
  let code = 0;
  try {
    await everything(args.includes("--no-demo"));
  } catch (error) {
    if (!leaving.signal.aborted) {
      console.error(error instanceof Failed ? error.message : error);
      code = 1;
    }
  }
  const stopped = await stop();
  lock.release();
  return stopped ? code : 1;
}

async function everything(noDemo: boolean): Promise<void> {
  for (const program of programs.filter(({ name }) => wanted.includes(name))) {
    if ((await bundle(program)) === "missing")
      throw new Failed(`${program.entry} is missing: this clone is not whole.`);
  }
  const left = processesOf(inRoot(".blueflame"));
  if (left.length > 0) {
    say(`Stopping what an earlier start left behind: PID ${left.join(", ")}.`);
    // The agent first, and by its own means: it would take the end of its workload for a crash.
    await run([...builtAgent, "down", "--data-dir", inRoot(".blueflame", "agent")], 20_000, root);
    await sweep(inRoot(".blueflame"), 5_000);
  }
  const to = await plan(inRoot(".blueflame"), builtAgent);
  installed = to;
  for (const port of to.moved) say(`Port taken, using the next free one: ${port}.`);
  leaving.signal.throwIfAborted();

  const hub = await startHub(to);
  const node = await startAgent(to, hub);
  tell(to, node);
  await follow(to, hub, node, noDemo);
}

async function startHub(to: Installation): Promise<Hub> {
  writeHubConfig(to);
  const child = startDetached(to.serve, to.hub.log, root);
  const hub = hubAt(to.http);
  await until("the hub answers", to.hub.log, 20_000, async () => {
    if (child.exitCode !== null)
      throw new Failed(`The hub ended with exit code ${child.exitCode}.${lastLines(to.hub.log)}`);
    return (await hub.nodes().catch(() => undefined)) !== undefined;
  });
  return hub;
}

async function startAgent(to: Installation, hub: Hub): Promise<NodeJson> {
  if (!hasCertificate(to)) {
    const issued = await run(to.cert, 20_000, root);
    if (issued.code !== 0)
      throw new Failed(`No certificate for ${to.nodeId}: ${issued.stderr.trim() || issued.stdout.trim()}`);
  }
  writeAgentConfig(to);
  writeContext(to);
  const child = startDetached(to.up, to.agent.log, root);
  let seen: NodeJson | undefined;
  await until("the hub shows this node alive with its workload running", to.agent.log, 30_000, async () => {
    if (child.exitCode !== null)
      throw new Failed(`The agent ended with exit code ${child.exitCode}.${lastLines(to.agent.log)}`);
    seen = (await hub.nodes().catch(() => [])).find(({ id }) => id === to.nodeId);
    return seen?.presence === "ALIVE" && isRunning(workloadOf(seen, to.workload));
  });
  if (seen === undefined) throw new Error("unreachable: the wait ends with a node");
  return seen;
}

function tell(to: Installation, node: NodeJson): void {
  const pid = workloadOf(node, to.workload)?.pid;
  say(`
  hub        http://${to.http}/   (agents: ${to.grpc}, mutual TLS)
  node       ${to.nodeId} is ALIVE
  workload   ${to.workload}, PID ${pid}
  everything it writes lies in .blueflame/

Try, in another terminal in this folder:
  kill -9 ${pid}                                     it crashes: a new one runs at once
  kill -STOP ${pid}                                  it freezes: found in under 5 s, then healed
  npx blueflame nodes                              what the hub sees
  npx blueflame incidents                          what happened, and why
  npx blueflame-agent status --data-dir .blueflame/agent
  npx blueflame-agent health --data-dir .blueflame/agent    how well it is, what is owed, how fast it was healed

What happens is told below. Ctrl-C stops everything.
`);
}

async function follow(to: Installation, hub: Hub, node: NodeJson, noDemo: boolean): Promise<void> {
  const story = new Story();
  story.incidents(await hub.incidents().catch(() => [])); // what an earlier start went through is not news
  story.nodes([node], Date.now());
  let demoAtMs = noDemo ? Number.POSITIVE_INFINITY : performance.now() + demoAfterMs;
  let pid = workloadOf(node, to.workload)?.pid;
  for (let hubAway = false; ; await rest(lookEveryMs)) {
    try {
      const nodes = await hub.nodes();
      for (const line of story.nodes(nodes, Date.now())) say(line);
      for (const line of story.incidents(await hub.incidents())) say(line);
      if (hubAway) say("The hub answers again.");
      hubAway = false;
      const workload = workloadOf(
        nodes.find(({ id }) => id === to.nodeId),
        to.workload,
      );
      if (workload?.pid !== undefined && workload.pid !== pid && isRunning(workload)) {
        say(`          ${to.workload} runs as PID ${workload.pid} now.`);
        pid = workload.pid;
        demoAtMs = Number.POSITIVE_INFINITY; // it was healed already: no need to show it
      }
      if (performance.now() > demoAtMs && pid !== undefined && isRunning(workload)) {
        demoAtMs = Number.POSITIVE_INFINITY;
        pid =
          (await demonstrate(hub, story, { pid, name: to.workload, dir: to.dir, node: to.nodeId }, say, rest)) ?? pid;
      }
    } catch (error) {
      if (leaving.signal.aborted) throw error;
      if (!hubAway)
        say(
          `The hub does not answer: ${error instanceof Error ? error.message : error}. The workload is guarded all the same.`,
        );
      hubAway = true;
    }
  }
}

/** Stops workloads, agent and hub, in this order; true when nothing is left. */
async function stop(): Promise<boolean> {
  const to = installed;
  if (to === undefined) return true;
  say("\nStopping the workload, the agent and the hub. (Ctrl-C again forces it.)");
  if (processesOf(to.agent.data).length > 0) await run(to.down, 20_000, root);
  const left = await sweep(to.dir, 10_000);
  say(
    left.length === 0 ? "Stopped; nothing is left running." : `Still running, stop it by hand: PID ${left.join(", ")}.`,
  );
  return left.length === 0;
}

async function force(): Promise<never> {
  const left = installed ? await sweep(installed.dir, 0) : [];
  rmSync(inRoot(".blueflame", "start.pid"), { force: true });
  process.exit(left.length === 0 ? 130 : 1);
}

/** One `npm start` per clone: returns how to let go, or the PID of the one that holds it. */
function claim(file: string): { release: () => void } | number {
  const holder = Number(readIfThere(file));
  if (holder > 0 && holder !== process.pid && readIfThere(`/proc/${holder}/cmdline`).includes("start.ts"))
    return holder;
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  writeFileSync(file, String(process.pid));
  return { release: () => rmSync(file, { force: true }) };
}

async function until(what: string, logFile: string, withinMs: number, holds: () => Promise<boolean>): Promise<void> {
  for (const endMs = performance.now() + withinMs; performance.now() < endMs; await rest(100)) {
    if (await holds()) return;
  }
  throw new Failed(`Waited ${withinMs / 1000} s in vain until ${what}.${lastLines(logFile)}`);
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

function lastLines(logFile: string): string {
  const lines = readIfThere(logFile).trim().split("\n").slice(-8);
  return `\nThe end of ${logFile}:\n${lines.map((line) => `  ${line}`).join("\n")}`;
}

function rest(ms: number): Promise<void> {
  return pause(ms, undefined, { signal: leaving.signal });
}
