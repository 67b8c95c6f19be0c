import { existsSync } from "node:fs";
import { join } from "node:path";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { takeLock } from "@blueflame/shared/store/level/lock.ts";
import { type Place, placeOf, reopenHandle } from "@blueflame/shared/store/level/opening.ts";
import { rewriteRing, ringOf, snapshotNumbers, snapshotsIn } from "../snapshot-file.ts";
import { entrusted } from "./entrusted.ts";
import { findKeks, type Kek, kekFrom, makeKeyFile } from "./key-file.ts";
import { merged, type Opener, Ring, type StoredRing } from "./ring.ts";
import { ringKey, writeRingFile } from "./ring-file.ts";
import { openRing, storedRing } from "./store-keys.ts";
import { EscrowHolder } from "./wrap.ts";

/**
 * Gives a store and its snapshots, also those that came from the hub, a key-encryption key again: by the private key that they were
 * entrusted to (PEM), or by a key-encryption key of theirs that is no longer the one in use. It is the one that is there, else a new
 * file; `secret` is not kept. Resolves with its id. Rejects with STORE_LOCKED, STORE_MISSING when there are no wrapped keys,
 * STORE_KEY_WRONG when nothing here opens with it, STORE_KEY_LOOSE, STORE_KEY_UNREADABLE.
 */
export async function openWithKey(dataDir: string, secret: Uint8Array, from: string): Promise<string> {
  const opener = openerOf(secret, from);
  const place = placeOf(join(dataDir, "store"));
  const lock = takeLock(place.lock);
  try {
    return reopen(await rowOf(place), dataDir, opener).id;
  } finally {
    lock.release();
  }
}

function openerOf(secret: Uint8Array, from: string): Opener {
  const text = Buffer.from(secret).toString("latin1");
  return text.includes("-----BEGIN ") ? new EscrowHolder(text) : kekFrom(secret, from);
}

function reopen(row: Uint8Array | undefined, dataDir: string, opener: Opener): Kek {
  const stored = storedRing(row, dataDir);
  if (!stored) throw new Fault("STORE_MISSING", `there are no wrapped keys in '${dataDir}'`);
  const own = orWrong(() => Ring.open(stored, [opener]));
  const others = snapshotNumbers(snapshotsIn(dataDir)).flatMap((number) => {
    const place = join(snapshotsIn(dataDir), String(number));
    const ring = ringOf(place);
    return ring ? [{ place, ring }] : [];
  });
  const found = others.flatMap(({ place, ring }) => {
    const opened = orWrong(() => Ring.open(merged(ring, stored) ?? ring, [opener]));
    return opened ? [{ place, opened }] : [];
  });
  // Nothing is made for a key that opens nothing: the fault names the keys.
  if (!own && found.length === 0) Ring.open(stored, [opener]);
  const kek = findKeks({ dataDir })[0] ?? makeKeyFile(dataDir);
  // Later than the row in the store: the next opening takes this one, and writes it there too.
  if (own) writeRingFile(dataDir, own.rewrapped([kek], entrusted(dataDir, own).escrow).stored);
  for (const { place, opened } of found) {
    // A ring of the same store opens it already; that of another store, or of an earlier one, has to lie with it.
    if (!opensNow(place, row, dataDir)) rewriteRing(place, opened.rewrapped([kek], "asBefore").stored);
  }
  return kek;
}

function opensNow(place: string, row: Uint8Array | undefined, dataDir: string): boolean {
  const ring = ringOf(place) as StoredRing;
  return orWrong(() => openRing(merged(ring, storedRing(row, dataDir)) ?? ring, dataDir)) !== undefined;
}

function orWrong<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (isFault(error, "STORE_KEY_WRONG")) return undefined;
    throw error;
  }
}

/** A store that does not open has its ring beside it. */
async function rowOf(place: Place): Promise<Uint8Array | undefined> {
  if (!existsSync(join(place.path, "CURRENT"))) return undefined;
  const handle = await reopenHandle(place, {}).catch(() => undefined);
  try {
    return await handle?.get(ringKey);
  } finally {
    await handle?.close();
  }
}
