import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Database } from "@blueflame/shared/store/level/database.ts";
import { encodeNumber } from "@blueflame/shared/store/level/numbers.ts";
import type { Write } from "@blueflame/shared/store/level/writer.ts";
import type { Codec } from "./codec.ts";
import { plainForm, sealedForm, storeFormat } from "./form.ts";
import { identityKey, type Stored, storedIdentity } from "./identity.ts";
import type { StoredRing } from "./keys/ring.ts";
import { isReading } from "./outbox-rows.ts";
import { unreadable } from "./readable.ts";
import { manifestOf, SnapshotWriter, snapshotNumbers, snapshotsIn } from "./snapshot-file.ts";

/** So many rows in one batch. */
const rowsPerBatch = 500;
const range = { gte: "a", lt: "\x7f" };

/** A plain store on its way to a sealed one. */
interface Migration {
  readonly raw: Database;
  readonly codec: Codec;
  readonly ring: StoredRing;
  readonly dataDir: string;
  readonly wallMs: number;
}

/** Whose a plain store is; undefined of any other. */
export async function ownerOfPlain(raw: Database): Promise<string | undefined> {
  if (raw.format >= storeFormat) return undefined;
  const found = await raw.get(identityKey);
  if (found?.[0] !== 0) return undefined;
  const { owner, generation } = storedIdentity(found.subarray(1));
  return owner ?? generation;
}

/**
 * Seals every row of a store of format 1, after a sealed snapshot of it; then nothing plain is left, in the files of LevelDB and
 * in older snapshots neither. One that was cut short goes on where it was: sealed rows say so themselves. Rejects with
 * STORE_DAMAGED for a row that cannot be read, STORE_WRITE_FAILED when the disk refuses; nothing is lost then.
 */
export async function migratePlain(migration: Migration): Promise<void> {
  const { raw, codec, dataDir } = migration;
  const folder = snapshotsIn(dataDir);
  const plain = await plainSnapshots(folder);
  await snapshot(migration, folder);
  for (let after = range.gte; ; ) {
    const rows = await raw.entries({ ...range, gte: `${after}\0`, limit: rowsPerBatch });
    const writes = rows.filter(([, value]) => value[0] === 0).flatMap(([key, value]) => sealedRow(codec, key, value));
    if (writes.length > 0) await raw.submit({ build: () => writes }, true);
    const last = rows.at(-1)?.[0];
    if (last === undefined || rows.length < rowsPerBatch) break;
    after = last;
  }
  await raw.submit({ build: () => [{ type: "put", key: "!format", value: encodeNumber(storeFormat) }] }, true);
  await raw.compact(range);
  for (const number of plain) await rm(join(folder, String(number)), { recursive: true, force: true });
}

function sealedRow(codec: Codec, key: string, value: Uint8Array): Write[] {
  const put = sealedForm(codec).put(key, plainForm.open(key, value).value);
  return put.key === key ? [put] : [{ type: "del", key }, put];
}

async function snapshot({ raw, codec, ring, wallMs }: Migration, folder: string): Promise<void> {
  const identity = await identityOf(raw, codec);
  if (!identity) return; // the first run died before it was anybody's
  const form = sealedForm(codec);
  const writer = await SnapshotWriter.begin(folder);
  try {
    await raw.scan(range, (key, value) => {
      if (isReading(key)) return;
      const put = value[0] === 0 ? form.put(key, plainForm.open(key, value).value) : undefined;
      return put?.type === "put" ? writer.add(put.key, put.value) : writer.add(key, value);
    });
    const owner = identity.owner ?? identity.generation;
    await writer.finish({ ...identity, owner, ring }, wallMs, (place, sealed) => unreadable(form, place, sealed));
  } catch (error) {
    await writer.drop();
    throw error;
  }
}

async function identityOf(raw: Database, codec: Codec): Promise<Stored | undefined> {
  const found = await raw.get(identityKey);
  if (!found) return undefined;
  return storedIdentity((found[0] === 0 ? plainForm : sealedForm(codec)).open(identityKey, found).value);
}

async function plainSnapshots(folder: string): Promise<number[]> {
  const plain: number[] = [];
  for (const number of snapshotNumbers(folder)) {
    const manifest = await manifestOf(join(folder, String(number))).catch(() => undefined);
    if (manifest && !manifest.ring) plain.push(number);
  }
  return plain;
}
