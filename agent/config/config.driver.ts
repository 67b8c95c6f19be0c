import { resolve } from "node:path";
import { readConfigFile, thisMachine } from "@blueflame/shared/config/machine.driver.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import { type AgentConfig, agentConfigOf, bareConfig, commandSpecOf } from "./config.ts";
import { tornBecause } from "./stamp.ts";

/** Reads the agent's config file; `env` is the agent's environment. Throws CONFIG_INVALID, CONFIG_NOT_FOUND, CONFIG_TORN. */
export function readAgentConfig(path: string, env: NodeJS.ProcessEnv): AgentConfig {
  const text = readConfigFile(path);
  const torn = tornBecause(text, undefined);
  if (torn !== undefined) throw new Fault("CONFIG_TORN", `'${path}' is not whole: ${torn}`);
  return agentConfigAt(path, text, env);
}

/** What the text of the config file at `path` says. Throws CONFIG_INVALID. */
export function agentConfigAt(path: string, text: string, env: NodeJS.ProcessEnv): AgentConfig {
  return agentConfigOf(text, { path: resolve(path), searchPath: env.PATH ?? "", machine: thisMachine });
}

/** The workload of `up -- COMMAND …`; the command is looked up from `cwd` and along the PATH of `env`. Throws USAGE, SPAWN_FAILED. */
export function workloadFromCommand(argv: readonly string[], cwd: string, env: NodeJS.ProcessEnv): WorkloadSpec {
  return commandSpecOf(argv, resolve(cwd), { searchPath: env.PATH ?? "", machine: thisMachine });
}

/** The config of an agent that was given none: it guards itself, with every default. */
export function defaultAgentConfig(env: NodeJS.ProcessEnv): AgentConfig {
  return bareConfig({ searchPath: env.PATH ?? "", machine: thisMachine });
}
