/**
 * What a damaged store still has and a snapshot does not. Of workloads' state it is each row whose own number (a revision, an index)
 * says that it was written after all that the snapshot knows of its key; with it the records that wait for the hub, by their seq. A
 * row that was overwritten since in a table that is gone comes back as it was before, which is still younger than the snapshot's.
 * Rows without a number (states of workloads, the audit) stay as the snapshot has them: they might be older.
 */
import type { Handle } from "@blueflame/shared/store/level/opening.ts";
import type { Write } from "@blueflame/shared/store/level/writer.ts";
import { textOf } from "./codec.ts";
import type { Form } from "./form.ts";
import { identityKey, storedIdentity } from "./identity.ts";
import { ackedKey } from "./outbox.ts";
import { isReading, parseKey } from "./outbox-rows.ts";
import { unreadable } from "./readable.ts";
import { entriesOf, manifestOf } from "./snapshot-file.ts";
import { snapshotForm } from "./snapshot-form.ts";
import { changeOf, indexOf, ownerOf, readValue, valueRow } from "./workload-keys.ts";

/** More is not held in memory while a store is mended: what is beyond it stays in the damaged copy. */
const bytesMax = 64 * 1024 * 1024;
const batchMax = 500;

/** What a snapshot knows of one workload's state. */
class SpaceStand {
  /** Nothing in it was written by a later commit. */
  revision = 0;
  horizon = 0;
  /** No key that it does not know had a higher revision of its own. */
  floor = 0;
  risk = 0;
  trades = 0;
  request = 0;
  readonly keys = new Map<string, { readonly changed: number; readonly revision: number }>();
  readonly logs = new Map<string, { readonly changed: number; readonly last: number }>();

  know(row: string, bytes: Uint8Array): void {
    const { change } = changeOf(row, bytes);
    if (change.is === "key") this.keys.set(change.key, change.meta);
    else if (change.is === "log") this.logs.set(change.log, change.meta);
    else if (change.is === "risk") [this.risk, this.trades] = [change.kept.changed, change.kept.risk.trades];
    else if (change.is === "request") this.request = Math.max(this.request, change.number);
    else if (change.is === "horizon") [this.horizon, this.floor] = [change.revision, change.floor];
    this.revision = Math.max(this.revision, revisionIn(change));
  }
}

/** How far a snapshot reaches. */
export interface SnapshotStand {
  readonly place: string;
  readonly owner: string;
  readonly generation: string;
  readonly takenWallMs: number;
  readonly spaces: ReadonlyMap<string, SpaceStand>;
  /** No record of the outbox that it knew of has a higher one. */
  readonly lastSeq: number;
}

/** Rows in the clear; without a value one that is to go. */
export interface Younger {
  readonly rows: readonly { readonly key: string; readonly value: Uint8Array | undefined }[];
  /** Why there are none, or not all. */
  readonly because?: string;
}

/** Reads all of a snapshot. Throws STORE_DAMAGED, and the faults of a key. */
export async function standOf(place: string, dataDir: string): Promise<SnapshotStand> {
  const manifest = await manifestOf(place);
  const form = await snapshotForm(place, dataDir);
  const spaces = new Map<string, SpaceStand>();
  let lastSeq = 0;
  for await (const [row, sealed] of entriesOf(place, manifest)) {
    if (row.startsWith("outbox/")) lastSeq = Math.max(lastSeq, parseKey(row).seq);
    else if (row === ackedKey) lastSeq = Math.max(lastSeq, Number(textOf(form.open(row, sealed).value)));
    else if (/^(name|log|risk|request|space)\//.test(row)) {
      const { key, value } = form.open(row, sealed);
      spaceIn(spaces, key).know(key, value);
    }
  }
  const { owner, generation, takenWallMs } = manifest;
  return { place, owner, generation, takenWallMs, spaces, lastSeq };
}

/** What is younger in the store that `handle` has open; rows that cannot be read are left out. Throws what the disk says. */
export async function youngerIn(handle: Handle, form: Form, than: SnapshotStand): Promise<Younger> {
  const rows: { key: string; value: Uint8Array | undefined }[] = [];
  const whose = await whoseIs(handle, form);
  if (whose && (whose.owner ?? whose.generation) !== than.owner)
    return { rows, because: "the store is of another owner" };
  if (await wentBack(handle, form, than)) return { rows, because: "the store went back to another snapshot since" };
  // Seqs of another life name other records.
  const sameLife = whose?.generation === than.generation && !whose.doubted;
  const tables = ["risk", "space", "request", "trade", "log", "entry", "name", "kv", ...(sameLife ? ["outbox"] : [])];
  let bytes = 0;
  for (const table of tables) {
    for await (const [place, sealed] of handle.iterator({ gte: `${table}/`, lt: `${table}0` })) {
      if (unreadable(form, place, sealed) !== undefined) continue;
      const { key, value } = form.open(place, sealed);
      const taken = table === "outbox" ? isUnknown(key, than) : taking(table, key, value, spaceOf(than.spaces, key));
      if (!taken) continue;
      bytes += key.length + value.length;
      if (bytes > bytesMax)
        return { rows, because: `of what is younger than the snapshot ${bytesMax} bytes are in it` };
      rows.push({ key, value });
      const gone = table === "name" ? deletedBy(key, value) : undefined;
      if (gone !== undefined) rows.push({ key: gone, value: undefined });
    }
  }
  return { rows };
}

/** Lays them over a store that was filled from the snapshot; synced on return. Returns in words what came of it. */
export async function layOver(handle: Handle, form: Form, { rows, because }: Younger): Promise<string[]> {
  const writes = rows.map(
    ({ key, value }): Write =>
      value ? form.put(key, value) : { type: "del", key: form.codec ? form.codec.placeOf(key) : key },
  );
  for (let at = 0; at < writes.length; at += batchMax) await handle.batch(writes.slice(at, at + batchMax));
  await handle.batch([], { sync: true } as object);
  const taken = rows.length > 0 ? [`${rows.length} younger rows of its tables are in it`] : [];
  return because === undefined ? taken : [...taken, because];
}

function taking(table: string, key: string, value: Uint8Array, than: SpaceStand): boolean {
  switch (table) {
    case "trade":
      return indexOf(key) > than.trades;
    case "entry":
      return indexOf(key) > (than.logs.get(nameIn(key))?.last ?? 0);
    case "kv":
      return readValue(value).revision > (than.keys.get(ownerOf(key).key)?.revision ?? than.floor);
    default: {
      const { change } = changeOf(key, value);
      if (change.is === "risk") return change.kept.changed > than.risk;
      if (change.is === "request") return change.number > than.request;
      if (change.is === "horizon") return change.revision > than.horizon;
      if (change.is === "log") return change.meta.changed > (than.logs.get(change.log)?.changed ?? than.revision);
      return change.is === "key" && change.meta.changed > (than.keys.get(change.key)?.changed ?? than.revision);
    }
  }
}

function revisionIn(change: ReturnType<typeof changeOf>["change"]): number {
  switch (change.is) {
    case "key":
    case "log":
      return change.meta.changed;
    case "risk":
      return change.kept.changed;
    case "request":
      return change.done.revision;
    case "horizon":
      return change.revision;
    default:
      return 0;
  }
}

function deletedBy(row: string, bytes: Uint8Array): string | undefined {
  const { workload, change } = changeOf(row, bytes);
  return change.is === "key" && change.meta.deleted ? valueRow(workload, change.key) : undefined;
}

function isUnknown(key: string, { lastSeq }: SnapshotStand): boolean {
  return parseKey(key).seq > lastSeq && !isReading(key);
}

async function whoseIs(handle: Handle, form: Form) {
  const sealed = await handle.get(identityKey);
  if (!sealed || unreadable(form, identityKey, sealed) !== undefined) return undefined;
  return storedIdentity(form.open(identityKey, sealed).value);
}

/** True of a store that a person took back, after this snapshot was made, to another state than the snapshot's. */
async function wentBack(handle: Handle, form: Form, { takenWallMs, place }: SnapshotStand): Promise<boolean> {
  const sealed = await handle.get("meta/restored");
  if (!sealed || unreadable(form, "meta/restored", sealed) !== undefined) return false;
  const { wallMs, by, from } = JSON.parse(textOf(form.open("meta/restored", sealed).value));
  return wallMs > takenWallMs && (by === "empty" || (by === "restore" && from !== place));
}

/** `table/workload…` and what follows. */
function workloadIn(key: string): string {
  return /^[a-z]+\/([^/\0]*)/.exec(key)?.[1] ?? "";
}
/** The name of a log, from the row of an entry. */
function nameIn(key: string): string {
  return key.split("\0")[1] ?? "";
}
const nothing = new SpaceStand();
function spaceOf(spaces: ReadonlyMap<string, SpaceStand>, key: string): SpaceStand {
  return spaces.get(workloadIn(key)) ?? nothing;
}
function spaceIn(spaces: Map<string, SpaceStand>, key: string): SpaceStand {
  const workload = workloadIn(key);
  const known = spaces.get(workload) ?? new SpaceStand();
  spaces.set(workload, known);
  return known;
}
