import { createHash } from "node:crypto";
import { constants, type Stats } from "node:fs";
import { chmod, chown, copyFile, lstat, open, readdir, realpath, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { FileSeen } from "./versions.ts";

/** A larger config file is not kept. */
export const configFileBytesMax = 1024 * 1024;
/** A file that was changed so lately is read again at each look. */
const youngMs = 3000;
/** Rolled back contents that stay beside their file. */
const asideMax = 3;
/** More entries of a folder than this are not looked through for left-overs of ours. */
const entriesMax = 10_000;

/** A config file as it was read. */
export interface ConfigRead {
  readonly seen: FileSeen;
  /** Where it is kept, and was read just now. */
  readonly bytes?: Uint8Array;
  /** Size, times and number of the file; empty when nothing is known of it. */
  readonly key: string;
}

/**
 * What a config file holds. With `known`, a file whose size, times and number are the same is not read again. Never rejects: what
 * cannot be read is said in `seen`.
 */
export async function readConfig(path: string, known?: ConfigRead): Promise<ConfigRead> {
  const key = await keyOf(path);
  if (known && key !== "" && known.key === key) return { seen: known.seen, key };
  return { ...(await readNow(path)), key };
}

/** A write within the same moment as another, to the same size, would be missed: a file that is that young has no key yet. */
async function keyOf(path: string): Promise<string> {
  const stats = await stat(path).catch(() => undefined);
  if (!stats || Date.now() - stats.mtimeMs < youngMs) return "";
  return `${stats.dev}:${stats.ino}:${stats.size}:${stats.mtimeMs}:${stats.ctimeMs}`;
}

async function readNow(path: string): Promise<Pick<ConfigRead, "seen" | "bytes">> {
  try {
    // Without O_NONBLOCK a FIFO in its place would wait for ever.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = await file.stat();
      if (!stats.isFile()) return { seen: { is: "unkept", mark: "it is not a file" } };
      const bytes = await readUpTo(file, configFileBytesMax + 1);
      if (bytes.length > configFileBytesMax) {
        return { seen: { is: "unkept", mark: `${stats.size} bytes at ${stats.mtimeMs}` } };
      }
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      return { seen: { is: "file", sha256, bytes: bytes.length }, bytes };
    } finally {
      await file.close();
    }
  } catch (error) {
    return { seen: unreadable(error) };
  }
}

/** What is seen of a file that answers with an error. */
export function unreadable(error: unknown): FileSeen {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOENT" || code === "ENOTDIR") return { is: "absent" };
  return { is: "unkept", mark: code ?? "it cannot be read" };
}

async function readUpTo(file: Awaited<ReturnType<typeof open>>, max: number): Promise<Uint8Array> {
  const buffer = Buffer.alloc(max);
  let length = 0;
  while (length < max) {
    const { bytesRead } = await file.read(buffer, length, max - length, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return Uint8Array.prototype.slice.call(buffer, 0, length);
}

/** The path without symlinks; of what is not there yet, its nearest folder that is, and the rest. */
export async function realOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch {
    const above = dirname(path);
    return above === path ? path : join(await realOf(above), basename(path));
  }
}

/**
 * Writes a config file back: `bytes`, or nothing at all when undefined. What is there now stays beside it as .FILE.bad-`mark`, of
 * which the newest three are kept; with the dot, for a program that includes a whole folder (`sites-enabled/*`) would read it
 * again. Whole or not at all, durable on return, with the owner and mode of what was there; a symlink stays one. Rejects with
 * the system's error.
 */
export async function writeBack(path: string, bytes: Uint8Array | undefined, mark: string): Promise<void> {
  const real = await realOf(path);
  const before = await stat(real).catch(() => undefined);
  if (before) await keepAside(real, mark, bytes === undefined);
  if (bytes !== undefined) await replaceFile(real, bytes, before);
  await syncFolder(dirname(real));
}

async function keepAside(real: string, mark: string, move: boolean): Promise<void> {
  const folder = dirname(real);
  const prefix = `.${basename(real)}.bad-`;
  const aside = join(folder, `${prefix}${mark}`);
  if (move) await rename(real, aside);
  else await copyFile(real, aside);
  await dropOldest(folder, prefix, asideMax);
}

/** Writes a file whole or not at all; durable after a sync of its folder. */
export async function replaceFile(
  path: string,
  bytes: Uint8Array,
  like?: Pick<Stats, "mode" | "uid" | "gid">,
): Promise<void> {
  const fresh = join(dirname(path), `.${basename(path)}.blueflame-new`);
  await rm(fresh, { force: true });
  const file = await open(fresh, "wx", 0o600);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  if (like) await takeOver(fresh, like);
  await rename(fresh, path);
}

/** Owner first: a change of owner may clear bits of the mode. Only root can give files away; others own them already, mostly. */
async function takeOver(path: string, { mode, uid, gid }: Pick<Stats, "mode" | "uid" | "gid">): Promise<void> {
  await chown(path, uid, gid).catch(() => undefined);
  await chmod(path, mode & 0o7777);
}

/** Makes what happened in a folder durable over a power cut; where folders cannot be synced, it is not. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r").catch(() => undefined);
  if (!folder) return;
  try {
    await folder.sync().catch(() => undefined);
  } finally {
    await folder.close();
  }
}

/** The marks that we give: a short hash, or the number of a version. */
const ownMark = /^[0-9a-f]{8,12}$/;

/**
 * Keeps the newest `keep` of our own left-overs, named `prefix` and a mark. What else begins so was named by a person, and stays:
 * `data.corrupt-keep-for-lawyers`.
 */
export async function dropOldest(folder: string, prefix: string, keep: number): Promise<string[]> {
  const isOwn = (name: string) => name.startsWith(prefix) && ownMark.test(name.slice(prefix.length));
  const names = (await readdir(folder).catch(() => [])).slice(0, entriesMax).filter(isOwn);
  if (names.length <= keep) return [];
  const aged: { path: string; ms: number }[] = [];
  for (const name of names) {
    const path = join(folder, name);
    const stats = await lstat(path).catch(() => undefined);
    if (stats) aged.push({ path, ms: stats.ctimeMs });
  }
  const gone = aged.sort((a, b) => b.ms - a.ms).slice(keep);
  for (const { path } of gone) await rm(path, { recursive: true, force: true });
  return gone.map(({ path }) => path);
}
