import { close, constants, open, read } from "node:fs";
import { open as openFile } from "node:fs/promises";
import { type FileDesk, fileDesk } from "./file-desk.driver.ts";

/** Documents that are larger are refused: the agent has a bound on its own memory. */
export const documentBytesMax = 1024 * 1024;
/** A look for people and diagnosis: longer than this, and the disk is taken for dead. */
const tailWaitMs = 1000;

/** Opening a pipe that nobody writes to would never return; this way it does, and reading it fails. */
const readOnly = constants.O_RDONLY | constants.O_NONBLOCK;

/**
 * The text of a whole file. Rejects with a clause for people when it has more than `bytesMax`, and when it is a pipe, a device
 * or a folder.
 */
export async function readText(path: string, bytesMax = documentBytesMax): Promise<string> {
  const file = await openFile(path, readOnly);
  try {
    const stats = await file.stat();
    if (!stats.isFile()) throw new Error("it is no regular file");
    if (stats.size > bytesMax) throw new Error(`it has ${stats.size} bytes, at most ${bytesMax} are read`);
    const bytes = Buffer.allocUnsafe(stats.size + 1);
    let filled = 0;
    for (let read = -1; read !== 0 && filled < bytes.length; filled += read)
      read = (await file.read(bytes, filled, bytes.length - filled, filled)).bytesRead;
    if (filled > stats.size) throw new Error("it grew while it was read");
    return bytes.toString("utf8", 0, filled);
  } finally {
    await file.close();
  }
}

/**
 * Up to `bytesMax` bytes from `from` on, in one read. Half as dear as fs/promises: the output of fifty workloads is read every
 * few seconds. Rejects for a pipe, which has no positions, and for a folder.
 */
export function readBytes(path: string, from: number, bytesMax: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    open(path, readOnly, (unopened, file) => {
      if (unopened) return reject(unopened);
      read(file, Buffer.allocUnsafe(bytesMax), 0, bytesMax, from, (unread, length, bytes) => {
        close(file, () => (unread ? reject(unread) : resolve(bytes.subarray(0, length))));
      });
    });
  });
}

/**
 * The last whole lines of a file, at most `maxBytes`; empty when there is none, or when its disk does not answer within a
 * second. Never rejects.
 */
export async function tailOf(path: string, maxBytes = 4096, desk: FileDesk = fileDesk): Promise<string> {
  const lastLines = async (size: number) => {
    const bytes = await readBytes(path, Math.max(0, size - maxBytes), maxBytes);
    const text = bytes.toString("utf8");
    // The first line is cut in two unless the file begins here.
    return size > maxBytes ? text.slice(text.indexOf("\n") + 1) : text;
  };
  const flight = await desk.look(path, `tail ${maxBytes}`, ({ size }) => lastLines(size), tailWaitMs);
  return flight.is === "answered" ? flight.value : "";
}
