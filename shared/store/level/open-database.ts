import { rmSync } from "node:fs";
import { Fault } from "../../errors/fault.ts";
import { Database, type DatabaseOptions } from "./database.ts";
import { takeLock } from "./lock.ts";
import { lostIn, marksFrom } from "./marks.ts";
import { decodeNumber, encodeNumber } from "./numbers.ts";
import { exists, format, type Handle, markMade, openFirst, type Place, placeOf } from "./opening.ts";
import { endSwap } from "./remake.ts";
import type { Write } from "./writer.ts";

/**
 * Opens the store at `path` (LevelDB's folder; lock and marker stand beside it) for this process alone, and makes it on
 * its first run. The caller closes. Throws STORE_LOCKED, STORE_MISSING, STORE_DAMAGED, STORE_NEWER, STORE_WRITE_FAILED,
 * DATA_DIR_UNUSABLE.
 */
export async function openDatabase(path: string, options: DatabaseOptions): Promise<Database> {
  const place = placeOf(path);
  let release = () => {};
  try {
    release = takeLock(place.lock).release;
    const wallMs = options.clock.wallMs();
    endSwap(place, wallMs);
    if (options.make === false && !exists(place.marker))
      throw new Fault("STORE_MISSING", `there is no store at '${path}'`);
    const first = await openFirst(place, options.sizes ?? {}, wallMs, options.repair ?? true);
    try {
      const found = await checkFormat(place, first.handle, first.made, options.format ?? format);
      const lost = first.repaired ? undefined : await lostIn(place, first.handle);
      if (lost !== undefined && options.repair === false) throw new Fault("STORE_DAMAGED", lost);
      const repaired = first.repaired || lost !== undefined;
      const repairs = await countRepairs(first.handle, repaired);
      if (repaired) await forgetMarks(place, first.handle, found.flush);
      if (!exists(place.marker)) markMade(place, wallMs);
      const notes = lost === undefined ? first.notes : [`acknowledged writes are gone: ${lost}`, ...first.notes];
      return new Database({ place, release, ...first, ...found, repairs, notes }, options);
    } catch (error) {
      await first.handle.close();
      throw error;
    }
  } catch (error) {
    release();
    throw diskFault(path, error);
  }
}

async function checkFormat(place: Place, handle: Handle, made: boolean, known: number) {
  const found = await handle.get("!format");
  if (found) {
    const version = decodeNumber(found);
    if (version > known) {
      throw new Fault("STORE_NEWER", `'${place.path}' has format ${version}, this version knows ${known}`);
    }
    const flush = decodeNumber(await handle.get("!flush"));
    // From before there were marks: from here on there are.
    if (!(await handle.get("!marks"))) await write(handle, [marksFrom(flush)]);
    return { flush, format: version };
  }
  // The process died between making the store and marking it: it is still empty.
  if (!made && exists(place.marker)) throw new Fault("STORE_DAMAGED", `'${place.path}' has no format version`);
  await write(handle, [
    { type: "put", key: "!format", value: encodeNumber(known) },
    { type: "put", key: "!flush", value: encodeNumber(0) },
    marksFrom(0),
  ]);
  return { flush: 0, format: known };
}

/** What is gone is known, and said; from here on everything must be there again. */
async function forgetMarks(place: Place, handle: Handle, flush: number): Promise<void> {
  rmSync(place.witness, { force: true });
  await write(handle, [marksFrom(flush)]);
}
async function write(handle: Handle, writes: readonly Write[]): Promise<void> {
  await handle.batch([...writes], { sync: true } as object);
}

/** Counted for good: whoever builds on the store may have to start a new life after a repair, also one that was cut short. */
async function countRepairs(handle: Handle, repaired: boolean): Promise<number> {
  const found = await handle.get("!repairs");
  const before = found ? decodeNumber(found) : 0;
  if (!repaired) return before;
  await handle.put("!repairs", encodeNumber(before + 1), { sync: true });
  return before + 1;
}

function diskFault(path: string, error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new Fault("STORE_WRITE_FAILED", `cannot open '${path}': ${code}`, { cause: error });
  }
  if (code === "EACCES" || code === "EROFS" || code === "EPERM" || code === "ENOTDIR" || code === "EEXIST") {
    return new Fault("DATA_DIR_UNUSABLE", `cannot open '${path}': ${code}`, { cause: error });
  }
  return error;
}
