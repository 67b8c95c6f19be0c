import { closeSync, openSync, readFileSync, readSync } from "node:fs";

/** Most files of /proc and of a cgroup are far smaller; a larger one is read the slow way. */
const buffer = Buffer.allocUnsafe(16_384);

/**
 * The text of a file of /proc or of a cgroup, which is memory and never waits for a disk; undefined when it is gone or not ours
 * to read. Half as dear as readFile: fifty workloads are read every few seconds.
 */
export function kernelText(path: string): string | undefined {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch {
    return undefined;
  }
  try {
    return textOf(file, path);
  } catch {
    return undefined; // It ended while it was read.
  } finally {
    closeSync(file);
  }
}

/** The kernel hands some files out in pieces of 4 KiB, cgroup.procs among them: a piece that may not be the last is no whole. */
function textOf(file: number, path: string): string {
  const length = readSync(file, buffer, 0, buffer.length, 0);
  return length < pieceBytes - lineMax ? buffer.toString("latin1", 0, length) : readFileSync(path, "latin1");
}
const pieceBytes = 4096;
const lineMax = 128;

/** Descriptors kept by this process; files beyond it are opened at each look. */
const keptMax = 1024;
let kept = 0;

/**
 * A file of the kernel that is read again and again: kept open it costs a third. What its descriptor led to may end and come
 * again under the same path (a cgroup that is made anew): then it is opened anew. Whoever made it closes it.
 */
export class KernelFile {
  readonly #path: string;
  #file: number | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** As {@link kernelText}. */
  text(): string | undefined {
    const open = this.#file !== undefined;
    const text = this.#read();
    if (text !== undefined || !open) return text;
    this.close();
    return this.#read();
  }

  close(): void {
    if (this.#file === undefined) return;
    closeSync(this.#file);
    this.#file = undefined;
    kept -= 1;
  }

  #read(): string | undefined {
    if (this.#file === undefined && kept >= keptMax) return kernelText(this.#path);
    try {
      if (this.#file === undefined) {
        this.#file = openSync(this.#path, "r");
        kept += 1;
      }
      return textOf(this.#file, this.#path);
    } catch {
      return undefined;
    }
  }
}

/** Bytes in one page of memory of this machine, from the auxiliary vector (AT_PAGESZ, getauxval(3)); 4 KiB where there is none. */
export const pageBytes = ((): number => {
  try {
    const vector = readFileSync("/proc/self/auxv");
    for (let at = 0; at + 16 <= vector.length; at += 16)
      if (vector.readBigUInt64LE(at) === 6n) return Number(vector.readBigUInt64LE(at + 8));
  } catch {
    // another system
  }
  return 4096;
})();
