/**
 * Empties disposable folders: oldest files first, until the disk has room. Nothing is ever followed: each folder on the way is
 * opened by itself, without following links, and what is removed is named by that open folder (/proc/self/fd/N/NAME), so a folder
 * that somebody swaps for a link meanwhile leads nowhere. Each path is judged just before it goes.
 */
import { constants } from "node:fs";
import { type FileHandle, lstat, open, readdir, rmdir, unlink } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { fileDesk } from "../sensors/file-desk.driver.ts";
import type { Around } from "./around.ts";
import { tooWide } from "./authority.ts";
import { spaceOf } from "./desk.driver.ts";
import { done, failed, type Outcome, Refused, type StepContext, skipped } from "./performer.ts";
import type { Permission } from "./permission.driver.ts";

/** More old files than this are not removed in one go; the next run goes on. */
const filesMax = 50_000;
const depthMax = 64;
/** The disk is asked again after so many removals, or so many bytes: a few large files may be all that is needed. */
const askEveryFiles = 50;
const askEveryBytes = 2 ** 20;
/** A disk that has not answered by then is left alone. */
const answerMs = 1000;

/** Folders that are being emptied: on a disk that hangs that may last, and none is begun a second time meanwhile. */
const atWork = new Set<string>();

interface Found {
  readonly path: string;
  readonly bytes: number;
  readonly mtimeMs: number;
}

interface Tally {
  files: number;
  bytes: number;
  readonly refused: Set<string>;
}

/** Empties what the config calls disposable. */
export async function cleanDisposable(
  around: Around,
  permission: Permission,
  { olderThanMs, untilUsed }: { readonly olderThanMs: number; readonly untilUsed: number },
  context: StepContext,
): Promise<Outcome> {
  if (around.disposable.length === 0) return skipped("the config calls nothing disposable");
  const guards = await permission.guards();
  const tally: Tally = { files: 0, bytes: 0, refused: new Set() };
  const full: string[] = [];
  for (const root of around.disposable) {
    const against = await reasonAgainst(root, guards);
    if (against) {
      tally.refused.add(`${root}: ${against}`);
      continue;
    }
    if ((await usedOf(root)) < untilUsed) continue;
    atWork.add(root);
    try {
      await emptyRoot(root, { olderThanMs, untilUsed, nowMs: around.clock.wallMs() }, permission, context, tally);
    } finally {
      atWork.delete(root);
    }
    const used = await usedOf(root);
    if (used >= untilUsed) full.push(`the disk of ${root} is still ${percent(used)} full`);
  }
  const freed = `${tally.files} disposable files with ${tally.bytes} bytes were removed`;
  const refused = tally.refused.size > 0 ? `; left alone: ${[...tally.refused].slice(0, 3).join("; ")}` : "";
  if (full.length > 0 && tally.files === 0)
    return failed(`${full.join(", ")}, and nothing disposable is left${refused}`);
  if (tally.files === 0) return skipped(`no disk is ${percent(untilUsed)} full${refused}`);
  return done(`${freed}${full.length > 0 ? `; ${full.join(", ")}` : ""}${refused}`);
}

async function reasonAgainst(root: string, policy: Parameters<typeof tooWide>[1]): Promise<string | undefined> {
  const wide = tooWide(root, policy);
  if (wide) return wide;
  if (atWork.has(root)) return "an earlier clean-up of it has not ended";
  const flight = await fileDesk.look(root, "disposable", () => lstat(root), answerMs);
  if (flight.is === "silent") return "its disk does not answer";
  if (flight.is === "failed") return "it is not there";
  if (flight.value.isSymbolicLink()) return "it is a link, and links are not followed";
  return flight.value.isDirectory() ? undefined : "it is no folder";
}

async function emptyRoot(
  root: string,
  {
    olderThanMs,
    untilUsed,
    nowMs,
  }: { readonly olderThanMs: number; readonly untilUsed: number; readonly nowMs: number },
  permission: Permission,
  context: StepContext,
  tally: Tally,
): Promise<void> {
  const old = await filesBelow(root, nowMs - olderThanMs, context.signal);
  old.sort((a, b) => a.mtimeMs - b.mtimeMs);
  const emptied = new Set<string>();
  let sinceAsked = { files: askEveryFiles, bytes: 0 };
  for (const file of old) {
    if (context.signal.aborted) return;
    if (sinceAsked.files >= askEveryFiles || sinceAsked.bytes >= askEveryBytes) {
      if ((await usedOf(root)) < untilUsed) break;
      sinceAsked = { files: 0, bytes: 0 };
    }
    sinceAsked.files += 1;
    try {
      await permission.deed("clean_disposable", context.workload, { does: "remove", path: file.path });
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      tally.refused.add(error.message);
      continue;
    }
    if (!(await removeBelow(root, file.path, unlink))) continue;
    tally.files += 1;
    tally.bytes += file.bytes;
    sinceAsked.bytes += file.bytes;
    emptied.add(dirname(file.path));
  }
  // Folders that this has emptied, the deepest first; one that is not empty says so.
  for (const folder of [...emptied].sort((a, b) => b.length - a.length)) {
    if (folder !== root) await removeBelow(root, folder, rmdir);
  }
}

/** Regular files below a folder that were not written since. Links, other disks mounted there and what is too deep are passed over. */
async function filesBelow(root: string, sinceMs: number, signal: AbortSignal): Promise<Found[]> {
  const found: Found[] = [];
  const disk = (await lstat(root)).dev;
  const waiting = [{ folder: root, depth: 0 }];
  for (let next = waiting.pop(); next && found.length < filesMax && !signal.aborted; next = waiting.pop()) {
    const { folder, depth } = next;
    // Whoever called this folder disposable did not speak of another disk that is mounted in it.
    if ((await lstat(folder).catch(() => undefined))?.dev !== disk) continue;
    const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      const path = join(folder, entry.name);
      if (entry.isDirectory() && depth < depthMax) waiting.push({ folder: path, depth: depth + 1 });
      if (!entry.isFile()) continue;
      const stats = await lstat(path).catch(() => undefined);
      if (stats?.isFile() && stats.mtimeMs <= sinceMs) found.push({ path, bytes: stats.size, mtimeMs: stats.mtimeMs });
    }
  }
  return found;
}

/** Removes one name below `root`, with no link followed on the way. False when it could not. */
async function removeBelow(root: string, path: string, remove: (path: string) => Promise<void>): Promise<boolean> {
  const way = relative(root, path).split(sep);
  const name = way.pop();
  if (!name || way.includes("..")) return false;
  let folder: FileHandle | undefined;
  try {
    folder = await openFolder(root);
    for (const part of way) {
      const inner: FileHandle = await openFolder(`/proc/self/fd/${folder.fd}/${part}`);
      await folder.close();
      folder = inner;
    }
    await remove(`/proc/self/fd/${folder.fd}/${name}`);
    return true;
  } catch {
    return false; // gone already, not empty, not ours to remove, or a link in the way
  } finally {
    await folder?.close();
  }
}

function openFolder(path: string): Promise<FileHandle> {
  return open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
}

/** As `df` has it: of what others than root may use. */
async function usedOf(path: string): Promise<number> {
  const flight = await spaceOf(path, answerMs);
  if (flight.is === "failed") throw flight.error;
  if (flight.is === "silent") throw new Error(`the disk of ${path} does not answer`);
  const { blocks, bfree, bavail } = flight.value;
  const used = blocks - bfree;
  return used + bavail === 0 ? 1 : used / (used + bavail);
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
