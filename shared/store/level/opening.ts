import { closeSync, cpSync, fsyncSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { Level } from "level";
import { Fault, isFault } from "../../errors/fault.ts";
import { syncFolder } from "../folder.ts";

/** The library's handle, as this folder uses it: text keys in byte order, values as bytes. */
export type Handle = Level<string, Uint8Array>;

/** How much memory a store may use; what is not given is LevelDB's default. */
export interface Sizes {
  readonly cacheBytes?: number;
  readonly writeBufferBytes?: number;
}
/** Where the parts of a store lie. `path` is LevelDB's own folder; nothing else may touch what is in it. */
export interface Place {
  readonly path: string;
  readonly lock: string;
  /** Exists once the store was made: without it nobody could tell a lost store from a first run. */
  readonly marker: string;
  /** Says how far the store must go. */
  readonly witness: string;
}
export function placeOf(path: string): Place {
  return { path, lock: `${path}.lock`, marker: `${path}.made`, witness: `${path}.witness` };
}

/** LevelDB's code behind an error of the library: its errors on open carry the real one as their cause. */
export function levelCode(error: unknown): string {
  for (let at = error; at instanceof Error; at = at.cause) {
    const code = (at as NodeJS.ErrnoException).code;
    if (code !== undefined && code !== "LEVEL_DATABASE_NOT_OPEN") return code;
  }
  return "";
}

/** The layout of keys and values of a store whose opener names none. */
export const format = 1;
/** A store that breaks again after so many repairs is left as it is: copies must not fill the disk. */
export const damagedMax = 3;

async function openHandle(path: string, createIfMissing: boolean, sizes: Sizes): Promise<Handle> {
  const handle: Handle = new Level(path, { keyEncoding: "utf8", valueEncoding: "view" });
  await handle.open({
    createIfMissing,
    ...(sizes.cacheBytes === undefined ? {} : { cacheSize: sizes.cacheBytes }),
    ...(sizes.writeBufferBytes === undefined ? {} : { writeBufferSize: sizes.writeBufferBytes }),
  });
  return handle;
}

/** Makes an empty store in a folder that is there. */
export function makeHandle(path: string): Promise<Handle> {
  return openHandle(path, true, {});
}
/** Opens a store that exists; never makes one. Throws STORE_LOCKED, STORE_WRITE_FAILED, STORE_DAMAGED. */
export async function reopenHandle(place: Place, sizes: Sizes): Promise<Handle> {
  try {
    return await openHandle(place.path, false, sizes);
  } catch (error) {
    throw openFault(place.path, error);
  }
}

function openFault(path: string, error: unknown): Fault {
  const code = levelCode(error);
  const saw = `cannot open '${path}': ${error instanceof Error ? (causeOf(error)?.message ?? error.message) : error}`;
  if (code === "LEVEL_LOCKED") return new Fault("STORE_LOCKED", saw, { cause: error });
  if (code === "LEVEL_IO_ERROR" && !/No such file/.test(saw)) {
    return new Fault("STORE_WRITE_FAILED", saw, { cause: error });
  }
  return new Fault("STORE_DAMAGED", saw, { cause: error });
}
function causeOf(error: Error): Error | undefined {
  return error.cause instanceof Error ? error.cause : undefined;
}

/**
 * The first open of a process, under the lock: makes the store on its first run and only then, repairs a damaged one once
 * after copying it aside, if it may. `notes` says what a person should know of it. Throws STORE_MISSING, STORE_DAMAGED, STORE_LOCKED,
 * STORE_WRITE_FAILED, DATA_DIR_UNUSABLE.
 */
export async function openFirst(
  place: Place,
  sizes: Sizes,
  wallMs: number,
  mayRepair: boolean,
): Promise<{ handle: Handle; made: boolean; repaired: boolean; notes: string[] }> {
  const known = exists(place.marker);
  const files = filesIn(place.path);
  const whole = files.includes("CURRENT");
  if (!whole && known && !holdsRecords(files)) throw new Fault("STORE_MISSING", `'${place.path}' is gone or empty`);
  if (!whole && !holdsRecords(files)) {
    await mkdir(place.path, { recursive: true, mode: 0o700 });
    rmSync(place.witness, { force: true });
    const handle = await openHandle(place.path, true, sizes).catch((error) => {
      throw openFault(place.path, error);
    });
    return { handle, made: true, repaired: false, notes: [] };
  }
  try {
    const handle = await reopenHandle(place, sizes);
    return { handle, made: false, repaired: false, notes: await droppings(place.path) };
  } catch (error) {
    if (!isFault(error, "STORE_DAMAGED") || !mayRepair) throw error;
    return await repair(place, sizes, wallMs, error);
  }
}

async function repair(place: Place, sizes: Sizes, wallMs: number, damage: Fault) {
  const earlier = filesIn(dirname(place.path)).filter((file) => file.startsWith(`${basename(place.path)}.damaged-`));
  if (earlier.length >= damagedMax) {
    throw new Fault("STORE_DAMAGED", `${damage.saw}, and ${earlier.length} damaged copies already lie beside it`);
  }
  const aside = `${place.path}.damaged-${Math.floor(wallMs)}`;
  try {
    cpSync(place.path, aside, { recursive: true });
  } catch (error) {
    rmSync(aside, { recursive: true, force: true });
    throw error; // without the copy nothing is touched
  }
  try {
    await repairIn(place.path);
    const handle = await openHandle(place.path, false, sizes);
    return {
      handle,
      made: false,
      repaired: true,
      notes: [`the store was damaged and repaired (${damage.saw}); the damaged one lies in '${aside}'`],
    };
  } catch (error) {
    throw new Fault("STORE_DAMAGED", `${damage.saw}, and repair failed`, { cause: error });
  }
}

/**
 * LevelDB's own repair, in place: a new index from the tables and logs that lie there. It puts all of them into its uppermost level, where
 * a look-up trusts the file with the highest number, and that may hold the older row: so they are merged at once, by the numbers of their
 * writes. Throws STORE_DAMAGED, STORE_WRITE_FAILED.
 */
export async function repairIn(path: string): Promise<void> {
  const run: unknown = Reflect.get(Level, "repair"); // the typings of `level` leave it out, the library has it
  if (typeof run !== "function") throw new Fault("STORE_DAMAGED", "this build of LevelDB cannot repair");
  try {
    await run.call(Level, path);
  } catch (cause) {
    throw new Fault("STORE_DAMAGED", `repairing '${path}' failed: ${(cause as Error).message}`, { cause });
  }
  const handle = await openHandle(path, false, {}).catch((error) => {
    throw openFault(path, error);
  });
  await compactIn(handle, { gte: "\0", lt: "\x7f" }).finally(() => handle.close());
}

/** Merges the tables of a range. The library has it, the typings of `level` leave it out. */
export async function compactIn(
  handle: Handle,
  { gte, lt }: { readonly gte: string; readonly lt: string },
): Promise<void> {
  const run: unknown = Reflect.get(handle, "compactRange");
  if (typeof run === "function") await run.call(handle, gte, lt);
}

/** What LevelDB left out while it recovered: it says so in its own log file and nowhere else. */
async function droppings(path: string): Promise<string[]> {
  const log = await readFile(`${path}/LOG`, "utf8").catch(() => "");
  const lines = log.split("\n").filter((line) => /dropping|Corruption/.test(line));
  return lines.slice(0, 20).map((line) => `LevelDB on recovery: ${line.trim()}`);
}

/** Remembers for good that the store was made. Durable on return. */
export function markMade(place: Place, wallMs: number): void {
  const file = openSync(place.marker, "w", 0o600);
  try {
    writeSync(file, `${JSON.stringify({ madeAt: new Date(wallMs).toISOString() })}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  syncFolder(dirname(place.marker));
}

export function exists(path: string): boolean {
  try {
    readFileSync(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}
function filesIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
/** Files of records without CURRENT: LevelDB would take the folder for a new one and delete them. */
function holdsRecords(files: readonly string[]): boolean {
  return files.some((file) => /\.(ldb|sst|log)$/.test(file));
}
