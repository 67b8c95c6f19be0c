import { type FileHandle, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { StringDecoder } from "node:string_decoder";
import { setTimeout as pause } from "node:timers/promises";
import { Fault } from "@blueflame/shared/errors/fault.ts";

const chunkBytes = 64 * 1024;
/** A line longer than this is handed out in pieces, so that output without line breaks needs no memory. */
const lineCharsMax = 64 * 1024;
/** How much of what was read last is compared to tell whether the file is still the one that was read. */
const markBytes = 1024;
/** Rotated files that are looked through; the agent keeps at most 100. */
const rotatedMax = 100;
const lookEveryMs = 200;

/** The workloads that have output in this folder, by name; empty when there is no folder yet. */
export async function workloadsWithOutput(folder: string): Promise<string[]> {
  const files = await readdir(folder).catch(() => []);
  return files.flatMap((file) => (file.endsWith(".log") ? [file.slice(0, -".log".length)] : [])).sort();
}

/** The last `count` lines of a workload's output, oldest first, over its rotated files; and where its current file ends. */
export async function lastLines(
  folder: string,
  workload: string,
  count: number,
): Promise<{ lines: string[]; end: Place }> {
  const current = join(folder, `${workload}.log`);
  const end = await endOf(current);
  let text = "";
  for (let n = 0; n <= rotatedMax && newlines(text) <= count; n += 1) {
    const older = await endText(
      n === 0 ? current : `${current}.${n}`,
      count - newlines(text),
      n === 0 ? end.offset : undefined,
    );
    if (older === undefined) break;
    text = older + text;
  }
  const lines = text.split("\n");
  const rest = lines.pop();
  if (rest !== undefined && rest !== "") lines.push(rest);
  return { lines: count === 0 ? [] : lines.slice(-count), end };
}

/** A place in a file, with the bytes before it to recognise it by. */
export interface Place {
  readonly offset: number;
  readonly mark: Buffer;
}

/**
 * Hands out each line written behind `from`, until `stop`. Goes over a rotation by rename as well as by copy and truncate: what
 * was written before it is read from the rotated files first. `lost` is told when these are gone already. Lines that come
 * between the agent's copy and its truncation are nowhere, and so cannot be shown (see supervise/output.driver.ts).
 */
export async function follow(
  folder: string,
  workload: string,
  from: Place,
  sink: { readonly line: (line: string) => void; readonly lost: () => void },
  stop: AbortSignal,
): Promise<void> {
  const current = join(folder, `${workload}.log`);
  const cut = lineCutter(sink.line);
  let at = from;
  while (!stop.aborted) {
    at = await readOn(current, at, cut, sink.lost);
    await pause(lookEveryMs, undefined, { signal: stop }).catch(() => {});
  }
}

/** Reads what is new, rotated files included, and returns the new place. */
async function readOn(current: string, at: Place, take: (bytes: Buffer) => void, lost: () => void): Promise<Place> {
  const file = await openOrNothing(current);
  if (file === undefined) return at;
  try {
    if (await continues(file, at)) return await readFrom(file, at, take);
    const found = await rotatedPlace(current, at);
    if (found === 0) lost();
    for (let n = found; n >= 1; n -= 1) {
      const rotated = await openOrNothing(`${current}.${n}`);
      if (rotated === undefined) continue;
      await readFrom(rotated, n === found ? at : start, take).finally(() => rotated.close());
    }
    return await readFrom(file, start, take);
  } finally {
    await file.close();
  }
}

const start: Place = { offset: 0, mark: Buffer.alloc(0) };

/** The number of the newest rotated file that `at` is a place of; 0 when none is. */
async function rotatedPlace(current: string, at: Place): Promise<number> {
  for (let n = 1; n <= rotatedMax; n += 1) {
    const rotated = await openOrNothing(`${current}.${n}`);
    if (rotated === undefined) return 0;
    const itIs = await continues(rotated, at).finally(() => rotated.close());
    if (itIs) return n;
  }
  return 0;
}

/** True when the file still has, just before the place, what was read there. */
async function continues(file: FileHandle, at: Place): Promise<boolean> {
  if (at.offset === 0) return true;
  const there = Buffer.alloc(at.mark.length);
  const { bytesRead } = await file.read(there, 0, there.length, at.offset - at.mark.length);
  return bytesRead === there.length && there.equals(at.mark);
}

async function readFrom(file: FileHandle, at: Place, take: (bytes: Buffer) => void): Promise<Place> {
  let { offset, mark } = at;
  for (;;) {
    const chunk = Buffer.alloc(chunkBytes);
    const { bytesRead } = await file.read(chunk, 0, chunkBytes, offset);
    if (bytesRead === 0) return { offset, mark };
    const bytes = chunk.subarray(0, bytesRead);
    take(bytes);
    offset += bytesRead;
    mark = Buffer.from(Buffer.concat([mark, bytes]).subarray(-markBytes));
  }
}

async function endOf(path: string): Promise<Place> {
  const file = await openOrNothing(path);
  if (file === undefined) return start;
  try {
    const offset = (await file.stat()).size;
    const mark = Buffer.alloc(Math.min(markBytes, offset));
    await file.read(mark, 0, mark.length, offset - mark.length);
    return { offset, mark };
  } finally {
    await file.close();
  }
}

/** The file's end with at least `count` line breaks, or all of it; undefined when there is no such file. */
async function endText(path: string, count: number, size: number | undefined): Promise<string | undefined> {
  const file = await openOrNothing(path);
  if (file === undefined) return undefined;
  try {
    let offset = size ?? (await file.stat()).size;
    let bytes = Buffer.alloc(0);
    // One line break more than asked for: it ends the line before.
    for (let breaks = 0; offset > 0 && breaks <= count; ) {
      const chunk = Buffer.alloc(Math.min(chunkBytes, offset));
      offset -= chunk.length;
      const { bytesRead } = await file.read(chunk, 0, chunk.length, offset);
      const read = chunk.subarray(0, bytesRead);
      for (const byte of read) if (byte === 10) breaks += 1;
      bytes = Buffer.concat([read, bytes]);
    }
    return bytes.toString("utf8");
  } finally {
    await file.close();
  }
}

async function openOrNothing(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new Fault("DATA_DIR_UNUSABLE", `cannot read '${path}': ${(error as Error).message}`, { cause: error });
  }
}

/** Cuts bytes into lines; what has no line break yet waits for it, up to a bound. */
function lineCutter(line: (line: string) => void): (bytes: Buffer) => void {
  const decoder = new StringDecoder("utf8");
  let rest = "";
  return (bytes) => {
    const lines = (rest + decoder.write(bytes)).split("\n");
    rest = lines.pop() ?? "";
    for (const whole of lines) line(whole);
    if (rest.length < lineCharsMax) return;
    line(rest);
    rest = "";
  };
}

function newlines(text: string): number {
  let count = 0;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) count += 1;
  return count;
}
