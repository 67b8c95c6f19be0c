import { formatFlag, type OutputOptions } from "@blueflame/shared/cli/print.ts";
import { parseDuration } from "@blueflame/shared/cli/text.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { Command, Option } from "commander";
import { type AuditVerifyOptions, auditExport, auditVerify } from "./audit.ts";
import { hubFlags } from "./context.ts";
import { withHub } from "./hub-client.ts";
import {
  audit,
  decisions,
  type IncidentsOptions,
  incidents,
  type NodesOptions,
  nodes,
  type RecordsOptions,
  workloads,
} from "./lists.ts";
import { top } from "./top.ts";
import { conditions, type WaitOptions, wait } from "./wait.ts";

/** The operator's command line. Its commands throw Faults; `runCli` prints them and makes them exit codes. */
export function operatorProgram(version: string): Command {
  const program = hubFlags(new Command("blueflame"))
    .description("Looks at a Blue Flame fleet: its nodes, its incidents, and what was done about them.")
    .version(version, "-V, --version");
  reading(program, "nodes", "every node, worst first, or one with its workloads")
    .argument("[id]", "one node")
    .option("-w, --watch", "go on with each change")
    .action((id: string | undefined, options: NodesOptions, command: Command) =>
      withHub(command, (hub) => nodes(hub, id, options)),
    );
  reading(program, "workloads", "every workload, worst first, with what is at work on it and why")
    .option("--node <id>", "only on this node")
    .action((options: OutputOptions & { node?: string }, command: Command) =>
      withHub(command, (hub) => workloads(hub, options)),
    );
  limited(reading(program, "incidents", "the incidents, newest first, or one with its timeline"))
    .argument("[id]", "one incident, by its id or the beginning of it, or `last`")
    .option("--open", "only those that are not closed")
    .option("--node <id>", "only on this node")
    .option("-w, --watch", "the open ones, then each change")
    .action((id: string | undefined, options: IncidentsOptions, command: Command) =>
      withHub(command, (hub) => incidents(hub, id, options)),
    );
  const history = limited(reading(program, "audit", "who did what and why, newest first"))
    .option("--node <id>", "only on this node")
    .action((options: RecordsOptions, command: Command) => withHub(command, (hub) => audit(hub, options)));
  auditChecks(history);
  limited(reading(program, "decisions", "what was decided, newest first; -o json has the inputs, to compute it again"))
    .option("--node <id>", "only about this node")
    .action((options: RecordsOptions, command: Command) => withHub(command, (hub) => decisions(hub, options)));
  hubFlags(program.command("top"))
    .description("the fleet on the whole terminal, live")
    .action((_options: OutputOptions, command: Command) => withHub(command, top));
  waiting(program);
  return program.addHelpText("after", exitCodes);
}

function reading(program: Command, name: string, description: string): Command {
  return formatFlag(hubFlags(program.command(name)).description(description));
}

function limited(command: Command): Command {
  return command.option("--limit <n>", "at most this many, up to 500", count, 50);
}

function auditChecks(history: Command): void {
  formatFlag(history.command("verify").description("is a node's audit, as it is here, whole and unchanged?"))
    .argument("[node]", "the node; left out with --file")
    .option("--file <export>", "check what `audit export` has printed, here or on a node")
    .option("--ca <file>", "the hub's CA certificate; without it what the audit brings along")
    .action((node: string | undefined, _options, self: Command) =>
      auditVerify(self, node, self.optsWithGlobals<AuditVerifyOptions>()),
    );
  history
    .command("export")
    .description("a node's chained audit as JSON lines, oldest first")
    .argument("<node>")
    .action((node: string, _options, self: Command) => withHub(self, (hub) => auditExport(hub, node)));
}

function waiting(program: Command): void {
  reading(program, "wait", "waits until nodes are well or incidents are closed; prints them only with -o")
    .argument("[ids...]", "these nodes, or these incidents; without any, all of them")
    .addOption(new Option("--for <condition>", "what to wait for").choices([...conditions]).makeOptionMandatory())
    .addOption(
      new Option("--timeout <duration>", "how long, like 30s or 5m; 0s looks once")
        .argParser(parseDuration)
        .default(60_000, "60s"),
    )
    .action((ids: string[], options: WaitOptions, command: Command) =>
      withHub(command, (hub) => wait(hub, ids, options)),
    );
}

function count(text: string): number {
  if (!/^\d+$/.test(text) || Number(text) < 1 || Number(text) > 500) {
    throw new Fault("USAGE", `'${text}' is no limit; give a number from 1 to 500`);
  }
  return Number(text);
}

const exitCodes = `
The hub is --hub, else BLUEFLAME_HUB, else .blueflame/context.json here or above, else http://127.0.0.1:7480.
Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 denied, 5 unreachable, 6 condition false, 124 timed out, 130 interrupted.`;
