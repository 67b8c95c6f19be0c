import { statSync } from "node:fs";
import { chmod, open, rename } from "node:fs/promises";

/** M1 to M5, beside the data: written every few seconds for as long as an agent is at work. */
export const metaHealthFile = "meta_health.json";

/** When such a file was last written, in wall time; undefined when there is none. */
export function changedAt(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs;
}

/**
 * A small file that always holds the newest text: written beside its place and renamed into it, readable by this user only.
 * One write at a time, so a disk that hangs holds one thread and nothing else; a text that comes meanwhile waits, and only the
 * newest is kept. A disk that refuses leaves the old text; the next one is tried again.
 */
export class StatusFile {
  readonly #path: string;
  #waiting: string | undefined;
  #writing: Promise<void> | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** Never throws and never waits. */
  put(text: string): void {
    this.#waiting = text;
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined;
    });
  }

  async #writeAll(): Promise<void> {
    for (let text = this.#waiting; text !== undefined; text = this.#waiting) {
      this.#waiting = undefined;
      try {
        await this.#write(text);
      } catch {
        // Full, read-only or gone: the store tells of it.
      }
    }
  }

  async #write(text: string): Promise<void> {
    const beside = `${this.#path}.new`;
    const file = await open(beside, "w", 0o600);
    try {
      await file.writeFile(text);
    } finally {
      await file.close();
    }
    await chmod(beside, 0o600); // one that was left over keeps the mode that it had
    await rename(beside, this.#path);
  }
}
