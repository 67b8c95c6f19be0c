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
    const length = readSync(file, buffer, 0, buffer.length, 0);
    return length < buffer.length ? buffer.toString("latin1", 0, length) : readFileSync(path, "latin1");
  } catch {
    return undefined; // It ended while it was read.
  } finally {
    closeSync(file);
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
