import { spawn } from "node:child_process";
import { runCli } from "@blueflame/shared/cli/run.ts";
import { configManual } from "@blueflame/shared/config/manual.ts";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { AgentConfigSchema } from "@blueflame/shared/gen/blueflame/config/v1/agent_config_pb.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { version } from "@blueflame/shared/version.ts";
import { Command } from "commander";
import { type Logger, pino } from "pino";
import { addAgentCommands, dataDirOf } from "./cli/commands.ts";
import { defaultAgentConfig, readAgentConfig, workloadFromCommand } from "./config.driver.ts";
import type { AgentConfig } from "./config.ts";
import { keepLastGood, lastGood } from "./last-good.driver.ts";
import { runAgent } from "./run.driver.ts";
import { widenThreadPool } from "./threads.driver.ts";

/** How long an ordered restart waits for its own answer to be kept and sent. */
const restartDelayMs = 300;
/** How long the goodbye to the hub and the closing of the store may take together. */
const closeLimitMs = 15_000;
/** Lines that wait for a reader of stderr: the last ones of an agent that leaves, and all of one whose reader hangs. */
const flushLimitMs = 1000;
const logBytesMax = 1024 * 1024;

interface UpOptions {
  readonly config?: string;
  readonly lastGood: boolean;
}

function readConfig(options: UpOptions, command: readonly string[], dataDir: string, log: Logger): AgentConfig {
  if (options.config && command.length > 0) {
    throw new Fault("USAGE", "up was given both --config and a command; name the command in the config");
  }
  const bare = defaultAgentConfig(process.env);
  if (command.length > 0) return { ...bare, workloads: [workloadFromCommand(command, process.cwd(), process.env)] };
  if (!options.config) return bare;
  try {
    return readAgentConfig(options.config, process.env);
  } catch (error) {
    const kept = options.lastGood ? lastGood(dataDir) : undefined;
    if (!kept || !(isFault(error, "CONFIG_INVALID") || isFault(error, "CONFIG_NOT_FOUND"))) throw error;
    log.error({ code: error.code }, `${error.message} The last good config is used instead.`);
    return kept;
  }
}

async function up(options: UpOptions, command: readonly string[], dataDir: string): Promise<void> {
  const { log, flushed } = openLog();
  const config = readConfig(options, command, dataDir, log);
  let leave: (because: string) => void = () => undefined;
  const left = new Promise<string>((resolve) => {
    leave = resolve;
  });
  const agent = await runAgent({
    dataDir,
    config,
    clock: realClock(),
    random: Math.random,
    log,
    onDown: () => leave("down"),
    onRestart: () => setTimeout(() => leave("agent_restart"), restartDelayMs),
  });
  if (!keepLastGood(dataDir, config)) log.warn("the config could not be kept as the last good one");
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => leave("stop"));
  const because = await left;
  log.info({ because }, because === "down" ? "everything is stopped" : "the agent leaves; its workloads go on");
  // A disk, a hub or a reader of the log that hangs keeps nobody from leaving; what is promised was durable before it was answered.
  const closed = await within(agent.close(because), closeLimitMs);
  if (because === "agent_restart") succeed();
  // Node waits at its exit for threads that hang in the kernel.
  if (!(await within(flushed(), flushLimitMs)) || !closed) process.kill(process.pid, "SIGKILL");
  process.exit(0);
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

/** Starts this program again with the same arguments. Under a service manager leaving is enough: it starts the next one. */
function succeed(): void {
  if (process.env.INVOCATION_ID || process.env.BLUEFLAME_SUPERVISED) return;
  // The packaged binary is its own script: it is given its arguments only, and puts its entry point before them itself.
  const args = "pkg" in process ? process.argv.slice(2) : [...process.execArgv, ...process.argv.slice(1)];
  spawn(process.execPath, args, { detached: true, stdio: "inherit" }).unref();
}

widenThreadPool();
const program = new Command("blueflame-agent")
  .description(
    "Guards the workloads of one node: finds crashes and hangs, heals them, remembers, with or without a hub.",
  )
  .version(version);
addAgentCommands(program);
program
  .command("up")
  .description("guard this node; in the foreground, until SIGTERM or Ctrl-C. Workloads outlive it; `down` stops them")
  .option("--config <file>", "what to guard, as YAML; see examples/agent.yaml")
  .option(
    "--last-good",
    "when the config cannot be used, go on with the last one that could (for service managers)",
    false,
  )
  .argument("[command...]", "instead of a config: one command to guard, after --")
  .action((command: string[], options: UpOptions, self: Command) => up(options, command, dataDirOf(self)));

program.addHelpText("after", "\nEvery key of the config file: blueflame-agent --help config");

const [asked, topic, ...more] = process.argv.slice(2);
if ((asked === "--help" || asked === "help") && topic === "config" && more.length === 0) {
  process.stdout.write(configManual(AgentConfigSchema));
} else
  void runCli(program, process.argv.slice(2)).then((code) => {
    process.exitCode ??= code;
    if (code !== 0) process.exitCode = code;
  });
