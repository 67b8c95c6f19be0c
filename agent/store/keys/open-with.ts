import { existsSync } from "node:fs";
import { join } from "node:path";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { takeLock } from "@blueflame/shared/store/level/lock.ts";
import { type Place, placeOf, reopenHandle } from "@blueflame/shared/store/level/opening.ts";
import { findKeks, makeKeyFile } from "./key-file.ts";
import { Ring } from "./ring.ts";
import { readEscrow, ringKey, writeRingFile } from "./ring-file.ts";
import { storedRing } from "./store-keys.ts";
import { EscrowHolder } from "./wrap.ts";

/**
 * Gives a store, or the snapshots of one, a key-encryption key again by the private key that it was entrusted to: the one that
 * is there, else a new file. Resolves with its id. Rejects with STORE_LOCKED, STORE_MISSING when there are no wrapped keys,
 * STORE_KEY_WRONG when they were not entrusted to this key, STORE_KEY_LOOSE, STORE_KEY_UNREADABLE.
 */
export async function openWithEscrow(dataDir: string, pem: string): Promise<string> {
  const holder = new EscrowHolder(pem);
  const place = placeOf(join(dataDir, "store"));
  const lock = takeLock(place.lock);
  try {
    const stored = storedRing(await rowOf(place), dataDir);
    if (!stored) throw new Fault("STORE_MISSING", `there are no wrapped keys in '${dataDir}'`);
    const ring = Ring.open(stored, [holder]);
    const kek = findKeks({ dataDir })[0] ?? makeKeyFile(dataDir);
    // Later than the row in the store: the next opening takes this one, and writes it there too.
    writeRingFile(dataDir, ring.rewrapped([kek], readEscrow(dataDir)).stored);
    return kek.id;
  } finally {
    lock.release();
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
