// blueflame-agent watchdog: guards the agent of a node, as the agent guards it. A program of its own, so that it stays small.
import { mkdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { places } from "../constants.ts";
import { holderOf, knock } from "./door.ts";
import { type Flags, parseFlags } from "./flags.ts";
import { InitFeed } from "./init.ts";
import { keyFor } from "./key.ts";
import { Log } from "./log.ts";
import { identify, listenerOf, signalProcess } from "./process.ts";
import { watch } from "./watch.ts";
import type { GuardKey } from "./wire.ts";
import { type Word, wordOf } from "./word.ts";

/** The watchdog of an agent makes way for the one of init within this time. */
const wayWithinMs = 5000;
/** A key that a stranger has made useless is made anew so often. */
const keysMax = 3;

void main(process.argv.slice(2)).then((code) => process.exit(code));

async function main(args: readonly string[]): Promise<number> {
  const flags = parseFlags(args, defaultDataDir());
  if ("refused" in flags) {
    const help = flags.refused.startsWith("Usage");
    process[help ? "stdout" : "stderr"].write(flags.refused);
    return help ? 0 : 2;
  }
  // Where init has started us, its journal is read first; else stderr is the agent's, which says enough.
  const log = new Log(join(flags.dataDir, places.watchdogLog), flags.init);
  process.on("uncaughtException", (error) => {
    log.say(50, `unexpected: ${error.stack ?? error.message}`);
    // Init and the agent both start the next one: better than to go on as nobody knows what.
    setTimeout(() => process.exit(1), 200);
  });
  const { key, word } = flags.handover ? handedOver() : found(flags.dataDir);
  if (!key) {
    log.say(50, `${join(flags.dataDir, places.guardKey)} can be neither read nor made: nobody can be guarded`);
    return 1;
  }
  const code = await guard(flags, key, word, log);
  await pause(50); // for the last line of the log
  return code;
}

async function guard(flags: Flags, first: GuardKey, word: Word | undefined, log: Log): Promise<number> {
  const feed = flags.init ? InitFeed.from(process.env) : undefined;
  let key = first;
  const endMs = performance.now() + wayWithinMs;
  for (let keys = 1; ; ) {
    if ((await watch({ flags, key, word, log, feed })) === "left") return 0;
    const holder = holderOf(key.name);
    if (!holder && process.platform === "linux") {
      await pause(10);
      if (listenerOf(key.name) === undefined || holderOf(key.name)) continue; // it was being given up, or taken
      const renewed = keys++ < keysMax ? keyFor(flags.dataDir, key) : undefined;
      if (!renewed) {
        log.say(50, "a stranger holds our name, and the disk takes no other: nobody can be guarded");
        return 1;
      }
      key = renewed;
      continue;
    }
    const knocked = await knock(key, flags.dataDir, { ...identify(process.pid), role: "watchdog" });
    const silent = knocked.is === "silent" ? knocked.holder : undefined;
    // It is stopped or hung, and would keep everybody from guarding.
    if (silent) signalProcess(silent, "SIGKILL");
    const init = knocked.is === "open" && knocked.welcome.init;
    if (knocked.is === "open") knocked.line.end();
    const leaves = !silent && (init || !flags.init || performance.now() > endMs);
    if (leaves && knocked.is !== "nobody") {
      log.say(30, "another watchdog guards already", { holder: holder?.pid });
      return 0;
    }
    await pause(50);
  }
}

/** What lies in the data directory, which is made when init starts us on a new machine. */
function found(dataDir: string): { key: GuardKey | undefined; word: Word | undefined } {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  } catch {
    // Told by the missing key.
  }
  return { key: keyFor(dataDir), word: wordOf(dataDir) };
}

/** What the agent that has started us knows already: no disk is asked, for it may hang. */
function handedOver(): { key: GuardKey | undefined; word: Word | undefined } {
  try {
    const { name, secret, word } = JSON.parse(readFileSync(0, "utf8")) as Partial<GuardKey> & { word?: Word };
    return { key: name && secret ? { name, secret } : undefined, word };
  } catch {
    return { key: undefined, word: undefined };
  }
}

function defaultDataDir(): string {
  const { BLUEFLAME_DATA_DIR: named, XDG_STATE_HOME: state, HOME: home } = process.env;
  if (named) return resolve(named);
  if (process.getuid?.() === 0) return "/var/lib/blueflame";
  return join(state?.startsWith("/") ? state : join(home ?? homedir(), ".local", "state"), "blueflame");
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
