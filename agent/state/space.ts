/**
 * What one workload keeps, without the bytes: which keys and logs there are, its risk state, and which of its requests were done.
 * It is the table of contents that every decision is made from; values, entries and trades themselves are only on the disk.
 *
 * Nothing here touches the disk. `commit.ts` turns a request into changes; the store writes them and keeps two spaces: what is on
 * its way (the next decision is made on top of it) and what is on the disk (what anybody is told).
 */
import type { Risk, Trade } from "./risk.ts";

/** A key without its value. A deleted one is kept for a while, for watchers and so that its revisions go on. */
export interface KeyMeta {
  readonly revision: number;
  readonly bytes: number;
  readonly atWallMs: number;
  /** The space's revision that it was last changed by. */
  readonly changed: number;
  readonly deleted: boolean;
}

/** A log without its entries: those from `first` to `last` are kept. */
export interface LogMeta {
  readonly first: number;
  readonly last: number;
  /** Bytes of all entries ever, and of those that were trimmed. */
  readonly appended: number;
  readonly trimmed: number;
  readonly changed: number;
}

/** The risk state, by which commit it came, and of which store it is known to be the newest. */
export interface KeptRisk {
  readonly risk: Risk;
  readonly changed: number;
  /** Where it differs from the store's own mark, newer losses may be missing: it counts as locked. */
  readonly mark: string;
}

/** What came of one operation. */
export interface Result {
  readonly revision: number;
  readonly first: number;
  readonly last: number;
}

/** A request that was done, for whoever repeats it. */
export interface Done {
  readonly id: string;
  /** Of what was asked: the same id for something else is a mistake. */
  readonly digest: string;
  readonly revision: number;
  readonly results: readonly Result[];
  /** When; absent: an earlier version wrote it. */
  readonly atWallMs?: number;
}

/** A trade as it is kept. */
export interface Booked {
  readonly index: number;
  readonly atWallMs: number;
  readonly session: string;
  readonly trade: Trade;
}

/** One thing that a commit changes. */
export type Change =
  | { readonly is: "key"; readonly key: string; readonly meta: KeyMeta; readonly value: Uint8Array | undefined }
  | { readonly is: "forgetKey"; readonly key: string }
  | { readonly is: "log"; readonly log: string; readonly meta: LogMeta }
  | { readonly is: "entry"; readonly log: string; readonly index: number; readonly entry: Entry }
  | { readonly is: "dropEntry"; readonly log: string; readonly index: number }
  | { readonly is: "trade"; readonly booked: Booked }
  | { readonly is: "dropTrade"; readonly index: number }
  | { readonly is: "risk"; readonly kept: KeptRisk }
  | { readonly is: "request"; readonly number: number; readonly done: Done }
  | { readonly is: "forgetRequest"; readonly number: number }
  /** What was deleted up to this revision is not known any more; no forgotten key had a revision above `floor`. */
  | { readonly is: "horizon"; readonly revision: number; readonly floor: number };

/** An entry of a log; `through` counts the bytes of the log up to its end. */
export interface Entry {
  readonly atWallMs: number;
  readonly through: number;
  readonly data: Uint8Array;
}

/** See above. Changed by {@link apply} only. */
export class Space {
  readonly keys = new Map<string, KeyMeta>();
  readonly logs = new Map<string, LogMeta>();
  readonly requests = new Map<string, { readonly number: number; readonly done: Done }>();
  readonly requestIds = new Map<number, string>();
  risk: KeptRisk | undefined;
  /** Of the last commit. */
  revision = 0;
  horizon = 0;
  floor = 0;
  /** Keys that are there. */
  live = 0;
  /** Of values and log entries. */
  bytes = 0;
  lastRequest = 0;
  /** None that is known has a lower number. */
  firstRequest = 1;
}

/** Makes the change; returns what takes it back. Undo in the reverse order only. */
export function apply(space: Space, change: Change): () => void {
  switch (change.is) {
    case "key":
      return setKey(space, change.key, change.meta);
    case "forgetKey":
      return setKey(space, change.key, undefined);
    case "log":
      return setLog(space, change.log, change.meta);
    case "risk": {
      const before = space.risk;
      space.risk = change.kept;
      const undoRevision = reach(space, change.kept.changed);
      return () => {
        space.risk = before;
        undoRevision();
      };
    }
    case "request":
      return setRequest(space, change.number, change.done);
    case "forgetRequest":
      return setRequest(space, change.number, undefined);
    case "horizon": {
      const { horizon, floor } = space;
      space.horizon = change.revision;
      space.floor = change.floor;
      const undoRevision = reach(space, change.revision);
      return () => {
        space.horizon = horizon;
        space.floor = floor;
        undoRevision();
      };
    }
    default:
      return () => undefined; // only on the disk
  }
}

function reach(space: Space, revision: number): () => void {
  const before = space.revision;
  space.revision = Math.max(before, revision);
  return () => {
    space.revision = before;
  };
}

function setKey(space: Space, key: string, meta: KeyMeta | undefined): () => void {
  const before = space.keys.get(key);
  const put = (one: KeyMeta | undefined, instead: KeyMeta | undefined) => {
    if (one) space.keys.set(key, one);
    else space.keys.delete(key);
    space.live += (one && !one.deleted ? 1 : 0) - (instead && !instead.deleted ? 1 : 0);
    space.bytes += (one?.bytes ?? 0) - (instead?.bytes ?? 0);
  };
  put(meta, before);
  const undoRevision = reach(space, meta?.changed ?? 0);
  return () => {
    put(before, meta);
    undoRevision();
  };
}

function setLog(space: Space, log: string, meta: LogMeta): () => void {
  const before = space.logs.get(log);
  space.logs.set(log, meta);
  space.bytes += logBytes(meta) - logBytes(before);
  const undoRevision = reach(space, meta.changed);
  return () => {
    if (before) space.logs.set(log, before);
    else space.logs.delete(log);
    space.bytes += logBytes(before) - logBytes(meta);
    undoRevision();
  };
}

/** Bytes of the entries that are kept. */
export function logBytes(meta: LogMeta | undefined): number {
  return meta ? meta.appended - meta.trimmed : 0;
}

function setRequest(space: Space, number: number, done: Done | undefined): () => void {
  const before = { last: space.lastRequest, first: space.firstRequest, id: space.requestIds.get(number) };
  const known = before.id === undefined ? undefined : space.requests.get(before.id);
  if (done) {
    if (space.requestIds.size === 0) space.firstRequest = number;
    space.requests.set(done.id, { number, done });
    space.requestIds.set(number, done.id);
    space.lastRequest = Math.max(before.last, number);
  } else {
    space.firstRequest = Math.max(space.firstRequest, number + 1);
    space.requestIds.delete(number);
    if (before.id !== undefined) space.requests.delete(before.id);
  }
  const undoRevision = reach(space, done?.revision ?? 0);
  return () => {
    if (done) {
      space.requests.delete(done.id);
      space.requestIds.delete(number);
    }
    if (before.id !== undefined && known) {
      space.requests.set(before.id, known);
      space.requestIds.set(number, before.id);
    }
    space.lastRequest = before.last;
    space.firstRequest = before.first;
    undoRevision();
  };
}
