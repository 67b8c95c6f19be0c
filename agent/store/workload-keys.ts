/**
 * Where the rows of workloads lie, and what stands in them: the only place that makes their keys.
 *
 *   kv/<workload>\0<key>            -> revision:8 value
 *   name/<workload>\0<key>          -> KeyMeta as JSON             also of keys that were deleted a while ago
 *   log/<workload>\0<log>           -> LogMeta as JSON
 *   entry/<workload>\0<log>\0<n>    -> at:8 through:8 data         by index
 *   trade/<workload>/<n>            -> Booked as JSON              by index, the newest 20,000
 *   risk/<workload>                 -> KeptRisk as JSON
 *   request/<workload>/<n>          -> Done as JSON                the newest 1,000, more of the last 2 min
 *   space/<workload>                -> horizon and floor as JSON
 *
 * Between the two NULs stands what a workload has chosen: it may say more than the disk should know. A workload's own name has
 * neither NUL nor slash.
 */
import type { Write } from "@blueflame/shared/store/level/writer.ts";
import { stateMax } from "../state/bounds.ts";
import type { Booked, Change, Done, Entry, KeptRisk, KeyMeta, LogMeta, Space } from "../state/space.ts";
import { ordinal, textOf } from "./codec.ts";

/** The tables that are read whole at the opening, in this order. */
export const contentTables = ["name", "log", "risk", "request", "space"] as const;

export const valueRow = (workload: string, key: string) => `kv/${workload}\0${key}`;
const nameRow = (workload: string, key: string) => `name/${workload}\0${key}`;
const logRow = (workload: string, log: string) => `log/${workload}\0${log}`;
export const entryRow = (workload: string, log: string, index: number) =>
  `entry/${workload}\0${log}\0${ordinal(index)}`;
export const tradeRow = (workload: string, index: number) => `trade/${workload}/${ordinal(index)}`;
const riskRow = (workload: string) => `risk/${workload}`;
const requestRow = (workload: string, number: number) => `request/${workload}/${ordinal(number)}`;
const spaceRow = (workload: string) => `space/${workload}`;

/** What is written for a change. */
export function writesOf(workload: string, change: Change): Write[] {
  switch (change.is) {
    case "key": {
      const { key, meta, value } = change;
      const row = valueRow(workload, key);
      const contents: Write =
        value === undefined ? { type: "del", key: row } : { type: "put", key: row, value: withRevision(meta, value) };
      return [contents, putJson(nameRow(workload, key), meta)];
    }
    case "forgetKey":
      return [{ type: "del", key: nameRow(workload, change.key) }];
    case "log":
      return [putJson(logRow(workload, change.log), change.meta)];
    case "entry": {
      const row = entryRow(workload, change.log, change.index);
      return [{ type: "put", key: row, value: entryBytes(change.entry) }];
    }
    case "dropEntry":
      return [{ type: "del", key: entryRow(workload, change.log, change.index) }];
    case "trade": {
      const { trade, ...rest } = change.booked;
      const data = Buffer.from(trade.data).toString("base64");
      return [putJson(tradeRow(workload, change.booked.index), { ...rest, trade: { ...trade, data } })];
    }
    case "dropTrade":
      return [{ type: "del", key: tradeRow(workload, change.index) }];
    case "risk":
      return [putJson(riskRow(workload), change.kept)];
    case "request":
      return [putJson(requestRow(workload, change.number), change.done)];
    case "forgetRequest":
      return [{ type: "del", key: requestRow(workload, change.number) }];
    case "horizon":
      return [putJson(spaceRow(workload), { horizon: change.revision, floor: change.floor })];
  }
}

/** Every row of a workload; for one that forgets it. */
export function* rowsOf(workload: string, space: Space): Generator<string> {
  for (const key of space.keys.keys()) yield* [valueRow(workload, key), nameRow(workload, key)];
  for (const [log, { first, last }] of space.logs) {
    for (let index = first; index <= last; index++) yield entryRow(workload, log, index);
    yield logRow(workload, log);
  }
  const trades = space.risk?.risk.trades ?? 0;
  for (let index = Math.max(1, trades - stateMax.trades + 1); index <= trades; index++) yield tradeRow(workload, index);
  for (const number of space.requestIds.keys()) yield requestRow(workload, number);
  yield* [riskRow(workload), spaceRow(workload)];
}

/** The change that wrote a row of {@link contentTables}, without bytes: what a space is loaded from. */
export function changeOf(row: string, bytes: Uint8Array): { workload: string; change: Change } {
  const table = row.slice(0, row.indexOf("/"));
  const rest = row.slice(table.length + 1);
  const read = <T>() => JSON.parse(textOf(bytes)) as T;
  const [workload = "", name = ""] = rest.split(table === "request" ? "/" : "\0");
  switch (table) {
    case "name":
      return { workload, change: { is: "key", key: name, meta: read<KeyMeta>(), value: undefined } };
    case "log":
      return { workload, change: { is: "log", log: name, meta: read<LogMeta>() } };
    case "risk":
      return { workload, change: { is: "risk", kept: read<KeptRisk>() } };
    case "request":
      return { workload, change: { is: "request", number: Number.parseInt(name, 16), done: read<Done>() } };
    default: {
      const { horizon, floor } = read<{ horizon: number; floor: number }>();
      return { workload, change: { is: "horizon", revision: horizon, floor } };
    }
  }
}

/** Whose value a row of `kv/` is. */
export function ownerOf(row: string): { workload: string; key: string } {
  const at = row.indexOf("\0");
  return { workload: row.slice("kv/".length, at), key: row.slice(at + 1) };
}

export function readValue(found: Uint8Array): { value: Uint8Array; revision: number } {
  return { revision: numberAt(found, 0), value: found.subarray(8) };
}
export function readEntry(found: Uint8Array): Entry {
  return { atWallMs: numberAt(found, 0), through: numberAt(found, 8), data: found.subarray(16) };
}
export function readTrade(bytes: Uint8Array): Booked {
  const { trade, ...rest } = JSON.parse(textOf(bytes));
  // JSON leaves out what is undefined.
  const { profit, openExposure, sessionProfit } = trade;
  return { ...rest, trade: { ...trade, profit, openExposure, sessionProfit, data: Buffer.from(trade.data, "base64") } };
}
/** An entry's index, from its row. */
export function indexOf(row: string): number {
  return Number.parseInt(row.slice(-ordinal(0).length), 16);
}

function withRevision({ revision }: KeyMeta, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + value.length);
  setNumber(bytes, 0, revision);
  bytes.set(value, 8);
  return bytes;
}
function entryBytes({ atWallMs, through, data }: Entry): Uint8Array {
  const bytes = new Uint8Array(16 + data.length);
  setNumber(bytes, 0, Math.floor(atWallMs));
  setNumber(bytes, 8, through);
  bytes.set(data, 16);
  return bytes;
}
function putJson(key: string, value: unknown): Write {
  return { type: "put", key, value: Buffer.from(JSON.stringify(value)) };
}
function numberAt(bytes: Uint8Array, at: number): number {
  return Number(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(at));
}
function setNumber(bytes: Uint8Array, at: number, value: number): void {
  new DataView(bytes.buffer).setBigUint64(at, BigInt(value));
}
