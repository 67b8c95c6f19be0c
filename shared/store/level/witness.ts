import { constants, readFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { crc32 } from "node:zlib";

/**
 * A file beside the store with the number of a group that was on the disk: the store must have it at the next opening. It is
 * written behind each synced group and never synced itself, so it may lag, and never runs ahead; one that cannot be written or
 * read witnesses nothing.
 */
export class Witness {
  readonly #path: string;
  #file: FileHandle | undefined;
  #next: number | undefined;
  #writing: Promise<void> | undefined;

  constructor(path: string) {
    this.#path = path;
  }
  /** Group `n` is on the disk. Returns at once; of several the last is written. */
  note(n: number): void {
    this.#next = n;
    this.#writing ??= this.#write();
  }
  async close(): Promise<void> {
    await this.#writing;
    await this.#file?.close().catch(() => undefined);
    this.#file = undefined;
  }
  async #write(): Promise<void> {
    while (this.#next !== undefined) {
      const text = lineOf(this.#next);
      this.#next = undefined;
      try {
        const file = this.#file ?? (await open(this.#path, constants.O_RDWR | constants.O_CREAT, 0o600));
        this.#file = file;
        await file.write(text, 0);
      } catch {
        // A full or failing disk: the store itself says so.
      }
    }
    this.#writing = undefined;
  }
}

/** Undefined when there is none, or none that is whole. */
export function readWitness(path: string): number | undefined {
  try {
    const text = readFileSync(path, "latin1");
    const n = Number.parseInt(text.slice(0, 14), 16);
    return lineOf(n) === text ? n : undefined;
  } catch {
    return undefined;
  }
}

function lineOf(n: number): string {
  const digits = n.toString(16).padStart(14, "0");
  return `${digits} ${crc32(digits).toString(16).padStart(8, "0")}\n`;
}
