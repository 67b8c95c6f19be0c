import { addAgentCommands } from "@blueflame/agent/cli/commands.ts";
import { runCli } from "@blueflame/shared/cli/run.ts";
import { Command } from "commander";

/** The agent's command line without `up`: a program of its own, so that tests see its real exit codes and streams. */
const program = addAgentCommands(new Command("blueflame-agent").version("0.0.0-test"));
process.exitCode = await runCli(program, process.argv.slice(2));
