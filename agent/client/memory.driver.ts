import { randomUUID } from "node:crypto";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import type { WatchResponse } from "@blueflame/shared/gen/blueflame/node/v1/state_pb.ts";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { faultOf, type Line, passes } from "./line.driver.ts";
import {
  type BookedTrade,
  indexOf,
  type Operation,
  type Risk,
  riskFrom,
  type Trade,
  tradeFrom,
  wireOperation,
} from "./state.ts";

/** A value of the workload's own state, and its revision to put the next one on. */
export interface Kept {
  readonly value: Uint8Array;
  readonly revision: bigint;
}

/** How a commit is made. */
export interface CommitOptions {
  /**
   * What the workload itself calls this step, like `trade-17`: a program that died and does not know whether it was done does it
   * again under the same name, and it is done once. Default: one of its own for each call, which covers a death of the agent only.
   */
  readonly requestId?: string;
  /** Rejects with RISK_LOCKED while nothing may be traded. */
  readonly onlyWhileOpen?: boolean;
}

/** What came of a commit. */
export interface Committed {
  /** In the order of the operations: a key's new revision, or the index of an entry or trade. */
  readonly results: readonly { readonly revision: bigint; readonly first: number; readonly last: number }[];
  readonly risk: Risk;
  /** It had been done before, under this request id. */
  readonly alreadyDone: boolean;
}

/** What happened to the workload's state, as it is now. */
export type Change =
  | { readonly is: "put"; readonly key: string; readonly kept: Kept }
  | { readonly is: "deleted"; readonly key: string }
  | { readonly is: "log"; readonly log: string; readonly last: number }
  | { readonly is: "risk"; readonly risk: Risk }
  /** Something was missed: forget what was seen. What is there now follows, as if the watch had just begun. */
  | { readonly is: "again" }
  /** Nothing more is known for now. The first one, and the first after `again`, ends what was there already; later ones end each batch of changes. */
  | { readonly is: "caughtUp" };

/**
 * The workload's own state. Everything that resolves is on the agent's disk. Goes on trying while the agent is away, up to the
 * patience of the line, and does nothing twice; then it rejects with AGENT_UNREACHABLE, or STORE_WRITE_FAILED where the agent's disk
 * refuses, and the outcome is not known. Rejects with BAD_REQUEST for numbers that are no whole ones.
 */
export interface OwnState {
  /** Reads a key; undefined when it is not there. */
  get(key: string): Promise<Kept | undefined>;
  /**
   * Writes a key and resolves with the new revision. With `expectedRevision` (0n: must not exist yet) it writes only on top of
   * that revision, and rejects with STATE_CONFLICT otherwise. Without, the last write wins, and one that was given up may still land.
   */
  put(key: string, value: Uint8Array, expectedRevision?: bigint): Promise<bigint>;
  /** Removes a key; one that is not there is no error. */
  delete(key: string, expectedRevision?: bigint): Promise<void>;
  /** The keys that begin with `prefix`, in order; at most 1000 of them exist. */
  keys(prefix?: string): Promise<string[]>;
  /** All of the operations, or none. */
  commit(operations: readonly Operation[], options?: CommitOptions): Promise<Committed>;
  /** Adds to a log; resolves with the index of the last entry. */
  append(log: string, ...entries: Uint8Array[]): Promise<number>;
  /** Entries of a log after an index, oldest first, as they come page by page. Rejects with NOT_FOUND while nothing was ever appended. */
  readLog(log: string, after?: number): AsyncGenerator<{ index: number; at: Date; data: Uint8Array }>;
  /** May it trade? Ask before each order, or commit the order with `onlyWhileOpen`. */
  risk(): Promise<Risk>;
  /** Books a trade that has happened: once, if `requestId` names it. */
  recordTrade(trade: Trade, requestId?: string): Promise<Risk>;
  /** The booked trades after an index, oldest first. */
  trades(after?: number): AsyncGenerator<BookedTrade>;
  /** Sets the risk lock. Nothing that a workload can say opens it. */
  lockRisk(because: string): Promise<Risk>;
  /**
   * What is there and then what changes, over restarts of the agent, until the loop is left or the line is closed. With a prefix:
   * keys that begin with it, and nothing of logs and risk.
   */
  watch(prefix?: string): AsyncGenerator<Change>;
}

export function ownState(line: Line): OwnState {
  const { states, insist } = line;

  async function commit(operations: readonly Operation[], options: CommitOptions = {}): Promise<Committed> {
    const { requestId = randomUUID(), onlyWhileOpen = false } = options;
    const request = { requestId, operations: operations.map(wireOperation), onlyWhileOpen };
    const { results, risk, alreadyDone } = await insist((call) => states.commit(request, call));
    return {
      results: results.map(({ revision, firstIndex, lastIndex }) => ({
        revision,
        first: Number(firstIndex),
        last: Number(lastIndex),
      })),
      risk: riskFrom(risk),
      alreadyDone,
    };
  }

  return {
    commit,
    async get(key) {
      try {
        const { value, revision } = await insist((call) => states.get({ key }, call));
        // A copy: the message's bytes are a view into everything that arrived with it.
        return { value: Uint8Array.from(value), revision };
      } catch (error) {
        if (isFault(error, "NOT_FOUND")) return undefined;
        throw error;
      }
    },
    async put(key, value, expectedRevision) {
      const expected = expectedRevision !== undefined && { expectedRevision };
      const { results } = await commit([{ put: { key, value, ...expected } }]);
      return results[0]?.revision ?? 0n;
    },
    async delete(key, expectedRevision) {
      await commit([{ delete: { key, ...(expectedRevision !== undefined && { expectedRevision }) } }]);
    },
    async keys(prefix = "") {
      const { keys } = await insist((call) => states.list({ prefix, limit: 1000 }, call));
      return keys.map(({ key }) => key);
    },
    async append(log, ...entries) {
      const { results } = await commit([{ append: { log, entries } }]);
      return results[0]?.last ?? 0;
    },
    async *readLog(log, after = 0) {
      for (let at = after, more = true; more; ) {
        const page = await insist((call) => states.readLog({ log, afterIndex: indexOf(at) }, call));
        for (const { index, at: when, data } of page.entries) {
          at = Number(index);
          yield { index: at, at: when ? timestampDate(when) : new Date(0), data: Uint8Array.from(data) };
        }
        more = page.more;
      }
    },
    risk: async () => riskFrom((await insist((call) => states.getRisk({}, call))).risk),
    async recordTrade(trade, requestId) {
      return (await commit([{ trade }], requestId === undefined ? {} : { requestId })).risk;
    },
    async *trades(after = 0) {
      for (let at = after, more = true; more; ) {
        const page = await insist((call) => states.listTrades({ afterIndex: indexOf(at) }, call));
        for (const record of page.trades) {
          at = Number(record.index);
          yield tradeFrom(record);
        }
        more = page.more;
      }
    },
    lockRisk: async (because) => (await commit([{ lock: because }])).risk,
    watch: (prefix = "") => watch(line, prefix),
  };
}

/** One stream after the other, each from where the one before had come. */
async function* watch(line: Line, prefix: string): AsyncGenerator<Change> {
  let after = 0n;
  for (let tries = 0; !line.closed.aborted; ) {
    const { metadata } = line.within(0);
    const stream = line.states.watch({ afterRevision: after, prefix }, metadata ? { metadata } : {});
    const cancel = () => stream.cancel();
    line.closed.addEventListener("abort", cancel);
    try {
      for await (const response of stream as AsyncIterable<WatchResponse>) {
        tries = 0;
        after = response.change.case === "listAgain" ? 0n : response.revision;
        yield changeFrom(response);
      }
    } catch (error) {
      const fault = faultOf(error);
      if (line.closed.aborted) return;
      if (!passes(fault)) throw fault;
    } finally {
      line.closed.removeEventListener("abort", cancel);
      stream.cancel();
    }
    await line.breathe(tries++).catch(() => undefined);
  }
}

function changeFrom({ change }: WatchResponse): Change {
  switch (change.case) {
    case "key": {
      const { key, deleted, value, revision } = change.value;
      return deleted ? { is: "deleted", key } : { is: "put", key, kept: { value: Uint8Array.from(value), revision } };
    }
    case "log":
      return { is: "log", log: change.value.log, last: Number(change.value.lastIndex) };
    case "risk":
      return { is: "risk", risk: riskFrom(change.value) };
    case "listAgain":
      return { is: "again" };
    default:
      return { is: "caughtUp" };
  }
}
