/**
 * What a damaged store still has and a snapshot of the same life does not: of workloads' state each row that both its own number (a
 * revision, an index) and its time call younger than all that the snapshot knows of its key, and the records that wait for the hub, by
 * their seq. A number alone is no proof: what a person forgot begins anew with the first.
 *
 *   trade, entry   a higher index                             kv       its name row, taken too, has its revision
 *   name           a later commit; deleted: its value goes    log      a higher last entry, which is there; what it has trimmed goes
 *   risk           a later commit, and its last trade, taken  outbox   a higher seq, no readings
 *
 * All else (states of workloads, the audit, requests, which may not be there without what they did) stays as the snapshot has it.
 */
import type { Handle } from "@blueflame/shared/store/level/opening.ts";
import type { KeptRisk, KeyMeta, LogMeta } from "../state/space.ts";
import { textOf } from "./codec.ts";
import type { Form } from "./form.ts";
import { identityKey, storedIdentity } from "./identity.ts";
import { ackedKey, sentKey } from "./outbox.ts";
import { isReading, parseKey } from "./outbox-rows.ts";
import { type ReadableRow, rowsIn } from "./readable.ts";
import { entriesOf, manifestOf } from "./snapshot-file.ts";
import { snapshotForm } from "./snapshot-form.ts";
import { changeOf, entryRow, indexOf, readEntry, readTrade, readValue, valueRow } from "./workload-keys.ts";

/** More is not held in memory while a store is mended, in a process with a small heap: what is beyond it stays in the damaged copy. */
const youngerMax = { rows: 20_000, bytes: 8 * 1024 * 1024 } as const;

/** What a snapshot knows of one workload's state. */
interface SpaceStand {
  /** Nothing in it was written by a later commit. */
  revision: number;
  risk: number;
  trades: number;
  readonly keys: Map<string, Pick<KeyMeta, "changed" | "revision">>;
  readonly logs: Map<string, Pick<LogMeta, "changed" | "first" | "last">>;
}

/** How far a snapshot reaches. */
export interface SnapshotStand {
  readonly generation: string;
  readonly takenWallMs: number;
  readonly spaces: ReadonlyMap<string, SpaceStand>;
  /** No record of the outbox that it knew of has a higher seq. */
  readonly lastSeq: number;
  readonly sent: number;
}

/** Rows in the clear, in the order in which they are to be written; without a value one that is to go. */
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
  let sent = 0;
  for await (const [row, sealed] of entriesOf(place, manifest)) {
    const value = () => form.open(row, sealed).value;
    if (row.startsWith("outbox/")) lastSeq = Math.max(lastSeq, parseKey(row).seq);
    else if (row === ackedKey) lastSeq = Math.max(lastSeq, Number(textOf(value())));
    else if (row === sentKey) sent = Number(textOf(value()));
    else if (/^(name|log|risk|space)\//.test(row)) know(spaces, form.open(row, sealed));
  }
  const { generation, takenWallMs } = manifest;
  return { generation, takenWallMs, spaces, lastSeq, sent };
}

/** What is younger in the store that `handle` has open; rows that cannot be read are left out. Throws what the disk says. */
export async function youngerIn(handle: Handle, form: Form, than: SnapshotStand): Promise<Younger> {
  const identity = await firstOf(rowsIn(handle, form, identityKey));
  const whose = identity && storedIdentity(identity);
  // Another life may descend from another snapshot, and its seqs name other records.
  if (whose?.generation !== than.generation || whose.doubted)
    return {
      rows: [],
      because: "the snapshot is not known to be of the life that has ended: nothing younger is taken",
    };
  const taking = new Taking(than);
  const lastEntry = async (workload: string, log: string, index: number) => {
    const row = entryRow(workload, log, index);
    const found = await firstOf(rowsIn(handle, form, form.codec ? form.codec.placeOf(row) : row));
    return found && readEntry(found).atWallMs;
  };
  try {
    for await (const { key, value } of rowsIn(handle, form, "trade/")) taking.trade(key, value);
    for await (const { key, value } of rowsIn(handle, form, "risk/")) taking.risk(key, value);
    for await (const { key, value } of rowsIn(handle, form, "name/")) taking.name(key, value);
    for await (const { key, value } of rowsIn(handle, form, "kv/")) taking.value(key, value);
    for await (const { key, value } of rowsIn(handle, form, "outbox/")) taking.record(key, value);
    for await (const { key, value } of rowsIn(handle, form, sentKey)) taking.sent(key, value);
    for await (const { key, value } of rowsIn(handle, form, "log/")) await taking.log(key, value, lastEntry);
    for await (const { key, value } of rowsIn(handle, form, "entry/")) taking.entry(key, value);
  } catch (error) {
    if (!(error instanceof Full)) throw error;
    return { rows: taking.rows, because: `of what is younger only the first ${taking.rows.length} rows are in it` };
  }
  return { rows: taking.rows };
}

/** Lays them over a store that was filled from the snapshot; synced on return. Returns in words what came of it. */
export async function layOver(handle: Handle, form: Form, { rows, because }: Younger): Promise<string[]> {
  for (const { key, value } of rows) {
    const write = value && form.put(key, value);
    if (write?.type === "put") await handle.put(write.key, write.value);
    else await handle.del(form.codec ? form.codec.placeOf(key) : key);
  }
  await handle.batch([], { sync: true } as object);
  const taken = rows.length > 0 ? [`${rows.length} younger rows of its tables are in it`] : [];
  return because === undefined ? taken : [...taken, because];
}

class Full extends Error {}

/** Sorts out the younger rows, in the order of {@link youngerIn}. */
class Taking {
  readonly rows: { key: string; value: Uint8Array | undefined }[] = [];
  readonly #than: SnapshotStand;
  /** The last trade that was taken, by workload. */
  readonly #trades = new Map<string, number>();
  /** The revision of each key that was taken, by its value's row. */
  readonly #keys = new Map<string, number>();
  /** The first entry of each log that was taken. */
  readonly #logs = new Map<string, number>();
  #bytes = 0;

  constructor(than: SnapshotStand) {
    this.#than = than;
  }

  trade(row: string, value: Uint8Array): void {
    const index = indexOf(row);
    if (index <= (this.#stand(row)?.trades ?? 0) || this.#isOlder(readTrade(value).atWallMs)) return;
    this.#trades.set(workloadIn(row), index);
    this.#take(row, value);
  }

  risk(row: string, value: Uint8Array): void {
    const { changed, risk } = JSON.parse(textOf(value)) as KeptRisk;
    if (changed > (this.#stand(row)?.risk ?? 0) && this.#trades.get(workloadIn(row)) === risk.trades)
      this.#take(row, value);
  }

  name(row: string, bytes: Uint8Array): void {
    const { workload, change } = changeOf(row, bytes);
    if (change.is !== "key") return;
    const { key, meta } = change;
    const stand = this.#stand(row);
    const before = stand?.keys.get(key)?.changed ?? stand?.revision ?? 0;
    if (meta.changed <= before || this.#isOlder(meta.atWallMs)) return;
    this.#take(row, bytes);
    if (meta.deleted) this.#take(valueRow(workload, key), undefined);
    else this.#keys.set(valueRow(workload, key), meta.revision);
  }

  value(row: string, bytes: Uint8Array): void {
    if (this.#keys.get(row) === readValue(bytes).revision) this.#take(row, bytes);
  }

  record(row: string, bytes: Uint8Array): void {
    if (parseKey(row).seq > this.#than.lastSeq && !isReading(row)) this.#take(row, bytes);
  }

  sent(row: string, bytes: Uint8Array): void {
    if (Number(textOf(bytes)) > this.#than.sent) this.#take(row, bytes);
  }

  /** `writtenMs`: when the last entry was written; undefined where it is not there. */
  async log(
    row: string,
    bytes: Uint8Array,
    writtenMs: (workload: string, log: string, index: number) => Promise<number | undefined>,
  ): Promise<void> {
    const { workload, change } = changeOf(row, bytes);
    if (change.is !== "log") return;
    const { log, meta } = change;
    const before = this.#stand(row)?.logs.get(log) ?? { first: 1, last: 0 };
    if (meta.last <= before.last || this.#isOlder((await writtenMs(workload, log, meta.last)) ?? 0)) return;
    for (let index = before.first; index <= Math.min(before.last, meta.first - 1); index++)
      this.#take(entryRow(workload, log, index), undefined);
    this.#take(row, bytes);
    this.#logs.set(`${workload}\0${log}`, meta.first);
  }

  entry(row: string, bytes: Uint8Array): void {
    const log = logIn(row);
    const first = this.#logs.get(`${workloadIn(row)}\0${log}`) ?? 1;
    const index = indexOf(row);
    const isNew = index > (this.#stand(row)?.logs.get(log)?.last ?? 0) && index >= first;
    if (isNew && !this.#isOlder(readEntry(bytes).atWallMs)) this.#take(row, bytes);
  }

  #stand(row: string): SpaceStand | undefined {
    return this.#than.spaces.get(workloadIn(row));
  }
  #isOlder(wallMs: number): boolean {
    return wallMs < this.#than.takenWallMs;
  }
  #take(key: string, value: Uint8Array | undefined): void {
    this.#bytes += key.length + (value?.length ?? 0);
    if (this.rows.length >= youngerMax.rows || this.#bytes > youngerMax.bytes) throw new Full();
    this.rows.push({ key, value });
  }
}

async function firstOf(rows: AsyncGenerator<ReadableRow>): Promise<Uint8Array | undefined> {
  for await (const { value } of rows) return value;
  return undefined;
}

function know(spaces: Map<string, SpaceStand>, { key: row, value }: { key: string; value: Uint8Array }): void {
  const { workload, change } = changeOf(row, value);
  const known = spaces.get(workload) ?? { revision: 0, risk: 0, trades: 0, keys: new Map(), logs: new Map() };
  spaces.set(workload, known);
  const commit = (revision: number) => {
    known.revision = Math.max(known.revision, revision);
  };
  if (change.is === "key" || change.is === "log") commit(change.meta.changed);
  if (change.is === "key") known.keys.set(change.key, change.meta);
  else if (change.is === "log") known.logs.set(change.log, change.meta);
  else if (change.is === "horizon") commit(change.revision);
  else if (change.is === "risk") {
    commit(change.kept.changed);
    known.risk = change.kept.changed;
    known.trades = change.kept.risk.trades;
  }
}

/** The workload of `table/workload…`, and the log of an entry's row. */
function workloadIn(key: string): string {
  return /^[a-z]+\/([^/\0]*)/.exec(key)?.[1] ?? "";
}
function logIn(key: string): string {
  return key.split("\0")[1] ?? "";
}
