import { statSync } from "node:fs";
import { join } from "node:path";
import { readBytes } from "../sensors/bounded-file.driver.ts";
import { fileDesk } from "../sensors/file-desk.driver.ts";

/** The size of a workload's output now; undefined when there is none. Looks at once: its process has just been started. */
export function outputSize(outputDir: string, workload: string): number | undefined {
  return statSync(join(outputDir, `${workload}.log`), { throwIfNoEntry: false })?.size;
}

/**
 * The last `bytes` of a workload's output as lines. With `since`, a size of the file, only what came after it: what an earlier life
 * said is no sign of what this one died of. Without it, over its newest rotation where the file is short. What is not there has no
 * lines; undefined: its disk does not answer within `waitMs` for each file. Never rejects.
 */
export async function lastLines(
  outputDir: string,
  workload: string,
  bytes: number,
  waitMs: number,
  since?: number,
): Promise<string[] | undefined> {
  const path = join(outputDir, `${workload}.log`);
  const end = await endOf(path, bytes, waitMs);
  const now = end && newer(end, since);
  const more = now && since === undefined && now.length < bytes;
  const older = more ? await endOf(`${path}.1`, bytes, waitMs) : nothing;
  if (!now || !older) return undefined;
  const before = more ? older.bytes.subarray(-(bytes - now.length)) : nothing.bytes;
  const text = Buffer.concat([before, now]).toString("utf8");
  // The first line may be cut.
  const lines = text.split("\n");
  return (text.length >= bytes ? lines.slice(1) : lines).map((line) => line.trimEnd()).filter((line) => line !== "");
}

interface End {
  readonly bytes: Buffer;
  /** Of the whole file. */
  readonly size: number;
}
const nothing: End = { bytes: Buffer.alloc(0), size: 0 };

/** Undefined: its disk does not answer. */
async function endOf(path: string, bytes: number, waitMs: number): Promise<End | undefined> {
  const read = async ({ size }: { readonly size: number }): Promise<End> => {
    const from = Math.max(0, size - bytes);
    return { bytes: await readBytes(path, from, size - from), size };
  };
  const flight = await fileDesk.look(path, `end ${bytes}`, read, waitMs);
  if (flight.is === "silent") return undefined;
  return flight.is === "answered" ? flight.value : nothing;
}

/** A file that is smaller than it was has been rotated meanwhile: all of it is newer. */
function newer({ bytes, size }: End, since = 0): Buffer {
  const isOlder = since > size ? 0 : Math.max(0, since - (size - bytes.length));
  return bytes.subarray(isOlder);
}
