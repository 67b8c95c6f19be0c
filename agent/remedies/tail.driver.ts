import { constants, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";

/** The size of a workload's output now; undefined when there is none. Looks at once: its process has just been started. */
export function outputSize(outputDir: string, workload: string): number | undefined {
  return statSync(join(outputDir, `${workload}.log`), { throwIfNoEntry: false })?.size;
}

/**
 * The last `bytes` of a workload's output as lines. With `since`, a size of the file, only what came after it: what an earlier life
 * said is no sign of what this one died of. Without it, over its newest rotation where the file is short. Never rejects: what is
 * not there has no lines.
 */
export async function lastLines(outputDir: string, workload: string, bytes: number, since?: number): Promise<string[]> {
  const path = join(outputDir, `${workload}.log`);
  const now = await tail(path, bytes, since);
  const more = since === undefined && now.length < bytes;
  const before = more ? await tail(`${path}.1`, bytes - now.length, undefined) : Buffer.alloc(0);
  const text = Buffer.concat([before, now]).toString("utf8");
  // The first line may be cut.
  const lines = text.split("\n");
  return (text.length >= bytes ? lines.slice(1) : lines).map((line) => line.trimEnd()).filter((line) => line !== "");
}

async function tail(path: string, bytes: number, since: number | undefined): Promise<Buffer> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const { size } = await file.stat();
      // A file that is smaller than it was has been rotated meanwhile: all of it is newer.
      const first = since === undefined || since > size ? 0 : since;
      const from = Math.max(first, size - bytes);
      const buffer = Buffer.alloc(size - from);
      const { bytesRead } = await file.read(buffer, 0, buffer.length, from);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch {
    return Buffer.alloc(0);
  }
}
