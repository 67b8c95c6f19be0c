/** Is an agent wanted on this node at all? A person's word decides, over reboots; see watchdog/word.ts. */
import { setTimeout as pause } from "node:timers/promises";
import { revivedVariable } from "./constants.ts";
import { knock } from "./watchdog/door.ts";
import { readKey } from "./watchdog/key.ts";
import type { Line } from "./watchdog/line.ts";
import { identify } from "./watchdog/process.ts";
import { clearWord, keepWord, type Word, wordOf } from "./watchdog/word.ts";

/** A watchdog that has heard a person's word needs a moment to take it in. */
const heardMs = 100;
const goneMs = 2000;
const goneLookMs = 50;

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
 * Tells the watchdog of this data directory that a person wants no agent (`rest`, kept in a file first) or wants one after all
 * (`run`, for one of init: another one has nothing to do without an agent). Resolves with what it is; undefined when none answers.
 */
export async function tellWatchdog(dataDir: string, word: "rest" | "run"): Promise<Watchdog | undefined> {
  if (!readKey(dataDir)) return undefined; // no agent has ever run here
  if (word === "rest") await keepWord(dataDir, "down", "person");
  return meet(dataDir, async (line, watchdog) => {
    if (word === "run" && !watchdog.init) return;
    line.send({ is: word });
    await pause(heardMs);
  });
}

/** Waits until the watchdog has left after its agent's `down`: at most 2 s, and not for one of init, which stays. */
export async function watchdogGone(dataDir: string): Promise<void> {
  for (let waitedMs = 0; waitedMs < goneMs; waitedMs += goneLookMs) {
    const watchdog = await meet(dataDir, async () => undefined);
    if (!watchdog || watchdog.init) return;
    await pause(goneLookMs);
  }
}

/** A watchdog that has answered. */
export interface Watchdog {
  readonly init: boolean;
}

async function meet(
  dataDir: string,
  say: (line: Line, watchdog: Watchdog) => Promise<void>,
): Promise<Watchdog | undefined> {
  const key = readKey(dataDir);
  if (!key) return undefined;
  const knocked = await knock(key, dataDir, { ...identify(process.pid), role: "person" });
  if (knocked.is !== "open") return undefined;
  await say(knocked.line, knocked.welcome);
  knocked.line.end();
  return { init: knocked.welcome.init };
}
