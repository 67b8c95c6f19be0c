import { createRequire } from "node:module";
import { runCli } from "@blueflame/shared/cli/run.ts";
import { asksForConfigManual } from "@blueflame/shared/config/manual-asked.ts";
import { version } from "@blueflame/shared/version.ts";
import { Command } from "commander";
import { addAgentCommands, dataDirOf } from "./cli/commands.ts";
import { addInstall } from "./cli/install.ts";
import { widenThreadPool } from "./threads.driver.ts";
import type { UpOptions } from "./up.driver.ts";

// Loaded when it is asked for: a command that only asks the agent starts in half the time without it.
const guarding = () => import("./up.driver.ts");

widenThreadPool();
const program = new Command("blueflame-agent")
  .description(
    "Guards the workloads of one node: finds crashes and hangs, heals them, remembers, with or without a hub.",
  )
  .version(version);
addAgentCommands(program);
addInstall(program);
program
  .command("up")
  .description(
    "guard this node; in the foreground, until SIGTERM or Ctrl-C, not until its terminal is closed. Workloads outlive it; `down` stops them",
  )
  .option("--config <file>", "what to guard, as YAML; see examples/agent.yaml")
  .option(
    "--last-good",
    "when the config cannot be used, go on with the last one that could (for service managers)",
    false,
  )
  .option("--no-watchdog", "start no watchdog: somebody else starts the agent again; one that runs already is used")
  .argument("[command...]", "instead of a config: one command to guard, after --")
  .action(async (command: string[], options: UpOptions, self: Command) =>
    (await guarding()).up(options, command, dataDirOf(self)),
  );

// Here for --help only: programs of their own, which have taken over before this one was loaded (deploy/bundle.ts, bin.mjs).
for (const [word, what] of [
  [
    "watchdog",
    "guard the agent of this node, as it guards its watchdog; `up` starts one, and so does what `install` sets up",
  ],
  ["emergency", "bring this node back: find out what is wrong, mend it, start what should run, page a person"],
] as const) {
  program
    .command(word)
    .description(what)
    .helpOption(false)
    .allowUnknownOption()
    .argument("[words...]")
    .action(() => {
      createRequire(import.meta.url)(`./blueflame-${word}.cjs`);
    });
}

program.addHelpText(
  "after",
  "\nEvery key of the config file: blueflame-agent --help config\nWhat each of them means: examples/agent.yaml",
);

void main(process.argv.slice(2)).then((code) => {
  process.exitCode ??= code;
  if (code !== 0) process.exitCode = code;
});

async function main(words: string[]): Promise<number> {
  if (asksForConfigManual(words)) {
    await printConfigManual();
    return 0;
  }
  // The emergency asks a program for its version to learn whether it works: the answer must mean that all of it loads.
  if (words[0] === "--version") await guarding();
  return runCli(program, words);
}

async function printConfigManual(): Promise<void> {
  const { configManual } = await import("@blueflame/shared/config/manual.ts");
  const { AgentConfigSchema } = await import("@blueflame/shared/gen/blueflame/config/v1/agent_config_pb.ts");
  const { isTTY, columns } = process.stdout;
  process.stdout.write(configManual(AgentConfigSchema, isTTY ? columns : undefined));
}
