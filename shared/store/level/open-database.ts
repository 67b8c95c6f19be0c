import { Fault } from "../../errors/fault.ts";
import { Database, type DatabaseOptions, decodeNumber, encodeNumber } from "./database.ts";
import { takeLock } from "./lock.ts";
import { exists, format, type Handle, markMade, openFirst, type Place, placeOf } from "./opening.ts";
import { endSwap } from "./remake.ts";

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
    const first = await openFirst(place, options.sizes ?? {}, wallMs, options.repair ?? true);
    try {
      const flush = await checkFormat(place, first.handle, first.made);
      const repairs = await countRepairs(first.handle, first.repaired);
      if (!exists(place.marker)) markMade(place, wallMs);
      return new Database({ place, release, flush, repairs, ...first }, options);
    } catch (error) {
      await first.handle.close();
      throw error;
    }
  } catch (error) {
    release();
    throw diskFault(path, error);
  }
}

async function checkFormat(place: Place, handle: Handle, made: boolean): Promise<number> {
  const found = await handle.get("!format");
  if (found) {
    const version = decodeNumber(found);
    if (version > format) {
      throw new Fault("STORE_NEWER", `'${place.path}' has format ${version}, this version knows ${format}`);
    }
    return decodeNumber(await handle.get("!flush"));
  }
  // The process died between making the store and marking it: it is still empty.
  if (!made && exists(place.marker)) throw new Fault("STORE_DAMAGED", `'${place.path}' has no format version`);
  await handle.batch(
    [
      { type: "put", key: "!format", value: encodeNumber(format) },
      { type: "put", key: "!flush", value: encodeNumber(0) },
    ],
    { sync: true } as object,
  );
  return 0;
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
