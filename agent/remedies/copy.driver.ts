import { createHash } from "node:crypto";
import { constants, type Stats } from "node:fs";
import { type FileHandle, lstat, mkdir, open, opendir, readlink, symlink } from "node:fs/promises";
import { join } from "node:path";
import { type Entry, entriesMax } from "./backups.ts";

const chunkBytes = 256 * 1024;
/** What is written anew while it is copied is copied again, so often. */
const triesMax = 3;

/** How the system says that something else is there than what was copied, or nothing. */
const otherThere = new Set(["ENOENT", "ENOTDIR", "EISDIR", "ELOOP", "EINVAL", "ENXIO"]);

/** What was copied. */
export interface Copied {
  readonly entries: readonly Entry[];
  readonly bytes: number;
  /** Sockets, pipes and devices. */
  readonly passedOver: number;
}

interface Course {
  readonly signal: AbortSignal;
  readonly bytesMax: number;
  readonly entries: Entry[];
  bytes: number;
  passedOver: number;
}

/**
 * Copies a file or folder to `to/at`, which must not be there, for this user alone; with `to` undefined it only describes what is
 * there. Symlinks are copied as links and never followed. A file that is only appended to is copied as it was when its turn came; one that is rewritten meanwhile is copied
 * again. Rejects when it is larger than `bytesMax`, has too many entries, keeps changing, or when `signal` aborts.
 */
export async function copyTree(
  from: string,
  to: string | undefined,
  at: string,
  bytesMax: number,
  signal: AbortSignal,
): Promise<Copied> {
  const course: Course = { signal, bytesMax, entries: [], bytes: 0, passedOver: 0 };
  const waiting: { from: string; at: string }[] = [{ from, at }];
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    signal.throwIfAborted();
    if (course.entries.length >= entriesMax) throw new Error(`more than ${entriesMax} files and folders`);
    const stats = await lstat(next.from);
    if (stats.isDirectory()) {
      if (to) await mkdir(join(to, next.at), { recursive: true, mode: 0o700 });
      course.entries.push({ at: next.at, is: "folder", mode: stats.mode & 0o7777, uid: stats.uid, gid: stats.gid });
      for await (const { name } of await opendir(next.from)) {
        if (waiting.length > entriesMax) throw new Error(`more than ${entriesMax} files and folders`);
        waiting.push({ from: join(next.from, name), at: join(next.at, name) });
      }
    } else if (stats.isSymbolicLink()) {
      const target = await readlink(next.from);
      if (to) await symlink(target, join(to, next.at));
      course.entries.push({ at: next.at, is: "link", target });
    } else if (stats.isFile()) await copyOne(next.from, to && join(to, next.at), next.at, course);
    else course.passedOver += 1;
  }
  return course;
}

async function copyOne(from: string, to: string | undefined, at: string, course: Course): Promise<void> {
  for (let tries = 1; ; tries++) {
    // O_NOFOLLOW: it was no link a moment ago. O_NONBLOCK: it was no FIFO either.
    const source = await open(from, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const before = await source.stat();
      if (course.bytes + before.size > course.bytesMax)
        throw new Error(`more than the ${course.bytesMax} bytes that are allowed`);
      const sha256 = await pourInto(to, source, before.size, course.signal, tries === 1 ? "wx" : "w");
      if (await stillTrue(source, before, sha256, course.signal)) {
        const { size: bytes, mode, uid, gid } = before;
        course.entries.push({ at, is: "file", bytes, sha256, mode: mode & 0o7777, uid, gid });
        course.bytes += bytes;
        return;
      }
    } finally {
      await source.close();
    }
    if (tries >= triesMax) throw new Error(`${from} is written anew while it is copied; declare a \`dump\` for it`);
  }
}

async function pourInto(
  to: string | undefined,
  source: FileHandle,
  bytes: number,
  signal: AbortSignal,
  how: "wx" | "w",
) {
  if (to === undefined) return pour(source, bytes, signal);
  const target = await open(to, how, 0o600);
  try {
    const sha256 = await pour(source, bytes, signal, target);
    await target.datasync();
    return sha256;
  } finally {
    await target.close();
  }
}

/** Untouched since, or only appended to: then its beginning is what was copied. */
async function stillTrue(source: FileHandle, before: Stats, sha256: string, signal: AbortSignal): Promise<boolean> {
  const after = await source.stat();
  if (after.mtimeMs === before.mtimeMs && after.size === before.size) return true;
  if (after.size < before.size) return false;
  return (await pour(source, before.size, signal)) === sha256;
}

/** Reads the first `bytes` of a file, into another one where one is given; its SHA-256. A file that ends early has changed. */
async function pour(source: FileHandle, bytes: number, signal: AbortSignal, target?: FileHandle): Promise<string> {
  const hash = createHash("sha256");
  const chunk = Buffer.allocUnsafe(Math.min(chunkBytes, Math.max(1, bytes)));
  for (let at = 0; at < bytes; ) {
    signal.throwIfAborted();
    const { bytesRead } = await source.read(chunk, 0, Math.min(chunk.length, bytes - at), at);
    if (bytesRead === 0) break;
    const read = chunk.subarray(0, bytesRead);
    hash.update(read);
    if (target) await target.writeFile(read);
    at += bytesRead;
  }
  return hash.digest("hex");
}

/**
 * Reads a copy back; what is not as it was written, in one sentence. Undefined: all is there and right. Rejects when that could not
 * be found out: a machine without descriptors or memory, or a disk that fails, says nothing about what was written.
 */
export async function differs(
  copy: string,
  entries: readonly Entry[],
  signal: AbortSignal,
): Promise<string | undefined> {
  for (const entry of entries) {
    signal.throwIfAborted();
    const path = join(copy, entry.at);
    try {
      if (entry.is === "link") {
        if ((await readlink(path)) !== entry.target) return `${entry.at} points elsewhere`;
      } else if (entry.is === "folder") {
        if (!(await lstat(path)).isDirectory()) return `${entry.at} is no folder`;
      } else if ((await sumOf(path, entry.bytes, signal)) !== entry.sha256) return `${entry.at} is not what was copied`;
    } catch (error) {
      if (signal.aborted || !otherThere.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
      return `${entry.at} cannot be read: ${(error as Error).message}`;
    }
  }
  return undefined;
}

/** The SHA-256 of a file that has exactly so many bytes; empty when it has another size. */
async function sumOf(path: string, bytes: number, signal: AbortSignal): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    return (await file.stat()).size === bytes ? await pour(file, bytes, signal) : "";
  } finally {
    await file.close();
  }
}
