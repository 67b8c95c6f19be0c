import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";

/** The last `bytes` of a workload's output as lines, over its newest rotation where the file is short. Never rejects: what is not there has no lines. */
export async function lastLines(outputDir: string, workload: string, bytes: number): Promise<string[]> {
  const path = join(outputDir, `${workload}.log`);
  const now = await tail(path, bytes);
  const before = now.length < bytes ? await tail(`${path}.1`, bytes - now.length) : Buffer.alloc(0);
  const text = Buffer.concat([before, now]).toString("utf8");
  // The first line may be cut.
  const lines = text.split("\n");
  return (text.length >= bytes ? lines.slice(1) : lines).map((line) => line.trimEnd()).filter((line) => line !== "");
}

async function tail(path: string, bytes: number): Promise<Buffer> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const { size } = await file.stat();
      const from = Math.max(0, size - bytes);
      const buffer = Buffer.alloc(Math.min(size, bytes));
      const { bytesRead } = await file.read(buffer, 0, buffer.length, from);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch {
    return Buffer.alloc(0);
  }
}
