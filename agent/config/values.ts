import type { Draft } from "@blueflame/shared/config/load.ts";
import type { Machine } from "@blueflame/shared/config/machine.ts";
import { nearest } from "@blueflame/shared/config/problems.ts";
import { keyPath, programName, programProblem } from "@blueflame/shared/config/quote.ts";
import type { AgentConfigSchema } from "@blueflame/shared/gen/blueflame/config/v1/agent_config_pb.ts";
import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";

/** The agent's config file while it is checked. */
export type AgentDraft = Draft<typeof AgentConfigSchema>;

/** Milliseconds; 0 for a duration that a broken config left out. */
export function millis(duration: Duration | undefined): number {
  return duration ? durationMs(duration) : 0;
}

/** HOST and PORT of `HOST:PORT`, without the brackets of an IPv6 address. */
export function hostAndPort(address: string): { readonly host: string; readonly port: number } {
  const at = address.lastIndexOf(":");
  return { host: address.slice(0, at).replaceAll(/^\[|\]$/g, ""), port: Number(address.slice(at + 1)) };
}

/** What is wrong with the port of `HOST:PORT`; undefined when nothing is. */
export function portProblem(address: string): string | undefined {
  const { port } = hostAndPort(address);
  return port >= 1 && port <= 65_535 ? undefined : `port ${address.slice(address.lastIndexOf(":") + 1)}`;
}

/** Where and how programs of one workload are looked up. */
export interface Programs {
  readonly cwd: string;
  readonly searchPath: string;
  readonly machine: Machine;
}

/** The command with its program as an absolute path; a problem and the command as it is when there is none. */
export function programOf(
  command: readonly string[],
  path: string,
  draft: AgentDraft,
  { cwd, searchPath, machine }: Programs,
): [file: string, ...args: string[]] {
  const [program = "", ...args] = command;
  if (draft.isBroken(path)) return [program, ...args];
  const found = machine.findProgram(program, cwd, searchPath);
  if ("file" in found) return [found.file, ...args];
  // Where the folder is missing, its programs are no second problem.
  if (machine.isFolder(cwd)) {
    const { saw, allowed } = programProblem(program, found.refused);
    draft.add(`${path}[0]`, saw, allowed, nearest(programName(program), machine.programs(searchPath)));
  }
  return [program, ...args];
}

/** Refuses names in the section's `env` that the agent sets itself, and those that no environment can hold. */
export function checkEnv(env: Readonly<Record<string, string>>, path: string, draft: AgentDraft): void {
  for (const key of Object.keys(env)) {
    const at = keyPath(`${path}.env`, key);
    if (key === "" || /[=\0]/.test(key)) {
      if (!draft.isBroken(at)) draft.add(at, "an empty name or one with = or NUL", "allowed are names without them");
    } else if (key.startsWith("BLUEFLAME_")) {
      draft.add(at, "a name that the agent sets itself", "allowed are names without BLUEFLAME_");
    }
  }
}

/** A page that can be asked. */
export function isWebAddress(url: string): boolean {
  return /^https?:\/\//.test(url) && URL.canParse(url);
}
