/**
 * Puts a backup in the place of data that is corrupt. For each declared path:
 *
 *   copy beside it (.NAME.restoring-ID), read back, synced ─▶ NAME becomes NAME.corrupt-RUN ─▶ the copy becomes NAME ─▶ folder synced
 *
 * All copies are complete before the first path is moved. A crash between any two renames is gone on with: what was moved aside and
 * has nothing in its place gets its copy. An error there takes all paths back to what they were, the last one first. What was
 * corrupt is kept, the newest two of each path.
 */
import { chmod, lchown, lstat, mkdir, readFile, rename, rm, statfs } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type Entry, entriesMax, type Manifest, type Root } from "./backups.ts";
import { copyTree, differs } from "./copy.driver.ts";
import { dropOldest, realOf, replaceFile, syncFolder } from "./files.driver.ts";
import { wordsOf } from "./patience.driver.ts";

/** Corrupt data that stays beside what replaced it. */
const corruptMax = 2;
/** A restore leaves at least this much of its disk free. */
const floorBytes = 16 * 1024 * 1024;

/** What is restored, and under which name the old is kept. */
export interface Restore {
  /** The backup's folder, with `copy` in it. */
  readonly folder: string;
  readonly manifest: Manifest;
  /** Short and unique to this restore; the same when it goes on. */
  readonly mark: string;
  /** `<dataDir>/restored`. */
  readonly marks: string;
  readonly wallMs: number;
}

/** What came of it. */
export interface Restored {
  readonly because: string;
  readonly movedAside: readonly string[];
}

/** A restore went wrong, and so did taking it back: some paths hold the backup, others what was there before. */
export class HalfRestored extends Error {}

/**
 * Restores, or goes on with a restore of the same mark. The workload must be down, and the backup checked. Rejects when there is no
 * room, the copy cannot be made, a path cannot be moved or `signal` aborts before the first path is moved: then all is as it was,
 * or the error is {@link HalfRestored} and says what is where.
 */
export async function restoreData(restore: Restore, signal: AbortSignal): Promise<Restored> {
  const { manifest, mark } = restore;
  const places = await Promise.all(manifest.roots.map((root) => placeOf(root, mark)));
  if (await isMarked(restore)) return result(manifest, []);
  for (const place of places) if (!(await isMoved(place))) await makeCopy(restore, place, signal);
  signal.throwIfAborted();
  const movedAside: string[] = [];
  const begun: Place[] = [];
  try {
    for (const place of places) {
      begun.unshift(place);
      if (await putInPlace(place)) movedAside.push(place.aside);
    }
    // Without it nobody would know that this data is old.
    await writeMark(restore);
  } catch (error) {
    await takeAllBack(begun, error);
    throw error;
  }
  // The data is restored; what could not be removed goes with the next restore.
  for (const { path } of places)
    await dropOldest(dirname(path), `${basename(path)}.corrupt-`, corruptMax).catch(() => undefined);
  return result(manifest, movedAside);
}

function result({ id, bytes }: Manifest, movedAside: readonly string[]): Restored {
  const kept = movedAside.length > 0 ? `; what was there is kept as ${movedAside.join(", ")}` : "";
  const locked = "restored is locked: its risk state needs an authorised release";
  return { because: `${bytes} bytes were restored from backup ${id}${kept}; ${locked}`, movedAside };
}

/** A path was moved aside and has nothing in its place: the agent died between two renames. */
export async function isHalfDone({ manifest, mark }: Pick<Restore, "manifest" | "mark">): Promise<boolean> {
  for (const root of manifest.roots) {
    const place = await placeOf(root, mark);
    const isThere = await lstat(place.path).catch(() => undefined);
    if (place.is !== "absent" && !isThere && (await isMoved(place))) return true;
  }
  return false;
}

interface Place extends Root {
  /** Real: no link is left in it. */
  readonly path: string;
  readonly copy: string;
  readonly aside: string;
}

async function placeOf(root: Root, mark: string): Promise<Place> {
  const path = await realOf(root.path);
  const copy = join(dirname(path), `.${basename(path)}.restoring-${mark}`);
  return { ...root, path, copy, aside: `${path}.corrupt-${mark}` };
}

/** It was moved aside by this restore already, so its copy was complete. */
async function isMoved({ aside }: Place): Promise<boolean> {
  return (await lstat(aside).catch(() => undefined)) !== undefined;
}

async function makeCopy({ folder, manifest }: Restore, place: Place, signal: AbortSignal): Promise<void> {
  await rm(place.copy, { recursive: true, force: true });
  if (place.is === "absent") return;
  const entries = entriesBelow(manifest.entries, place.at);
  const bytes = entries.reduce((sum, entry) => sum + (entry.is === "file" ? entry.bytes : 0), 0);
  const disk = await statfs(dirname(place.path));
  if (disk.bavail * disk.bsize < bytes + floorBytes) {
    throw new Error(`${bytes} bytes do not fit on the disk of ${place.path} beside what is there now`);
  }
  const name = basename(place.copy);
  await copyTree(join(folder, "copy", place.at), dirname(place.copy), name, Number.MAX_SAFE_INTEGER, signal);
  const problem = await differs(place.copy, entries, signal);
  if (problem) throw new Error(`the copy beside ${place.path}: ${problem}`);
  await dress(place.copy, entries);
  if (place.at === "") await dressAs(place.path, place.copy);
  await syncFolder(place.copy);
}

/** A dump says nothing of the folder itself: it is as the one that it replaces. */
async function dressAs(like: string, copy: string): Promise<void> {
  const before = await lstat(like).catch(() => undefined);
  if (before?.isDirectory())
    await dress(copy, [{ at: "", is: "folder", mode: before.mode & 0o7777, uid: before.uid, gid: before.gid }]);
}

/** Owners and modes as they were, folders last and from the inside out: one without write permission takes nothing any more. */
async function dress(copy: string, entries: readonly Entry[]): Promise<void> {
  const links = entries.filter((entry) => entry.is !== "link").slice(0, entriesMax);
  const ordered = [...links.filter(({ is }) => is === "file"), ...links.filter(({ is }) => is === "folder").reverse()];
  for (const entry of ordered) {
    const path = join(copy, entry.at);
    // Only root can give files away; without it they are the agent's own, as the workload is.
    await lchown(path, entry.uid, entry.gid).catch(() => undefined);
    await chmod(path, entry.mode);
  }
}

/** True when something was moved aside now or before. Each rename is durable before the next. */
async function putInPlace(place: Place): Promise<boolean> {
  const folder = dirname(place.path);
  if (!(await isMoved(place))) {
    const isThere = await lstat(place.path).catch(() => undefined);
    if (isThere) await rename(place.path, place.aside);
    await syncFolder(folder);
  }
  if (place.is !== "absent" && (await lstat(place.copy).catch(() => undefined))) {
    await rename(place.copy, place.path);
    await syncFolder(folder);
  }
  return isMoved(place);
}

/** Half of a restore is neither the old data nor the new. Rejects with {@link HalfRestored} where a path could not be taken back. */
async function takeAllBack(begun: readonly Place[], error: unknown): Promise<void> {
  const stuck: string[] = [];
  for (const place of begun) {
    try {
      await takeBack(place);
    } catch (again) {
      const kept = (await isMoved(place)) ? `what was there is kept as ${place.aside}` : "nothing was there";
      stuck.push(`${place.path} could not be taken back (${wordsOf(again)}), ${kept}`);
    }
  }
  if (stuck.length > 0) throw new HalfRestored(`${wordsOf(error)}; half restored: ${stuck.join("; ")}`);
}

async function takeBack(place: Place): Promise<void> {
  const [copy, now] = await Promise.all([place.copy, place.path].map((path) => lstat(path).catch(() => undefined)));
  // The copy waits for its turn no more: it is what is there now.
  if (place.is !== "absent" && !copy && now) await rename(place.path, place.copy);
  if (await isMoved(place)) await rename(place.aside, place.path);
  await syncFolder(dirname(place.path));
  await rm(place.copy, { recursive: true, force: true }).catch(() => undefined);
}

/** For people, and for whoever decides about risk: this workload's data is older than what it last knew. Never removed by the agent. */
async function writeMark({ manifest, marks, wallMs, mark }: Restore): Promise<void> {
  const { workload, id, wallMs: madeWallMs, configVersion } = manifest;
  const at = new Date(wallMs).toISOString();
  const about = {
    workload,
    backup: id,
    made_at: new Date(madeWallMs).toISOString(),
    restored_at: at,
    config_version: configVersion,
    mark,
  };
  await mkdir(marks, { recursive: true, mode: 0o700 });
  await replaceFile(join(marks, `${workload}.json`), Buffer.from(`${JSON.stringify(about, null, 2)}\n`));
}

async function isMarked({ marks, manifest, mark }: Restore): Promise<boolean> {
  const text = await readFile(join(marks, `${manifest.workload}.json`), "utf8").catch(() => "");
  return text.includes(`"mark": ${JSON.stringify(mark)}`);
}

/** The entries below `at`, with their paths from there; the thing itself has the path "". */
function entriesBelow(entries: readonly Entry[], at: string): Entry[] {
  if (at === "") return [...entries];
  return entries
    .filter((entry) => entry.at === at || entry.at.startsWith(`${at}/`))
    .map((entry) => ({ ...entry, at: entry.at.slice(at.length + 1) }));
}
