import { resolve } from "node:path";
import { formatFlag } from "@blueflame/shared/cli/print.ts";
import { parseDuration } from "@blueflame/shared/cli/text.ts";
import type { Command } from "commander";
import type { AuditOptions } from "./audit.ts";
import type { ControlOptions } from "./control.ts";
import type { DoctorOptions } from "./doctor.ts";
import { lineCount, onOrOff, partName, recordCount } from "./flags.ts";
import type { HealthOptions } from "./health.ts";
import type { LogsOptions } from "./logs.ts";
import { defaultDataDir } from "./place.ts";
import { addPlaybooks } from "./playbooks-commands.ts";
import type { RecordsOptions } from "./records.ts";
import { addState } from "./state-commands.ts";
import type { StatusOptions } from "./status.ts";
import type { FetchOptions, RepairOptions, RestoreOptions, StoreOptions } from "./store.ts";
import type { EntrustOptions, RotateOptions } from "./store-keys.ts";
import type { TriggersOptions } from "./triggers.ts";

/**
 * Adds what a person at the node can say, and the flag `--data-dir` for all of it: status, start, stop, restart, down, logs,
 * incidents, audit, decisions, triggers, playbooks, health, kill-switch, doctor, state, store, config. Run it with `runCli`; commands reject with Faults.
 * Each command is loaded when it is asked for: what a person types then starts in two thirds of the time.
 */
export function addAgentCommands(program: Command): Command {
  const dataDir = defaultDataDir(process.env, process.getuid?.());
  program.option("--data-dir <dir>", "where the agent keeps everything of its own", (dir) => resolve(dir), dataDir);
  addStatus(program);
  addControls(program);
  addLogs(program);
  addRecords(program);
  addTriggers(program);
  addPlaybooks(program);
  addHealth(program);
  addDoctor(program);
  addState(program);
  addStore(program);
  addConfig(program);
  return program;
}

/** The directory that `--data-dir` names, absolute, or its default. */
export function dataDirOf(command: Command): string {
  return String(command.optsWithGlobals().dataDir);
}

function addStatus(program: Command): void {
  formatFlag(program.command("status").description("the node and its workloads"))
    .option("-w, --watch", "print each change until Ctrl-C", false)
    .option("--exit-code", "exit with 6 unless everything is well", false)
    .action(async (_options, command: Command) =>
      (await import("./status.ts")).status(command.optsWithGlobals<StatusOptions>()),
    );
}

function addControls(program: Command): void {
  const desk = () => import("./control.ts");
  const verbs = {
    start: ["start what a person has stopped, and wait until it is up", 30_000],
    stop: ["stop for good: over restarts of the agent and of the machine", 300_000],
    restart: ["stop and start once, and wait until it is up", 30_000],
  } as const;
  for (const verb of ["start", "stop", "restart"] as const) {
    const [what, timeoutMs] = verbs[verb];
    patient(program.command(verb).description(what), timeoutMs)
      .argument("[workload]", "may be left out when there is only one")
      .option("--no-wait", "only ask for it; do not wait for what comes of it")
      .action(async (workload: string | undefined, _options, command: Command) =>
        (await desk()).control(verb, workload, { ...patience(command), wait: command.opts().wait !== false }),
      );
  }
  patient(
    program
      .command("kill-switch")
      .description("stop the whole node on purpose, or let it go on: nothing but a person takes it back"),
  )
    .argument("<on|off>", "on: stop all workloads, and start and heal nothing, over reboots too", onOrOff)
    .option("--reason <words>", "why; whoever finds the node stopped will read it", "")
    .action(async (on: boolean, _options, command: Command) =>
      (await desk()).killSwitch(on, { ...patience(command), reason: String(command.opts().reason) }),
    );
  patient(
    program.command("down").description("stop all workloads in order, then the agent; `up` starts them again"),
  ).action(async (_options, command: Command) => (await desk()).down(patience(command)));
}

function patient(command: Command, timeoutMs = 300_000): Command {
  const words = `${timeoutMs / 1000}s`;
  return formatFlag(command).addOption(
    command
      .createOption("--timeout <duration>", "how long to wait for it")
      .argParser(parseDuration)
      .default(timeoutMs, words),
  );
}

function patience(command: Command): ControlOptions {
  const options = command.optsWithGlobals<Omit<ControlOptions, "timeoutMs"> & { timeout: number }>();
  return { ...options, timeoutMs: options.timeout };
}

function addLogs(program: Command): void {
  formatFlag(program.command("logs").description("a workload's output; works while the agent is down"))
    .argument("[workload]", "may be left out when there is only one")
    .option("-f, --follow", "go on with what comes, over rotations, until Ctrl-C", false)
    .option("-n, --lines <count>", "how many of the last lines", lineCount, 50)
    .option("--part <part>", "the agent's own log instead: phoenix, launcher, incidents, watchdog, emergency", partName)
    .action(async (workload: string | undefined, _options, command: Command) =>
      (await import("./logs.ts")).logs(workload, command.optsWithGlobals<LogsOptions>()),
    );
}

function addRecords(program: Command): void {
  const desk = () => import("./records.ts");
  listing(program.command("incidents").description("what went wrong, newest first"))
    .argument("[id]", "show one with its timeline: its id, the id's beginning or end, or `last`")
    .option("--open", "only those that are not closed", false)
    .action(async (id: string | undefined, _options, command: Command) =>
      (await desk()).incidents(id, command.optsWithGlobals<RecordsOptions & { open: boolean }>()),
    );
  const history = listing(program.command("audit").description("who did what and why, newest first")).action(
    async (_options, command: Command) => (await desk()).audit(command.optsWithGlobals<RecordsOptions>()),
  );
  addAuditChecks(history);
  listing(program.command("decisions").description("what was decided and why, newest first")).action(
    async (_options, command: Command) => (await desk()).decisions(command.optsWithGlobals<RecordsOptions>()),
  );
}

/** Both work while the agent is down. */
function addAuditChecks(history: Command): void {
  const desk = () => import("./audit.ts");
  formatFlag(history.command("verify").description("is it whole and unchanged? Names each edit, cut and gap"))
    .option("--file <export>", "check what `audit export` has printed")
    .option("--ca <file>", "the hub's CA certificate; without it the key that was kept with its countersignatures")
    .action(async (_options, self: Command) => (await desk()).auditVerify(self.optsWithGlobals<AuditOptions>()));
  history
    .command("export")
    .description("all of it as JSON lines, oldest first")
    .action(async (_options, self: Command) => (await desk()).auditExport(self.optsWithGlobals<AuditOptions>()));
}

function listing(command: Command): Command {
  return formatFlag(command).option("-n, --limit <count>", "how many at most", recordCount, 20);
}

function addDoctor(program: Command): void {
  formatFlag(program.command("doctor").description("look for what is wrong with this node, and say what to do"))
    .option("--config <file>", "look at this config and its certificates too")
    .action(async (_options, command: Command) =>
      (await import("./doctor.ts")).doctor(command.optsWithGlobals<DoctorOptions>()),
    );
}

function addHealth(program: Command): void {
  formatFlag(
    program.command("health").description("meta-health, service objectives, trust, and how well recoveries went"),
  ).action(async (_options, command: Command) =>
    (await import("./health.ts")).health(command.optsWithGlobals<HealthOptions>()),
  );
}

function addTriggers(program: Command): void {
  formatFlag(program.command("triggers").description("what is watched, and where it stands"))
    .argument("[name]", "show one with where it stands for each subject")
    .option("--metrics", "list the figures that a trigger of yours may look at, instead", false)
    .action(async (name: string | undefined, _options, command: Command) =>
      (await import("./triggers.ts")).triggers(name, command.optsWithGlobals<TriggersOptions>()),
    );
}

/** For a store that no agent has open: the emergency runs them too, and a person when it asks for it. */
function addStore(program: Command): void {
  // Loaded when it is asked for: nothing else here needs LevelDB.
  const desk = () => import("./store.ts");
  const store = program
    .command("store")
    .description("the agent's store: look at it, mend or replace it while no agent runs, change its keys");
  const command = (name: string, what: string) =>
    formatFlag(store.command(name).description(what)).addOption(
      store.createOption("--actor <who>", "for the audit: who mends").hideHelp(),
    );
  command("verify", "compare the store with its checksums, and each snapshot too").action(
    async (_options, self: Command) => (await desk()).verify(self.optsWithGlobals<StoreOptions>()),
  );
  command("repair", "mend it from what is left, else from a snapshot; the damaged one is kept")
    .option("--new-life", "also when it is sound: what a copy that was put back by hand needs", false)
    .action(async (_options, self: Command) => (await desk()).repair(self.optsWithGlobals<RepairOptions>()));
  command("restore", "put a snapshot in its place, where `repair` is of no use; the one before is kept")
    .option(
      "--snapshot <number>",
      "go back to this one, also where the store holds more; without it the youngest that is sound",
    )
    .option("--from <folder>", "a snapshot that lies elsewhere")
    .option("--from-hub", "the last one that the hub keeps of this node, or the one that --snapshot names", false)
    .option("--config <file>", "for --from-hub: where the hub is, and with which certificate it is asked")
    .option(
      "--open-with <key>",
      "for --from-hub: a private escrow key (PEM) or an earlier store.key that opens it; not kept",
    )
    .option(
      "--empty",
      "begin with an empty store: give up everything but what a person stopped and the risk locks that can be read",
      false,
    )
    .action(async (_options, self: Command) => (await desk()).restore(self.optsWithGlobals<RestoreOptions>()));
  command("fetch", "bring a snapshot of this node from the hub, and put it among those here")
    .requiredOption("--config <file>", "where the hub is, and with which certificate it is asked")
    .option("--snapshot <id>", "this one; without it the last one that is whole")
    .action(async (_options, self: Command) => (await desk()).fetch(self.optsWithGlobals<FetchOptions>()));
  const keys = () => import("./store-keys.ts");
  command("rotate-key", "seal with another key from now on, also while the agent runs")
    .option("--kek", "change the key-encryption key, the one in the file, instead of the data key", false)
    .action(async (_options, self: Command) => (await keys()).rotateKey(self.optsWithGlobals<RotateOptions>()));
  command("entrust", "let the holder of a private key open the store too, also while the agent runs")
    .argument("[public-key]", "its public key: a PEM file, X25519 or RSA")
    .option("--nobody", "no one else can open it any more", false)
    .action(async (file: string | undefined, _options, self: Command) =>
      (await keys()).entrust(file, self.optsWithGlobals<EntrustOptions>()),
    );
  command("open-with", "open the store and its snapshots with another key of theirs, when its own key is lost")
    .argument("<key>", "the private key it was entrusted to (PEM), or an earlier store.key; it is read and not kept")
    .action(async (file: string, _options, self: Command) =>
      (await keys()).openWith(file, self.optsWithGlobals<StoreOptions>()),
    );
}

function addConfig(program: Command): void {
  const versions = () => import("./config-versions.ts");
  const config = program.command("config").description("the config file");
  formatFlag(config.command("check").description("read it as `up` would, and start nothing"))
    .argument("<file>")
    .action(async (file: string, _options, self: Command) =>
      (await import("./config-check.ts")).checkConfig(file, self.optsWithGlobals<StoreOptions>()),
    );
  formatFlag(
    config.command("versions").description("every config that this node was given, and what became of it"),
  ).action(async (_options, self: Command) => (await versions()).configVersions(self.optsWithGlobals<StoreOptions>()));
  config
    .command("show")
    .description("print what one of them held")
    .argument("<version>", "its first six digits are enough")
    .action(async (version: string, _options, self: Command) =>
      (await versions()).showConfig(version, self.optsWithGlobals<StoreOptions>()),
    );
  config
    .command("stamp")
    .description("end it with its checksum: from then on a copy of it that was cut is known as such, and is never run")
    .argument("<file>")
    .action(async (file: string) => (await versions()).stampConfig(file));
}
