import { formatFlag } from "@blueflame/shared/cli/print.ts";
import type { Command } from "commander";
import { recordCount } from "./flags.ts";
import type { StateOptions, UnlockOptions } from "./state.ts";

/** Adds `state list`, `get`, `log`, `forget` and `unlock`: what workloads keep at their agent. */
export function addState(program: Command): void {
  const state = program.command("state").description("what workloads keep at the agent: keys, logs, trades, risk");
  const add = (name: string, what: string) => formatFlag(state.command(name).description(what));
  const desk = () => import("./state.ts");
  const options = (self: Command) => self.optsWithGlobals<StateOptions>();
  add("list", "each workload with its risk, or the keys and logs of one")
    .argument("[workload]")
    .action(async (workload: string | undefined, _options, self: Command) =>
      (await desk()).stateList(workload, options(self)),
    );
  add("get", "a key's value, as it was put")
    .argument("<workload>")
    .argument("<key>")
    .action(async (workload: string, key: string, _options, self: Command) =>
      (await desk()).stateGet(workload, key, options(self)),
    );
  add("log", "the newest entries of a log, or the newest trades")
    .argument("<workload>")
    .argument("[log]", "without it: its trades")
    .option("-n, --limit <count>", "how many at most", recordCount, 20)
    .action(async (workload: string, log: string | undefined, _options, self: Command) =>
      (await desk()).stateLog(workload, log, self.optsWithGlobals<StateOptions & { limit: number }>()),
    );
  add("forget", "give up what a workload kept that is no longer in the config; the audit says so")
    .argument("<workload>")
    .requiredOption("--reason <words>", "why nobody needs it any more")
    .action(async (workload: string, _options, self: Command) =>
      (await desk()).stateForget(workload, self.optsWithGlobals<StateOptions & { readonly reason: string }>()),
    );
  add("unlock", "open a workload's risk lock: you answer for it, and the audit says so")
    .argument("<workload>")
    .requiredOption("--reason <words>", "why it may trade again")
    .option("-y, --yes", "at a terminal: do not ask")
    .action(async (workload: string, _options, self: Command) =>
      (await desk()).stateUnlock(workload, self.optsWithGlobals<UnlockOptions>()),
    );
}
