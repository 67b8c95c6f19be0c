import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The bundle that holds nothing but the watchdog; the agent's lies beside it. Packaged, both are one executable. */
const bundle = "blueflame-watchdog.cjs";
const agentBundle = "blueflame-agent.cjs";

/** The agent's command line from our own: same program, its own arguments. */
export function currentCommand(words: readonly string[]): readonly string[] {
  const self = fileURLToPath(import.meta.url);
  const program = basename(self) === bundle ? [process.execPath, join(dirname(self), agentBundle)] : [process.execPath];
  return [...program, ...(words.length > 0 ? words : ["up"])];
}

/** The program of a command line of the agent: everything before its first word of ours. */
export function programOf(command: readonly string[]): readonly string[] {
  return command.slice(0, Math.max(1, command.indexOf("up")));
}

/** The command that revives an agent: the last good config will do, when the file cannot be used. `program` takes the place of its own. */
export function revival(command: readonly string[], program: readonly string[] | undefined): readonly string[] {
  const own = programOf(command);
  const [up = "up", ...rest] = command.slice(own.length);
  const flags = rest.includes("--") ? rest.slice(0, rest.indexOf("--")) : rest;
  return [...(program ?? own), up, ...(flags.includes("--last-good") ? [] : ["--last-good"]), ...rest];
}
