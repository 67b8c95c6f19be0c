// After npm run package: the executable starts with no Node of its own, opens LevelDB, guards a command, streams to a hub and leaves.
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { bundle, programs } from "./bundle.ts";
import { type Hub, hubAt } from "./fleet.ts";
import { isRunning, workloadOf } from "./fleet-json.ts";
import { type Installation, plan } from "./installation.ts";
import { inRoot, root } from "./root.ts";
import { processesOf, run, signalIfThere, startDetached, sweep } from "./running.ts";

const executable = inRoot("dist", `blueflame-agent-linux-${process.arch}`);
const workload = "sleeper";

process.exitCode = await main();

async function main(): Promise<number> {
  if (!existsSync(executable)) throw new Error(`${executable} does not exist: npm run package makes it`);
  for (const program of programs) if (program.name === "blueflame-hub") await bundle(program);
  const dir = mkdtempSync(join(tmpdir(), "blueflame-smoke-"));
  // pkg puts the addon where this says, and by default into the home of the user: a service has none that it may write to.
  process.env.PKG_NATIVE_CACHE_PATH = join(dir, "native");
  const to = await plan(dir, [executable]);
  let works = false;
  try {
    await prove(to);
    works = true;
    console.log("The executable works.");
    return 0;
  } catch (error) {
    console.error(`The executable does not work: ${error instanceof Error ? error.message : error}`);
    console.error(`Its log is ${to.agent.log}, the hub's ${to.hub.log}.`);
    return 1;
  } finally {
    const left = await sweep(dir, 5_000);
    if (left.length > 0) console.error(`Still running: PID ${left.join(", ")}`);
    else if (works) rmSync(dir, { recursive: true, force: true });
  }
}

async function prove(to: Installation): Promise<void> {
  writeFileSync(to.hub.config, "{}\n");
  writeFileSync(to.agent.config, JSON.stringify(agentConfig(to)));
  startDetached(to.serve, to.hub.log, root);
  const hub = hubAt(to.http);
  await until("the hub answers", async () => (await hub.nodes().catch(() => undefined)) !== undefined);
  const issued = await run(to.cert, 20_000, root);
  if (issued.code !== 0) throw new Error(`no certificate: ${issued.stderr}`);

  startDetached(to.up, to.agent.log, root);
  const first = await seen(hub, to, undefined);
  console.log(`streams to the hub and guards a command, PID ${first}`);
  const status = await run(to.status, 10_000, root);
  if (status.code !== 0) throw new Error(`status ended with ${status.code}: ${status.stderr}`);
  if (!hasLevelDb(to.agent.data)) throw new Error(`no LevelDB in ${to.agent.data}`);
  console.log("answers on its socket, and has opened LevelDB");

  signalIfThere(first, "SIGKILL");
  console.log(`heals the command after kill -9, PID ${await seen(hub, to, first)}`);

  const down = await run(to.down, 20_000, root);
  if (down.code !== 0) throw new Error(`down ended with ${down.code}: ${down.stderr}`);
  await until("the agent and its command are gone", async () => processesOf(to.agent.data).length === 0);
  console.log("goes down and leaves nothing behind");
}

/** Waits until the hub shows the workload running with another PID than `not`. */
async function seen(hub: Hub, to: Installation, not: number | undefined): Promise<number> {
  let pid = 0;
  await until("the hub shows the command running", async () => {
    const node = (await hub.nodes()).find(({ id }) => id === to.nodeId);
    const now = workloadOf(node, workload);
    if (!isRunning(now) || now?.pid === not) return false;
    pid = now?.pid ?? 0;
    return node?.presence === "ALIVE";
  });
  return pid;
}

function agentConfig(to: Installation): object {
  const at = (name: string) => join(to.agent.certificates, name);
  return {
    node: { id: to.nodeId },
    hub: { addresses: [to.grpc], ca: at("ca.crt"), cert: at("node.crt"), key: at("node.key") },
    workloads: [{ name: workload, command: ["sleep", "1000"] }],
  };
}

function hasLevelDb(folder: string): boolean {
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).some((path) => /(^|\/)CURRENT$/.test(path));
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const endMs = performance.now() + 30_000; performance.now() < endMs; await pause(100)) {
    if (await holds()) return;
  }
  throw new Error(`waited 30 s in vain until ${what}`);
}
