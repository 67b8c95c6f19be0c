/** Is an agent wanted on this node at all? A person's word decides, over reboots; see watchdog/word.ts. */
import { revivedVariable } from "./constants.ts";
import { knock } from "./watchdog/door.ts";
import { readKey } from "./watchdog/key.ts";
import { identify } from "./watchdog/process.ts";
import { clearWord, keepWord, type Word, wordOf } from "./watchdog/word.ts";

/** A watchdog that has heard a person's word needs a moment to take it in. */
const heardMs = 100;

/** Who starts this process: a machine keeps to what a person has said, a person takes it back. */
export type Starter = "person" | "watchdog" | "init";

/** systemd writes the number of the process that it starts itself; its other variables reach every shell below it. */
export function starterOf(env: NodeJS.ProcessEnv, pid: number): Starter {
  if (env[revivedVariable]) return "watchdog";
  return env.BLUEFLAME_SUPERVISED || env.SYSTEMD_EXEC_PID === String(pid) ? "init" : "person";
}

/** The word that keeps `starter` from starting an agent here; undefined when there is none. A person's start takes it back. */
export function forbidden(dataDir: string, starter: Starter): Word | undefined {
  if (starter !== "person") return wordOf(dataDir);
  clearWord(dataDir);
  return undefined;
}

/**
 * Tells the watchdog of this data directory that a person wants no agent (`rest`, kept first) or wants one after all (`run`).
 * Resolves with what it is, undefined when none answers.
 */
export async function tellWatchdog(
  dataDir: string,
  word: "rest" | "run",
): Promise<{ readonly init: boolean } | undefined> {
  if (word === "rest") await keepWord(dataDir, "down", "person");
  const key = readKey(dataDir);
  if (!key) return undefined;
  const knocked = await knock(key, dataDir, { ...identify(process.pid), role: "person" });
  if (knocked.is !== "open") return undefined;
  const { line, welcome } = knocked;
  if (word === "rest" || welcome.init) {
    line.send({ is: word });
    await new Promise((resolve) => setTimeout(resolve, heardMs));
  }
  line.end();
  return { init: welcome.init };
}
