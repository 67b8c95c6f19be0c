import { Fault } from "../../errors/fault.ts";
import { checkAppend, checkRange } from "../limits.ts";
import type { Item, Log, Range } from "../log.ts";
import { compareKeys } from "../order.ts";
import type { Database, KeyRange } from "./database.ts";
import { type Write, waitingMax } from "./writer.ts";

/** So many items are forgotten in one batch. */
const trimStep = 1000;
/** So much shares one batch, one append at least; what waits is bounded as writes are (`waitingMax`). */
const groupMax = { appends: 1000, bytes: 4 * 1024 * 1024 } as const;
/** Wall milliseconds fit into 11 hexadecimal digits for the next 500 years, and into 14 for as long as numbers are exact. */
const atDigits = 14;

/** Appends that wait while others are on their way. */
interface Appending {
  readonly stream: string;
  readonly items: readonly Item[];
  readonly bytes: number;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * A Log in LevelDB:
 *
 *   l/<stream>\0<at, 14 hex>\0<id>  -> the item's bytes
 *   i/<stream>\0<id>                -> at, 14 hex         makes appending idempotent; goes with its item
 *
 * Appends go to the disk in one group at a time, so that looking for an id and writing it is one step.
 */
export function levelLog(database: Database): Log {
  const waiting: Appending[] = [];
  let appending = false;
  let waitingBytes = 0;

  const nextGroup = (): Appending[] => {
    let bytes = 0;
    const over = waiting.findIndex((one, at) => {
      bytes += one.bytes;
      return at > 0 && (at >= groupMax.appends || bytes > groupMax.bytes);
    });
    const group = waiting.splice(0, over === -1 ? waiting.length : over);
    for (const one of group) waitingBytes -= one.bytes;
    return group;
  };
  const write = async () => {
    appending = true;
    while (waiting.length > 0) {
      const group = nextGroup();
      try {
        const writes = await fresh(database, group);
        await database.submit({ build: () => writes }, true);
        for (const { resolve } of group) resolve();
      } catch (reason) {
        for (const { reject } of group) reject(reason);
      }
    }
    appending = false;
  };

  return {
    append(stream, items) {
      return new Promise((resolve, reject) => {
        checkAppend(stream, items);
        const bytes = items.reduce((sum, { data }) => sum + data.byteLength, 0);
        const there = waiting.length;
        if (there >= waitingMax.jobs || (there > 0 && waitingBytes + bytes > waitingMax.bytes)) {
          throw new Fault("LIMIT_REACHED", `${there} appends of ${waitingBytes} bytes wait for the disk`);
        }
        waitingBytes += bytes;
        const own = items.map((item) => ({ ...item, data: new Uint8Array(item.data) }));
        waiting.push({ stream, items: own, bytes, resolve, reject });
        if (!appending) void write(); // rejects its members, never itself
      });
    },
    async range(stream, range) {
      checkRange(stream, range);
      const keys = await keyRange(database, stream, range);
      if (!keys) return [];
      const found = await database.entries(keys);
      return found.map(([key, data]) => {
        const at = stream.length + 3;
        return { id: key.slice(at + atDigits + 1), at: Number.parseInt(key.slice(at, at + atDigits), 16), data };
      });
    },
    async trim(stream, before) {
      for (;;) {
        const old = await database.keys({
          gte: `l/${stream}\0`,
          lt: `l/${stream}\0${encodeAt(Math.max(0, before))}`,
          limit: trimStep,
        });
        const writes = old.flatMap((key): Write[] => [
          { type: "del", key },
          { type: "del", key: `i/${stream}\0${key.slice(stream.length + 3 + atDigits + 1)}` },
        ]);
        if (old.length > 0) await database.submit({ build: () => writes }, false);
        if (old.length < trimStep) return;
      }
    },
  };
}

/** The writes for those items of the group that are not there yet. */
async function fresh(database: Database, group: readonly Appending[]): Promise<Write[]> {
  const items = new Map<string, { key: string; item: Item }>();
  for (const { stream, items: added } of group) {
    for (const item of added) {
      const index = `i/${stream}\0${item.id}`;
      if (!items.has(index)) items.set(index, { key: `l/${stream}\0${encodeAt(item.at)}\0${item.id}`, item });
    }
  }
  const indexes = [...items.keys()];
  const known = await database.getMany(indexes);
  return indexes.flatMap((index, at): Write[] => {
    const added = items.get(index);
    if (known[at] !== undefined || !added) return [];
    return [
      { type: "put", key: added.key, value: added.item.data },
      { type: "put", key: index, value: Buffer.from(encodeAt(added.item.at)) },
    ];
  });
}

/** Undefined when nothing can be in it. */
async function keyRange(database: Database, stream: string, range: Range): Promise<KeyRange | undefined> {
  const prefix = `l/${stream}\0`;
  let gte = `${prefix}${encodeAt(Math.max(0, range.from ?? 0))}`;
  // \1 follows \0: behind everything of the stream.
  let lt = range.to === undefined ? `l/${stream}\u0001` : `${prefix}${encodeAt(Math.max(0, range.to))}`;
  if (range.after !== undefined) {
    const at = await database.get(`i/${stream}\0${range.after}`);
    // The item to go on behind was trimmed, and with it everything older: forwards that leaves all, backwards nothing.
    if (!at && range.reverse) return undefined;
    if (at) {
      const key = `${prefix}${Buffer.from(at).toString()}\0${range.after}`;
      const behind = `${key}\0`;
      if (range.reverse) lt = compareKeys(key, lt) < 0 ? key : lt;
      else gte = compareKeys(behind, gte) > 0 ? behind : gte;
    }
  }
  if (compareKeys(gte, lt) >= 0) return undefined;
  return { gte, lt, limit: range.limit, reverse: range.reverse ?? false };
}

function encodeAt(at: number): string {
  return Math.min(Math.ceil(at), Number.MAX_SAFE_INTEGER).toString(16).padStart(atDigits, "0");
}
