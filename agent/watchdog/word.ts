/** A person's word about the whole node, in a file: written before it is obeyed, and only a person takes it back. */
import { closeSync, fsyncSync, openSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { places } from "../constants.ts";
import { onPromises } from "./lazily.ts";
import { bootId } from "./process.ts";

const format = 1;

/** `down` holds for ever, over reboots; `stop` (Ctrl-C, SIGTERM) until the next boot, when init starts everything anew. */
export type Word = "down" | "stop";

/** Durable when it resolves with true; false when the disk refuses. One that hangs is not waited for here. A `stop` takes no `down` back. */
export async function keepWord(dataDir: string, word: Word, by: string): Promise<boolean> {
  const path = join(dataDir, places.intent);
  const { open, readFile, rename, writeFile } = onPromises();
  try {
    if (word === "stop" && wordIn(await readFile(path, "utf8").catch(() => "")) === "down") return true;
    const text = JSON.stringify({ format, word, by, at: new Date().toISOString(), boot: bootId() });
    await writeFile(`${path}.new`, `${text}\n`, { mode: 0o600, flush: true });
    await rename(`${path}.new`, path);
    const folder = await open(dataDir, "r");
    await folder.sync().finally(() => folder.close());
    return true;
  } catch {
    return false;
  }
}

/** The word that holds now; undefined when there is none. A file that cannot be understood is no word: a crash is always healed. */
export function wordOf(dataDir: string): Word | undefined {
  try {
    return wordIn(readFileSync(join(dataDir, places.intent), "utf8"));
  } catch {
    return undefined;
  }
}

function wordIn(text: string): Word | undefined {
  try {
    const { word, boot } = JSON.parse(text) as Record<string, unknown>;
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
    rmSync(join(dataDir, places.intent));
    const folder = openSync(dataDir, "r");
    try {
      fsyncSync(folder); // a word that is back after a power cut would keep the node down
    } finally {
      closeSync(folder);
    }
  } catch {
    // There was none. Or a disk that refuses: who is started by a person runs all the same, and after a crash is not revived from this disk.
  }
}
