import { spawn } from "node:child_process";
import { resolve } from "node:path";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { type Logger, pino } from "pino";
import { refreshGoodConfig } from "./bootstrap/good-copy.ts";
import { keepStart } from "./bootstrap/start-file.ts";
import { readAgentConfig } from "./config/config.driver.ts";
import type { AgentConfig } from "./config/config.ts";
import { keepLastGood } from "./config/last-good.driver.ts";
import { receiveConfig } from "./config/receive.driver.ts";
import { revivedVariable } from "./constants.ts";
import { type ServiceNotifier, serviceNotifier } from "./notify/sd-notify.driver.ts";
import { upWords } from "./own-command.ts";
import { runAgent } from "./run.driver.ts";
import { forbidden, starterOf, tellWatchdog } from "./wanted.driver.ts";
import type { Farewell } from "./watchdog/state.ts";

/** How long an ordered restart waits for its own answer to be kept and sent. */
const restartDelayMs = 300;
/** How long the goodbye to the hub and the closing of the store may take together. */
const closeLimitMs = 15_000;
/** Lines that wait for a reader of stderr: the last ones of an agent that leaves, and all of one whose reader hangs. */
const flushLimitMs = 1000;
const logBytesMax = 1024 * 1024;

/** What `up` was told by flags. */
export interface UpOptions {
  readonly config?: string;
  readonly lastGood: boolean;
  readonly watchdog: boolean;
}

/**
 * Guards this node until somebody says that it should not: ends the process itself. Rejects with the Fault that kept it from starting.
 * `command`: what to guard where no config says it.
 */
export async function up(options: UpOptions, command: readonly string[], dataDir: string): Promise<void> {
  const { log, flushed } = openLog();
  const starter = starterOf(process.env, process.pid);
  delete process.env[revivedVariable]; // it is said to this process, not to what it starts
  const bareWish = starter === "person" && !options.config && command.length === 0;
  if (bareWish && (await tellWatchdog(dataDir, "run"))?.init) {
    process.stderr.write(
      "the watchdog that init has started runs the agent of this node, and was told that it is wanted\n",
    );
    return;
  }
  const asked = { config: options.config, command, lastGood: options.lastGood, dataDir };
  const { config, given, refused } = await receiveConfig(asked);
  if (refused) log.error({ code: refused.code }, `${refused.message} The last good config is used instead.`);
  const word = forbidden(dataDir, starter);
  if (word) {
    log.info({ word }, "a person wants no agent here: `blueflame-agent up` takes it back");
    await within(flushed(), flushLimitMs);
    return;
  }
  let leave: (because: Farewell) => void = () => undefined;
  const left = new Promise<Farewell>((resolve) => {
    leave = resolve;
  });
  const agent = await runAgent({
    dataDir,
    config,
    given,
    refusedConfig: refused,
    clock: realClock(),
    random: Math.random,
    log,
    onDown: () => leave("down"),
    onRestart: () => setTimeout(() => leave("agent_restart"), restartDelayMs),
    // Who is started by init directly is guarded by init alone: two that revive would race.
    guard: { command: ownCommand(dataDir), starts: options.watchdog && starter !== "init" },
    emergency: emergencyOf(dataDir),
    guarded: guardedOf(options, config),
  }).catch((error: unknown) => {
    if (starter !== "watchdog" || !isFault(error, "STORE_LOCKED")) throw error;
    log.info(`${error.saw}: nothing to do for this one`);
    return undefined;
  });
  if (!agent) {
    await within(flushed(), flushLimitMs);
    process.exit(0);
  }
  if (!refused && !keepLastGood(dataDir, config, given.inUse))
    log.warn("the config could not be kept as the last good one");
  rememberStart(dataDir, refused ? undefined : options.config, log);
  let leaves = false;
  // While it leaves a signal is a person's newest word all the same: what it left for may have been its next start.
  const stop = () => (leaves ? void agent.leave("stop") : leave("stop"));
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, stop);
  // Who logs out, or loses the line to this machine, has not said that nothing is to be guarded any more.
  process.on("SIGHUP", () => log.info("its terminal was closed (SIGHUP): the agent goes on"));
  const service = announce(config.workloads.length);
  const because = await left;
  leaves = true;
  // Only the unit's end is the service manager's business: an agent that makes way for its next one does not end it.
  if (because !== "agent_restart") service?.stopping();
  service?.close();
  log.info({ because }, because === "down" ? "everything is stopped" : "the agent leaves; its workloads go on");
  // A disk, a hub or a reader of the log that hangs keeps nobody from leaving; what is promised was durable before it was answered.
  const guarded = await agent.leave(because);
  const closed = await within(agent.close(because), closeLimitMs);
  if (because === "agent_restart" && !guarded) succeed(dataDir);
  // Node waits at its exit for threads that hang in the kernel.
  if (!(await within(flushed(), flushLimitMs)) || !closed) process.kill(process.pid, "SIGKILL");
  process.exit(0);
}

/** Under a service manager: ready now, and alive while this loop turns. */
function announce(workloads: number): ServiceNotifier | undefined {
  const service = serviceNotifier(process.env, realClock());
  service?.ready(`guards ${workloads === 1 ? "1 workload" : `${workloads} workloads`}`);
  const { watchdogMs } = service ?? {};
  if (watchdogMs !== undefined) setInterval(() => service?.watchdog(), watchdogMs / 3).unref();
  return service;
}

/** Its lines go to stderr without ever holding up the agent: a reader that hangs, a full disk or a lost terminal loses lines only. */
function openLog(): { log: Logger; flushed: () => Promise<void> } {
  const lines = pino.destination({ dest: 2, sync: false, maxLength: logBytesMax });
  lines.on("error", () => undefined);
  // Called at the exit, it would try for ever where the disk is full (sonic-boom 4.2); who leaves waits for `flushed`.
  lines.flushSync = () => undefined;
  const log = pino({ base: { part: "agent" }, timestamp: pino.stdTimeFunctions.isoTime }, lines);
  const flushed = () =>
    new Promise<void>((resolve) => {
      lines.once("drain", resolve);
      lines.once("error", () => resolve());
      lines.write(""); // its own flush does not wait
    });
  return { log, flushed };
}

async function within(work: Promise<void>, ms: number): Promise<boolean> {
  const late = new Promise<boolean>((resolve) => setTimeout(resolve, ms, false));
  return Promise.race([work.then(() => true), late]);
}

/** How this agent is started again. The packaged binary is its own script: it puts its entry point before the arguments itself. */
function ownCommand(dataDir: string): [file: string, ...args: string[]] {
  const script = "pkg" in process ? [] : [...process.execArgv, ...process.argv.slice(1, 2)];
  return [process.execPath, ...script, ...upWords(process.argv.slice(2), dataDir)];
}

/** The last rung: a program of its own beside this one. */
function emergencyOf(dataDir: string): [file: string, ...args: string[]] {
  const [file, ...args] = ownCommand(dataDir);
  const program = args.slice(0, Math.max(0, args.indexOf("up")));
  return [file, ...program, "emergency", "--data-dir", dataDir, "--auto"];
}

/** What no remedy may write: it would change who the node is, or what guards it. */
function guardedOf(options: UpOptions, { hub }: AgentConfig): string[] {
  const own = [process.execPath, process.argv[1], options.config].filter((path) => path !== undefined);
  return [...own, ...(hub ? [hub.caPath, hub.certPath, hub.keyPath] : [])].map((path) => resolve(path));
}

/** What the emergency needs to know when nobody lives any more who does. */
function rememberStart(dataDir: string, config: string | undefined, log: Logger): void {
  const command = ownCommand(dataDir);
  const at = command.indexOf("up");
  const who = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  const start = { program: command.slice(0, at), words: command.slice(at), cwd: process.cwd(), ...who };
  // An agent that goes on with the last good config does so because this one is of no use.
  const refreshed = config === undefined || !isUsable(config) || refreshGoodConfig(dataDir, config);
  const kept = keepStart(dataDir, start) && refreshed;
  if (!kept) log.warn("how this agent was started could not be written down: an emergency would have to be told");
}

function isUsable(config: string): boolean {
  try {
    readAgentConfig(config, process.env);
    return true;
  } catch {
    return false;
  }
}

/** Starts this program again, where no watchdog does. Under a service manager leaving is enough: it starts the next one. */
function succeed(dataDir: string): void {
  if (process.env.INVOCATION_ID || process.env.BLUEFLAME_SUPERVISED) return;
  const [file, ...args] = ownCommand(dataDir);
  spawn(file, args, { detached: true, stdio: "inherit" }).unref();
}
