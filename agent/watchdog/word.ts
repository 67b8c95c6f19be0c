/** A person's word about the whole node, in a file: written before it is obeyed, and only a person takes it back. */
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { places } from "../constants.ts";
import { bootId } from "./process.ts";

const format = 1;

/** `down` holds for ever, over reboots; `stop` (Ctrl-C, SIGTERM) until the next boot, when init starts everything anew. */
export type Word = "down" | "stop";

/** Durable on return. False when the disk refuses. */
export function keepWord(dataDir: string, word: Word, by: string): boolean {
  const path = join(dataDir, places.intent);
  try {
    const text = JSON.stringify({ format, word, by, at: new Date().toISOString(), boot: bootId() });
    writeFileSync(`${path}.new`, `${text}\n`, { mode: 0o600, flush: true });
    renameSync(`${path}.new`, path);
    return true;
  } catch {
    return false;
  }
}

/** The word that holds now; undefined when there is none. A file that cannot be understood is no word: a crash is always healed. */
export function wordOf(dataDir: string): Word | undefined {
  try {
    const { word, boot } = JSON.parse(readFileSync(join(dataDir, places.intent), "utf8")) as Record<string, unknown>;
    if (word === "down") return word;
    return word === "stop" && boot === bootId() ? word : undefined;
  } catch {
    return undefined;
  }
}

/** Takes the word back; `only` one of this kind. */
export function clearWord(dataDir: string, only?: Word): void {
  if (only !== undefined && wordOf(dataDir) !== only) return;
  try {
    rmSync(join(dataDir, places.intent), { force: true });
  } catch {
    // A disk that refuses: who is started by a person runs all the same, and after a crash is not revived from this disk.
  }
}
