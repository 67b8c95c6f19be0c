import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { Database, KeyRange } from "@blueflame/shared/store/level/database.ts";
import type { Durability, Job, Write } from "@blueflame/shared/store/level/writer.ts";
import { compareKeys } from "@blueflame/shared/store/order.ts";
import { type Codec, isRecordDamage, shown, split } from "./codec.ts";

/** Rows that are looked at to find out where a record comes from that does not open. */
const searchMax = 20_000;
/** Of damaged records, so many are remembered by name. */
const damagedMax = 100;

/**
 * The agent's LevelDB as its tables see it: keys and values in the clear, and on the disk neither. A record that does not open
 * rejects the read that met it with what is wrong with it, and stays named in {@link trouble} until it is deleted; it is never left out as if it
 * were not there.
 *
 * Hidden names (see the codec) cost order: a range inside `table/owner\0` is read whole, opened and put into order here, so
 * whoever writes such a table bounds it per owner. A range whose bounds share one whole name (`table/owner\0name\0from` to
 * `…\0to`) is read as it stands on the disk. A range over several owners comes in the order of the disk.
 */
export class SealedDatabase {
  readonly #raw: Database;
  readonly #codec: Codec;
  readonly #damaged = new Map<string, Fault>();
  /** Places that were written since a sweep began to read; undefined while there is none. */
  #written: Set<string> | undefined;
  readonly #onDamage: (fault: Fault) => void;

  /** `onDamage` is called once for each record that does not open. */
  constructor(raw: Database, codec: Codec, onDamage: (fault: Fault) => void = () => undefined) {
    this.#raw = raw;
    this.#codec = codec;
    this.#onDamage = onDamage;
  }

  get repairs(): number {
    return this.#raw.repairs;
  }

  /** As `Database.submit`; the job's keys and values are in the clear. A damaged record that is deleted is no trouble any more. */
  submit(job: Job, durability: Durability | boolean): Promise<void> {
    let gone: string[] = [];
    const build = () => {
      const writes = job.build().map((write) => this.#sealed(write));
      if (this.#damaged.size > 0) {
        gone = writes.flatMap(({ type, key }) => (type === "del" && this.#damaged.has(key) ? key : []));
      }
      return writes;
    };
    const landed = () => {
      for (const place of gone) this.#damaged.delete(place);
      job.landed?.();
    };
    return this.#raw.submit({ ...bound(job), build, landed }, durability);
  }
  sync(): Promise<void> {
    return this.#raw.sync();
  }
  #sealed(write: Write): Write {
    const key = this.#codec.placeOf(write.key);
    this.#written?.add(key);
    return write.type === "del"
      ? { type: "del", key }
      : { type: "put", key, value: this.#codec.seal(write.key, write.value) };
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    const place = this.#codec.placeOf(key);
    const sealed = await this.#raw.get(place);
    return sealed && (await this.#open(place, sealed)).value;
  }
  async getMany(keys: readonly string[]): Promise<(Uint8Array | undefined)[]> {
    const places = keys.map((key) => this.#codec.placeOf(key));
    const found = await this.#raw.getMany(places);
    return Promise.all(found.map(async (one, at) => one && (await this.#open(places[at] ?? "", one)).value));
  }
  /** In key order; `limit` counts what is returned. */
  async entries(range: KeyRange): Promise<[string, Uint8Array][]> {
    const { places, whole } = this.#places(range);
    const found: [string, Uint8Array][] = [];
    for (const [place, sealed] of await this.#raw.entries(places)) {
      const { key, value } = await this.#open(place, sealed);
      if (whole || (compareKeys(key, range.gte) >= 0 && compareKeys(key, range.lt) < 0)) found.push([key, value]);
    }
    if (whole) return found;
    found.sort(([a], [b]) => compareKeys(a, b));
    if (range.reverse) found.reverse();
    return range.limit === undefined ? found : found.slice(0, range.limit);
  }
  /** Hidden names are read out of their values; what stands in the clear is not opened. */
  async keys(range: KeyRange): Promise<string[]> {
    const { places, whole } = this.#places(range);
    if (!whole) return (await this.entries(range)).map(([key]) => key);
    const found = await this.#raw.keys(places);
    if (!found.some((place) => place.includes("\0"))) return found;
    return (await this.entries(range)).map(([key]) => key);
  }
  /** Entries until `take` says no to one; not for ranges inside `table/owner\0`. */
  async entriesWhile(range: KeyRange, take: (value: Uint8Array) => boolean): Promise<[string, Uint8Array][]> {
    const { places } = this.#places(range);
    const found = await this.#raw.entriesWhile(places, take);
    const opened: [string, Uint8Array][] = [];
    for (const [place, sealed] of found) {
      const { key, value } = await this.#open(place, sealed);
      opened.push([key, value]);
    }
    return opened;
  }

  /** Every entry of the range as it was at one moment, in the order of the disk; each is awaited. Rejects as `Database.scan`. */
  scan(range: KeyRange, each: (key: string, value: Uint8Array) => Promise<void> | void): Promise<void> {
    return this.#raw.scan(this.#places(range).places, async (place, sealed) => {
      const { key, value } = await this.#open(place, sealed);
      await each(key, value);
    });
  }

  /** The error line while writes are refused or a record is damaged; undefined while all is well. */
  trouble(): string | undefined {
    return this.#raw.trouble() ?? this.#damaged.values().next().value?.message;
  }

  /**
   * Seals again what an older key sealed, at most `limit` rows behind `after`. Resolves with where to go on; undefined at the
   * end. What is written meanwhile by others stays as they wrote it.
   */
  async resealSome(after: string, limit: number): Promise<string | undefined> {
    this.#written = new Set();
    try {
      await this.#raw.submit({ build: () => [] }, false); // whatever was built before this is on the disk now
      const rows = await this.#raw.entries({ gte: `${after}\0`, lt: "\x7f", limit });
      const old: [string, string, Uint8Array][] = [];
      for (const [place, sealed] of rows) {
        if (!this.#codec.isOld(sealed)) continue;
        const opened = await this.#open(place, sealed).catch(() => undefined); // it is named as damaged
        if (opened) old.push([place, opened.key, opened.value]);
      }
      const build = () =>
        old.flatMap(([place, key, value]): Write[] =>
          this.#written?.has(place) ? [] : [{ type: "put", key: place, value: this.#codec.seal(key, value) }],
        );
      if (old.length > 0) await this.#raw.submit({ build }, false);
      return rows.length < limit ? undefined : rows.at(-1)?.[0];
    } finally {
      this.#written = undefined;
    }
  }

  #places(range: KeyRange): { places: KeyRange; whole: boolean } {
    const from = split(range.gte);
    const to = split(range.lt);
    if (!range.gte.includes("\0")) return { places: range, whole: true };
    if (from.name !== undefined && from.rest !== "" && from.head === to.head && from.name === to.name) {
      const places = { ...range, gte: this.#codec.placeOf(range.gte), lt: this.#codec.placeOf(range.lt) };
      return { places, whole: true };
    }
    // "\u0001" follows "\0": behind everything of this owner.
    return { places: { gte: from.head, lt: `${from.head.slice(0, -1)}\u0001` }, whole: false };
  }

  async #open(place: string, sealed: Uint8Array): Promise<{ key: string; value: Uint8Array }> {
    try {
      return this.#codec.open(place, sealed);
    } catch (error) {
      if (!isRecordDamage(error)) throw error;
      throw await this.#named(place, sealed, error);
    }
  }
  /** What is wrong with it as exactly as can be said: a record that opens elsewhere was moved. */
  async #named(place: string, sealed: Uint8Array, fault: Fault): Promise<Fault> {
    const known = this.#damaged.get(place);
    if (known) return known;
    const home = fault.code === "STORE_RECORD_CHANGED" ? await this.#homeOf(place, sealed) : undefined;
    const named = home === undefined ? fault : swapped(place, home);
    if (this.#damaged.size < damagedMax) this.#damaged.set(place, named);
    this.#onDamage(named);
    return named;
  }
  async #homeOf(place: string, sealed: Uint8Array): Promise<string | undefined> {
    const places = await this.#raw.keys({ gte: "a", lt: "\x7f", limit: searchMax });
    return homeOf(this.#codec, place, sealed, places);
  }
}

/** The place at which the record opens that does not open at `place`; undefined when there is none among `places`. */
export function homeOf(codec: Codec, place: string, sealed: Uint8Array, places: readonly string[]): string | undefined {
  return places.find((other) => {
    if (other === place) return false;
    try {
      codec.open(other, sealed);
      return true;
    } catch {
      return false;
    }
  });
}

export function swapped(place: string, home: string): Fault {
  return new Fault("STORE_RECORD_SWAPPED", `the record '${shown(place)}' is that of '${shown(home)}'`);
}

function bound(job: Job): Job {
  return {
    ...(job.bytes !== undefined && { bytes: job.bytes }),
    build: () => job.build(),
    ...(job.landed && { landed: () => job.landed?.() }),
    ...(job.lost && { lost: () => job.lost?.() }),
  };
}
