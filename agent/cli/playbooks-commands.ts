import { formatFlag } from "@blueflame/shared/cli/print.ts";
import { parseDuration } from "@blueflame/shared/cli/text.ts";
import { type Command, Option } from "commander";
import type { PlaybooksOptions, RunOptions } from "./playbooks.ts";

/** Adds the command `playbooks`: what they do, one of them by hand, and a file of your own before the agent reads it. */
export function addPlaybooks(program: Command): void {
  const desk = () => import("./playbooks.ts");
  const playbooks = formatFlag(
    program.command("playbooks").description("named steps that change the node: list, run, check"),
  )
    .argument("[name]", "show one with its steps")
    .option("--yaml", "print one of the box as the YAML that it is, to begin your own from", false)
    .action(async (name: string | undefined, options: { yaml: boolean }, command: Command) => {
      const { list, printBox } = await desk();
      return options.yaml ? printBox(name) : list(name, command.optsWithGlobals<PlaybooksOptions>());
    });
  formatFlag(playbooks.command("run").description("run one by hand, step by step"))
    .argument("<name>", "the playbook")
    .option(
      "--workload <name>",
      "on this workload; without it, on the node (what is for a workload is refused then)",
      "",
    )
    .option("--dry-run", "only say what each step would do now", false)
    .addOption(
      new Option("--timeout <duration>", "how long to wait for it, like 30s")
        .argParser(parseDuration)
        .default(3_600_000, "1h"),
    )
    .action(async (name: string, _options, command: Command) =>
      (await desk()).run(name, command.optsWithGlobals<RunOptions>()),
    );
  formatFlag(playbooks.command("check").description("read a file of your own as the agent would; asks no agent"))
    .argument("<file>", "a playbook, as YAML")
    .action(async (file: string, _options, command: Command) =>
      (await desk()).check(file, command.optsWithGlobals<PlaybooksOptions>()),
    );
}
