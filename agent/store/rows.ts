import type { Durability, Write } from "@blueflame/shared/store/level/writer.ts";
import { ordinal } from "./codec.ts";
import type { SealedDatabase } from "./sealed-database.ts";

/** A part of a batch that is being built: what to write, and how to take back what was noted of it in memory. */
export interface Part {
  readonly writes: readonly Write[];
  readonly undo?: () => void;
  readonly landed?: () => void;
}

/**
 * A table of rows in the order of their arrival, of which the newest `max` are kept: each new row deletes the one that is
 * `max` older, in the same batch. Nothing has to be counted, and the bound is exact.
 */
export class Rows {
  readonly #database: SealedDatabase;
  readonly #prefix: string;
  readonly #max: number;
  #next = 1;

  /** `prefix` without its slash. */
  constructor(database: SealedDatabase, prefix: string, max: number) {
    this.#database = database;
    this.#prefix = prefix;
    this.#max = max;
  }
  async load(): Promise<void> {
    const [last] = await this.#database.keys({ ...this.#all(), reverse: true, limit: 1 });
    this.#next = last === undefined ? 1 : Number.parseInt(last.slice(this.#prefix.length + 1), 16) + 1;
  }
  append(value: Uint8Array): Part & { readonly at: number } {
    const at = this.#next++;
    const key = this.keyOf(at);
    const writes: Write[] = [{ type: "put", key, value }];
    if (at > this.#max) writes.push({ type: "del", key: this.keyOf(at - this.#max) });
    const undo = () => {
      this.#next = at;
    };
    return { at, writes, undo };
  }
  /** Of what is left without the newest `skip`, the newest: as many as the page holds, newest first. */
  async newest({ limit, skip = 0, bytesMax = Number.POSITIVE_INFINITY }: Page): Promise<Uint8Array[]> {
    const range = await below(this.#database, this.#all(), skip);
    const found = range && (await this.#database.entriesWhile({ ...range, reverse: true, limit }, fitting(bytesMax)));
    return (found ?? []).map(([, value]) => value);
  }
  /** Every row, oldest first. */
  async all(): Promise<{ at: number; value: Uint8Array }[]> {
    const found = await this.#database.entries(this.#all());
    return found.map(([key, value]) => ({
      at: Number.parseInt(key.slice(this.#prefix.length + 1), 16),
      value,
    }));
  }
  keyOf(at: number): string {
    return `${this.#prefix}/${ordinal(at)}`;
  }
  #all() {
    return { gte: `${this.#prefix}/`, lt: `${this.#prefix}0` }; // "0" follows "/"
  }
}

/**
 * A page of what is read newest first: at most so many, and no more bytes than these, but at least one. Who pages skips what the
 * pages before held, goes on until one is empty, and drops what comes twice because something new has come meanwhile.
 */
export interface Page {
  readonly limit: number;
  readonly skip?: number;
  readonly bytesMax?: number;
}

/** A number is a page of so many. */
export function pageOf(page: number | Page): Page {
  return typeof page === "number" ? { limit: page } : page;
}

/** The range without its newest `skip`; undefined when nothing is left. */
export async function below<R extends { readonly gte: string; readonly lt: string }>(
  database: Pick<SealedDatabase, "keys">,
  range: R,
  skip: number,
): Promise<R | undefined> {
  if (skip === 0) return range;
  const skipped = await database.keys({ ...range, reverse: true, limit: skip });
  const last = skipped.at(-1);
  return last === undefined || skipped.length < skip ? undefined : { ...range, lt: last };
}

/** True for rows as long as they fit into a page; the first one always does. */
export function fitting(bytesMax: number): (value: Uint8Array) => boolean {
  let bytes = 0;
  return (value) => {
    const fits = bytes === 0 || bytes + value.length <= bytesMax;
    bytes += value.length;
    return fits;
  };
}

/** About what these hold in memory. */
export function bytesIn(held: readonly (Uint8Array | Part | undefined)[]): number {
  let bytes = 0;
  for (const one of held) {
    if (one instanceof Uint8Array) bytes += one.byteLength;
    else for (const write of one?.writes ?? []) bytes += write.type === "put" ? write.value.byteLength : 0;
  }
  return bytes;
}

/** Writes the parts that `make` gives, together or not at all. `bytes`: about what `make` holds while it waits. */
export async function writeParts(
  database: Pick<SealedDatabase, "submit">,
  durability: Durability | boolean,
  make: () => readonly Part[],
  bytes = 0,
): Promise<void> {
  let parts: readonly Part[] = [];
  await database.submit(
    {
      bytes,
      build() {
        parts = make();
        return parts.flatMap((part) => part.writes);
      },
      landed() {
        for (const part of parts) part.landed?.();
      },
      lost() {
        for (const part of [...parts].reverse()) part.undo?.();
      },
    },
    durability,
  );
}
