import { constants, type FileHandle, open } from "node:fs/promises";
import { type FileDesk, fileDesk } from "./file-desk.driver.ts";

/** Documents that are larger are refused: the agent has a bound on its own memory. */
export const documentBytesMax = 1024 * 1024;
/** A look for people and diagnosis: longer than this, and the disk is taken for dead. */
const tailWaitMs = 1000;

/**
 * Bytes of a regular file. A pipe, a device or a folder is refused before anything is read, and opening one does not wait:
 * the open of a pipe that nobody writes to would never return. Rejects with a clause for people.
 */
async function reading<T>(path: string, read: (file: FileHandle, size: number) => Promise<T>): Promise<T> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stats = await file.stat();
    if (!stats.isFile()) throw new Error("it is no regular file");
    return await read(file, stats.size);
  } finally {
    await file.close();
  }
}

/** The text of a whole file. Rejects when it has more than `bytesMax`. */
export function readText(path: string, bytesMax = documentBytesMax): Promise<string> {
  return reading(path, async (file, size) => {
    if (size > bytesMax) throw new Error(`it has ${size} bytes, at most ${bytesMax} are read`);
    const bytes = await readSlice(file, 0, Math.min(size + 1, bytesMax + 1));
    if (bytes.length > bytesMax) throw new Error(`it grew beyond ${bytesMax} bytes while it was read`);
    return bytes.toString("utf8");
  });
}

/** At most `bytesMax` bytes from `from` on; fewer at the end of the file. */
export function readBytes(path: string, from: number, bytesMax: number): Promise<Buffer> {
  return reading(path, (file) => readSlice(file, from, bytesMax));
}

async function readSlice(file: FileHandle, from: number, bytesMax: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(bytesMax);
  let filled = 0;
  while (filled < bytesMax) {
    const { bytesRead } = await file.read(bytes, filled, bytesMax - filled, from + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

/**
 * The last whole lines of a file, at most `maxBytes`; empty when there is none, or when its disk does not answer within a
 * second. Never rejects.
 */
export async function tailOf(path: string, maxBytes = 4096, desk: FileDesk = fileDesk): Promise<string> {
  const read = async (size: number) => {
    const bytes = await readBytes(path, Math.max(0, size - maxBytes), maxBytes);
    const text = bytes.toString("utf8");
    // The first line is cut in two unless the file begins here.
    return size > maxBytes ? text.slice(text.indexOf("\n") + 1) : text;
  };
  const flight = await desk.look(path, `tail ${maxBytes}`, ({ size }) => read(size), tailWaitMs);
  return flight.is === "answered" ? flight.value : "";
}
