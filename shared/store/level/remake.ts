/**
 * A damaged store is never mended where it lies: what takes its place is made beside it, and put there when it is whole.
 *
 *   <path>.mending            the new one, while it is made
 *   <path>.mending.json       it is whole: the swap has begun, and whoever comes next ends it
 *   <path>.damaged-<time>     the old one, kept; three at most, then a person has to take one away
 *
 * All of this is called under the store's lock, with the store closed.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { Fault } from "../../errors/fault.ts";
import { syncFolder } from "../folder.ts";
import { marksFrom } from "./marks.ts";
import { decodeNumber, encodeNumber } from "./numbers.ts";
import {
  exists,
  format,
  type Handle,
  makeHandle,
  markMade,
  type Place,
  placeOf,
  reopenHandle,
  repairIn,
} from "./opening.ts";

/** The store that is made; `finish` puts it in the place of the old one, `drop` forgets it. */
export interface Remade {
  readonly handle: Handle;
  /** Counts it as a repair, syncs, closes and puts it in its place. Returns where the damaged one lies; undefined when there was none. */
  finish(wallMs: number): Promise<string | undefined>;
  drop(): Promise<void>;
}

/** How the new store comes about. */
export type Making =
  /** A copy that LevelDB opens as after a crash: it leaves out what does not have its checksum. */
  | { readonly by: "reopen" }
  /** A copy whose index LevelDB makes anew from its tables and logs, without the files named. */
  | { readonly by: "repair"; readonly without: readonly string[] }
  | { readonly by: "nothing" };

/** Ends a swap that somebody has begun and died in. */
export function endSwap(place: Place, wallMs: number): void {
  if (exists(`${place.path}.mending.json`)) swap(place, wallMs);
}

/** The damaged stores that are kept beside it. */
export function damagedCopies(place: Place): string[] {
  const prefix = `${basename(place.path)}.damaged-`;
  const folder = dirname(place.path);
  return existsSync(folder) ? readdirSync(folder).filter((file) => file.startsWith(prefix)) : [];
}

/** Makes it. The store itself stays as it is. Throws STORE_DAMAGED when it cannot be made this way, or the disk's own error. */
export async function remake(place: Place, making: Making, known = format): Promise<Remade> {
  const target = `${place.path}.mending`;
  rmSync(target, { recursive: true, force: true });
  try {
    const handle = await make(place, target, making, known);
    return {
      handle,
      async finish(wallMs) {
        await count(handle, known);
        await handle.close();
        syncFolder(target);
        writeFileSync(`${target}.json`, JSON.stringify({ wholeSince: wallMs }), { mode: 0o600, flush: true });
        syncFolder(dirname(target));
        return swap(place, wallMs);
      },
      async drop() {
        await handle.close().catch(() => undefined);
        rmSync(target, { recursive: true, force: true });
      },
    };
  } catch (error) {
    rmSync(target, { recursive: true, force: true });
    throw error;
  }
}

async function make(place: Place, target: string, making: Making, known: number): Promise<Handle> {
  if (making.by === "nothing") {
    mkdirSync(target, { recursive: true, mode: 0o700 });
    return makeHandle(target);
  }
  const left = making.by === "repair" ? making.without : [];
  cpSync(place.path, target, { recursive: true, filter: (file) => !left.includes(basename(file)) });
  if (making.by === "repair") await repairIn(target);
  const handle = await reopenHandle(placeOf(target), {});
  try {
    await checkKnown(place, handle, known);
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** The format of the store. Throws STORE_NEWER for one that the opener does not know. */
export async function checkKnown(place: Place, handle: Handle, known = format): Promise<number> {
  const found = await handle.get("!format");
  const version = found ? decodeNumber(found) : known;
  if (version <= known) return version;
  throw new Fault("STORE_NEWER", `'${place.path}' has format ${version}, this version knows ${known}`);
}

async function count(handle: Handle, known: number): Promise<void> {
  const found = await handle.get("!format");
  const before = await handle.get("!repairs");
  const repairs = before ? decodeNumber(before) : 0;
  const flush = await handle.get("!flush");
  await handle.batch(
    [
      { type: "put", key: "!format", value: found ?? encodeNumber(known) },
      { type: "put", key: "!flush", value: flush ?? encodeNumber(0) },
      marksFrom(flush ? decodeNumber(flush) : 0),
      { type: "put", key: "!repairs", value: encodeNumber(repairs + 1) },
    ],
    { sync: true } as object,
  );
}

function swap(place: Place, wallMs: number): string | undefined {
  const target = `${place.path}.mending`;
  let aside: string | undefined;
  if (existsSync(target)) {
    if (existsSync(place.path)) {
      aside = asideOf(place, wallMs);
      renameSync(place.path, aside);
    }
    renameSync(target, place.path);
    // What the old one had reached is no promise of the new one.
    rmSync(place.witness, { force: true });
  }
  if (!exists(place.marker)) markMade(place, wallMs);
  syncFolder(dirname(place.path));
  rmSync(`${target}.json`, { force: true });
  return aside;
}

function asideOf(place: Place, wallMs: number): string {
  for (let at = Math.floor(wallMs); ; at++) {
    const aside = `${place.path}.damaged-${at}`;
    if (!existsSync(aside)) return aside;
  }
}
