import { statSync } from "node:fs";
import { resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { readConfigFile } from "@blueflame/shared/config/machine.driver.ts";
import { programWord } from "@blueflame/shared/config/quote.ts";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { agentConfigAt, defaultAgentConfig, workloadFromCommand } from "./config.driver.ts";
import type { AgentConfig } from "./config.ts";
import { lastGood } from "./last-good.driver.ts";
import type { GivenConfigs, Received } from "./memory.driver.ts";
import { tornBecause } from "./stamp.ts";

/** A file that was changed so shortly before it is read may still be being written. */
const freshMs = 1000;
const settleMs = 60;
const settleTries = 40;

/** What `up` was told. */
export interface Asked {
  readonly config: string | undefined;
  readonly command: readonly string[];
  /** May the last good config run in the place of one that cannot be used? */
  readonly lastGood: boolean;
  readonly dataDir: string;
}

/** The config that runs. */
export interface ReceivedConfig {
  readonly config: AgentConfig;
  readonly given: GivenConfigs;
  /** Why the one that was asked for does not run; undefined when it does. */
  readonly refused?: Fault;
}

/** Throws USAGE, CONFIG_INVALID, CONFIG_NOT_FOUND, CONFIG_TORN: nothing may be started then. */
export async function receiveConfig(asked: Asked): Promise<ReceivedConfig> {
  const { config: path, command, dataDir } = asked;
  if (path && command.length > 0) {
    throw new Fault("USAGE", "up was given both --config and a command; name the command in the config");
  }
  if (!path) return fromCommand(command);
  const from = resolve(path);
  let text: string | undefined;
  try {
    await settle(path);
    text = readConfigFile(path);
    const torn = tornBecause(text, sameFile(lastGood(dataDir)?.given, from));
    if (torn !== undefined) throw new Fault("CONFIG_TORN", `'${path}' is not whole: ${torn}`);
    return { config: agentConfigAt(path, text, process.env), given: { inUse: { text, origin: "file", from } } };
  } catch (error) {
    const kept = asked.lastGood ? lastGood(dataDir) : undefined;
    if (!kept || !isFault(error) || !error.code.startsWith("CONFIG_")) throw error;
    const inUse: Received = kept.given ?? { text: "", origin: "file", from };
    const refused = text === undefined ? undefined : { text, origin: "file" as const, from, because: error.saw };
    return { config: kept.config, given: { inUse, ...(refused && { refused }) }, refused: error };
  }
}

function fromCommand(command: readonly string[]): ReceivedConfig {
  const bare = defaultAgentConfig(process.env);
  const config =
    command.length === 0 ? bare : { ...bare, workloads: [workloadFromCommand(command, process.cwd(), process.env)] };
  const text = command.length === 0 ? "" : `${JSON.stringify({ command })}\n`;
  return { config, given: { inUse: { text, origin: "operator", from: command.map(programWord)[0] ?? "" } } };
}

/** What another file held says nothing about this one. */
function sameFile(before: Received | undefined, from: string): string | undefined {
  return before?.origin === "file" && before.from === from ? before.text : undefined;
}

/** Waits until a file that was just written stands still. Throws CONFIG_TORN when it does not. */
async function settle(path: string): Promise<void> {
  let before = lookAt(path);
  if (before === undefined || Date.now() - before.changedMs > freshMs) return;
  for (let tries = 0; tries < settleTries; tries++) {
    await pause(settleMs);
    const now = lookAt(path);
    if (now === undefined || (now.changedMs === before.changedMs && now.bytes === before.bytes)) return;
    before = now;
  }
  throw new Fault("CONFIG_TORN", `'${path}' is being written all the time`);
}

function lookAt(path: string): { changedMs: number; bytes: number } | undefined {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats && { changedMs: stats.mtimeMs, bytes: stats.size };
}
