import { appendFile, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { logOf, type Part } from "./parts.ts";

/** One log's size before it is rotated, and how many rotated ones are kept: at most 40 MiB for a part. */
const bytesMax = 10 * 1024 * 1024;
const filesKept = 3;
/** Lines that wait for the disk; beyond it the oldest go, and a line says how many. */
const linesMax = 2000;

/** One line of a part's log; secrets never stand in it. */
export type LogLine = Readonly<Record<string, unknown>>;

/** A part's log: JSON lines in a file of their own (SYN-8). Never throws, never waits; whoever opened it closes it. */
export class PartLog {
  readonly #path: string;
  readonly #part: Part;
  #waiting: string[] = [];
  #dropped = 0;
  #writing: Promise<void> | undefined;

  /** The folder of the logs exists below `dataDir`. */
  constructor(dataDir: string, part: Part) {
    this.#path = join(dataDir, logOf(part));
    this.#part = part;
  }

  write(wallMs: number, line: LogLine): void {
    this.#waiting.push(JSON.stringify({ time: new Date(wallMs).toISOString(), part: this.#part, ...line }));
    if (this.#waiting.length > linesMax) {
      this.#waiting.shift();
      this.#dropped += 1;
    }
    this.#writing ??= this.#drain();
  }

  /** Resolves when what was written is with the disk, or the disk has refused it. */
  async close(): Promise<void> {
    await this.#writing;
  }

  async #drain(): Promise<void> {
    // Lines of one moment go in one write.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const lines = this.#waiting;
      this.#waiting = [];
      if (this.#dropped > 0) lines.push(JSON.stringify({ part: this.#part, droppedLines: this.#dropped }));
      this.#dropped = 0;
      try {
        await this.#rotate();
        await appendFile(this.#path, `${lines.join("\n")}\n`, { mode: 0o600 });
      } catch {
        // A full or dead disk loses lines; the store keeps what must not be lost.
      }
    }
    this.#writing = undefined;
  }

  async #rotate(): Promise<void> {
    const size = await stat(this.#path).then(
      (found) => found.size,
      () => 0,
    );
    if (size < bytesMax) return;
    for (let n = filesKept - 1; n >= 1; n--)
      await rename(`${this.#path}.${n}`, `${this.#path}.${n + 1}`).catch(() => undefined);
    await rename(this.#path, `${this.#path}.1`);
  }
}
