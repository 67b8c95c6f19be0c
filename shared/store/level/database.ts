import { statfs } from "node:fs/promises";
import { Fault, isFault } from "../../errors/fault.ts";
import type { Cancel, Clock } from "../../time/clock.ts";
import { Logs } from "./logs.ts";
import { lostIn, markOf } from "./marks.ts";
import { decodeNumber, encodeNumber } from "./numbers.ts";
import { compactIn, type Handle, levelCode, type Place, reopenHandle, type Sizes } from "./opening.ts";
import { type Compacted, Space } from "./space.ts";
import { Witness } from "./witness.ts";
import { type Durability, type Group, type Job, Unsettled, Waiting } from "./writer.ts";

/** A batched write is synced this much later at the latest, half of what the store promises. */
const barrierMs = 50;
/** While the disk refuses, it is tried again this often. */
const retryMs = 500;
/** Reopening writes a manifest, a log and perhaps the last memtable: below this much free space, or part of a small disk, it waits. */
const reopenFree = { bytes: 8 * 1024 * 1024, ratio: 0.1 };

/** By the first letter of the key; what is the database's own, which is overwritten with each group, stands before the letters. */
const slices = ["!", ..."abcdefghijklmnopqrstuvwxyz"];

const nothing: Job = { build: () => [] };
const closedFault = () => new Fault("STORE_WRITE_FAILED", "the store is closed");

/** Bounds of a read, in key order: `gte` ≤ key < `lt`. */
export interface KeyRange {
  readonly gte: string;
  readonly lt: string;
  readonly limit?: number;
  readonly reverse?: boolean;
}
export interface DatabaseOptions {
  readonly clock: Clock;
  readonly sizes?: Sizes;
  /** Default: a damaged store is repaired in place, once. False: it is STORE_DAMAGED, for whoever mends it in other ways too. */
  readonly repair?: boolean;
  /** False: a store that never was is STORE_MISSING, not made. */
  readonly make?: boolean;
  /** The newest format that the opener knows and the one of a store it makes; default 1. An older one is opened as it is. */
  readonly format?: number;
  /** Beyond this many bytes on the disk what may be spared is refused. Default: 1 GiB. */
  readonly bytesMax?: number;
  /** Called after a synced batch: everything landed before is durable over a power cut. */
  readonly onSynced?: () => void;
  /** Called after the files were merged because space is low: see space.ts. */
  readonly onCompacted?: (done: Compacted) => void;
}

const defaultBytesMax = 1024 * 1024 * 1024;

/**
 * One LevelDB and the only way to it.
 *
 *   !format   -> number   the version of everything in it
 *   !repairs  -> number   how often it was repaired
 *   !flush    -> number   counts batches; each batch writes it, so that reading it back tells which was the last to land
 *   !mark/…   -> number   each batch leaves its number here too, so that a batch that is lost leaves a hole (marks.ts)
 *
 *            batch fails                   enough space, reopened, !flush read back
 *   open ───────────────▶ poisoned ─────────────────────────────────────────────▶ open
 *                          │  ▲ │ acknowledged batches are missing
 *                          └──┘ └──────────▶ damaged
 *                       every 500 ms
 *
 * After a failed write LevelDB goes on acknowledging writes that are gone at the next open (google/leveldb#1180). So the
 * first error poisons the handle: it serves reads, which show acknowledged writes only, until the disk has room again;
 * then it is dropped, and a new one must show the last acknowledged batch before any write is taken.
 */
export class Database {
  readonly #place: Place;
  readonly #options: DatabaseOptions;
  readonly #release: () => void;
  readonly #waiting = new Waiting();
  readonly #witness: Witness;
  readonly #space: Space;
  readonly #logs: Logs;
  #handle: Handle | undefined;
  #flush: number;
  #synced: number;
  /** The epoch as it was found. */
  readonly openedEpoch: number;
  #writing: Promise<void> | undefined;
  #reopening: Promise<void> | undefined;
  #unsettled: Group | undefined;
  #trouble: Fault | undefined;
  #barrier: Cancel | undefined;
  #retry: Cancel | undefined;
  #closing: Promise<void> | undefined;
  /** How often the store was damaged and repaired in its life: what was acknowledged before may be missing. */
  readonly repairs: number;
  /** The format it was found in; below the opener's own it has to be migrated. */
  readonly format: number;
  /** What a person should know of the opening; empty when all was well. */
  readonly notes: readonly string[];

  /** Use `openDatabase`. */
  constructor(opened: Opened, options: DatabaseOptions) {
    this.#place = opened.place;
    this.#options = options;
    this.#release = opened.release;
    this.#handle = opened.handle;
    this.#flush = opened.flush;
    this.#synced = opened.flush;
    this.openedEpoch = opened.flush;
    this.#witness = new Witness(opened.place.witness);
    this.#logs = new Logs(opened.place.path, options.sizes?.writeBufferBytes);
    this.#space = new Space({
      path: opened.place.path,
      clock: options.clock,
      bytesMax: options.bytesMax ?? defaultBytesMax,
      compact: () => this.#compactAll(),
      onCompacted: options.onCompacted,
    });
    this.format = opened.format;
    this.repairs = opened.repairs;
    this.notes = opened.notes;
  }

  /**
   * Writes with others in one batch, which share one sync. Resolves when the batch is in the file, with `synced` (true) when it
   * is on the disk. Rejects with what `build` throws, STORE_WRITE_FAILED ({@link Unsettled} when the write may yet land),
   * LIMIT_REACHED, and with STORE_SPACE_LOW what is `spare`.
   */
  submit(job: Job, durability: Durability | boolean): Promise<void> {
    if (this.#closing) return Promise.reject(closedFault());
    const low = durability === "spare" ? this.#space.low() : undefined;
    if (low !== undefined) return Promise.reject(new Fault("STORE_SPACE_LOW", low));
    return this.#submit(job, durability === true || durability === "synced");
  }
  #submit(job: Job, synced: boolean): Promise<void> {
    if (this.#trouble) return Promise.reject(this.#trouble);
    const done = this.#waiting.add(job, synced);
    this.#writing ??= this.#write();
    return done;
  }
  /** Everything written so far survives a power cut. */
  sync(): Promise<void> {
    return this.submit(nothing, true);
  }

  get(key: string): Promise<Uint8Array | undefined> {
    return this.#read((handle) => handle.get(key));
  }
  getMany(keys: string[]): Promise<(Uint8Array | undefined)[]> {
    return this.#read((handle) => handle.getMany(keys));
  }
  entries(range: KeyRange): Promise<[string, Uint8Array][]> {
    return this.#read((handle) => handle.iterator(range).all());
  }
  keys(range: KeyRange): Promise<string[]> {
    return this.#read((handle) => handle.keys(range).all());
  }
  /** Entries until `take` says no to one; it is asked for each, in order. */
  entriesWhile(range: KeyRange, take: (value: Uint8Array) => boolean): Promise<[string, Uint8Array][]> {
    return this.#read(async (handle) => {
      const found: [string, Uint8Array][] = [];
      for await (const entry of handle.iterator(range)) {
        if (!take(entry[1])) break;
        found.push(entry);
      }
      return found;
    });
  }

  /**
   * Every entry of the range as it was at one moment, in order, without the database's own; each is awaited. Rejects with what
   * `each` throws, STORE_DAMAGED, and STORE_WRITE_FAILED when the handle was dropped on the way.
   */
  async scan(range: KeyRange, each: (key: string, value: Uint8Array) => Promise<void> | void): Promise<void> {
    await this.#reopening;
    const handle = this.#handle;
    if (!handle) throw this.#trouble ?? closedFault();
    try {
      for await (const [key, value] of handle.iterator(range)) {
        const done = each(key, value);
        if (done) await done;
      }
    } catch (error) {
      if (levelCode(error) === "LEVEL_CORRUPTION") {
        throw new Fault("STORE_DAMAGED", `reading '${this.#place.path}' failed`, { cause: error });
      }
      if (handle === this.#handle) throw error;
      throw this.#trouble ?? new Fault("STORE_WRITE_FAILED", "the store was reopened while it was read");
    }
  }

  /** The number of the last batch that is on the disk: it only grows, and a store that is put back has a lower one. */
  get epoch(): number {
    return this.#synced;
  }
  /** Gives the space of deleted and overwritten entries back; what was overwritten is then no longer in the files. */
  compact(range: KeyRange): Promise<void> {
    return this.#logs.merging(() => this.#read((handle) => compactIn(handle, range)));
  }

  /** In slices, so that whoever closes waits for one at most. */
  async #compactAll(): Promise<void> {
    for (const [at, gte] of slices.entries()) {
      if (this.#closing) return;
      await this.compact({ gte, lt: slices[at + 1] ?? "\x7f" });
    }
  }

  /** The error line while writes are refused; undefined while they work. */
  trouble(): string | undefined {
    return this.#trouble?.message;
  }

  /** Syncs what is written, closes, lets others open. Harmless when called again. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }
  async #close(): Promise<void> {
    if (!this.#trouble) await this.#submit(nothing, true).catch(() => {}); // whoever wrote was told
    this.#barrier?.();
    this.#retry?.();
    await this.#writing;
    await this.#reopening;
    const handle = this.#handle;
    this.#handle = undefined;
    await Promise.all([this.#witness.close(), this.#space.close()]);
    try {
      await handle?.close();
    } finally {
      this.#release();
    }
  }

  /** Reads again when the handle was dropped under it. Throws STORE_DAMAGED, STORE_WRITE_FAILED while there is no handle. */
  async #read<T>(work: (handle: Handle) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      await this.#reopening;
      const handle = this.#handle;
      if (!handle) throw this.#trouble ?? closedFault();
      try {
        return await work(handle);
      } catch (error) {
        if (handle !== this.#handle && attempt < 3) continue;
        if (levelCode(error) !== "LEVEL_CORRUPTION") throw error;
        throw new Fault("STORE_DAMAGED", `reading '${this.#place.path}' failed`, { cause: error });
      }
    }
  }

  async #write(): Promise<void> {
    while (!this.#waiting.empty && !this.#trouble) {
      const group = this.#waiting.next();
      try {
        if (await this.#batch(group)) this.#flush++;
      } catch (error) {
        await this.#poison(group, error);
        continue;
      }
      this.#land(group);
    }
    this.#writing = undefined;
  }
  /** False: there was nothing to write. */
  async #batch(group: Group): Promise<boolean> {
    if (group.writes.length === 0 && !group.synced) return false;
    const handle = this.#handle;
    if (!handle) throw new Error("no handle");
    const mark = { type: "put", key: "!flush", value: encodeNumber(this.#flush + 1) } as const;
    const writes = [...group.writes, mark, markOf(this.#flush + 1)];
    const due = this.#logs.before(writes, this.#flush > this.#synced);
    if (due) await due;
    await handle.batch(writes, { sync: group.synced });
    return true;
  }
  #land(group: Group): void {
    for (const { job } of group.members) job.landed?.();
    if (group.synced) {
      this.#synced = this.#flush;
      this.#witness.note(this.#flush);
      this.#barrier?.();
      this.#barrier = undefined;
      this.#options.onSynced?.();
    } else if (group.writes.length > 0) {
      this.#barrier ??= this.#options.clock.wakeAt(this.#options.clock.monotonicMs() + barrierMs, () => {
        this.#barrier = undefined;
        this.sync().catch(() => {}); // the store is poisoned then, and says so to the next writer
      });
    }
    for (const { resolve } of group.members) resolve();
  }

  /** A batch failed: nobody is answered with yes before the store was reopened and read back. */
  async #poison(group: Group, error: unknown): Promise<void> {
    const saw = `writing to '${this.#place.path}' failed: ${error instanceof Error ? error.message : error}`;
    this.#trouble = new Fault("STORE_WRITE_FAILED", saw, { cause: error });
    this.#unsettled = group;
    this.#waiting.refuse(this.#trouble);
    await this.#tryReopen();
    if (this.#unsettled !== group) return; // settled: the members were answered
    const unsettled = new Unsettled("STORE_WRITE_FAILED", saw, { cause: error });
    for (const { reject } of group.members) reject(unsettled);
  }
  async #tryReopen(): Promise<void> {
    this.#reopening = this.#reopen();
    await this.#reopening;
    this.#reopening = undefined;
    if (!this.#trouble || this.#closing || this.#trouble.code === "STORE_DAMAGED") return;
    const { clock } = this.#options;
    this.#retry = clock.wakeAt(clock.monotonicMs() + retryMs, () => void this.#tryReopen());
  }
  /** Never throws: what goes wrong is the new trouble. */
  async #reopen(): Promise<void> {
    try {
      const disk = await statfs(this.#place.path);
      const needed = Math.min(reopenFree.bytes, disk.blocks * disk.bsize * reopenFree.ratio);
      if (disk.bavail * disk.bsize < needed && this.#handle) return;
      await this.#handle?.close();
      this.#handle = undefined;
      const handle = await reopenHandle(this.#place, this.#options.sizes ?? {});
      this.#handle = handle;
      const read = decodeNumber(await handle.get("!flush"));
      if (read !== this.#flush && read !== this.#flush + 1) {
        throw new Fault("STORE_DAMAGED", `batch ${this.#flush} was acknowledged and is gone, the last one is ${read}`);
      }
      const lost = await lostIn(this.#place, handle);
      if (lost !== undefined) throw new Fault("STORE_DAMAGED", lost);
      await handle.put("!flush", encodeNumber(read), { sync: true }); // it takes writes again
      this.#settle(read);
    } catch (error) {
      this.#trouble = isFault(error)
        ? error
        : new Fault("STORE_WRITE_FAILED", `reopening '${this.#place.path}' failed: ${error}`, { cause: error });
    }
  }
  #settle(read: number): void {
    const group = this.#unsettled;
    const trouble = this.#trouble;
    this.#unsettled = undefined;
    this.#trouble = undefined;
    if (!group) return;
    if (read > this.#flush) {
      this.#flush = read;
      this.#land({ ...group, synced: true }); // recovery wrote it anew, and synced it
      return;
    }
    for (const { job } of [...group.members].reverse()) job.lost?.();
    for (const { reject } of group.members) reject(trouble);
  }
}

/** What opening found out. */
export interface Opened {
  readonly place: Place;
  readonly release: () => void;
  readonly handle: Handle;
  readonly flush: number;
  readonly format: number;
  readonly repairs: number;
  readonly notes: readonly string[];
}
