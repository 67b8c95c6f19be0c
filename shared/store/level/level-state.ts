import { Fault, isFault } from "../../errors/fault.ts";
import { checkCommit } from "../limits.ts";
import { ownOps, ProcessLease } from "../memory/memory-state.ts";
import { type Cond, type Lease, type Op, OutcomeUnknown, type Rev, type State } from "../state.ts";
import { defaultHistory, type HistoryBound, type Row, type Staged, StateTable } from "../table.ts";
import type { Database } from "./database.ts";
import { Unsettled, type Write } from "./writer.ts";

/** A lease may hold more keys than a commit may write: its end takes so many at once. */
const releaseMax = 1000;
const revKey = "!rev";

/**
 * A State whose whole content stands in memory and whose every commit stands in LevelDB first:
 *
 *   s/<key>   -> flags:1 rev:8 value    flag 1: written with a lease, and void when the process that held it is gone
 *   !rev      -> rev:8                  the last commit
 *
 * `close` ends watches and leases; the database is closed by whoever opened it.
 */
export async function levelState(database: Database, history: HistoryBound = defaultHistory): Promise<State> {
  const { rev, rows, leased } = await load(database);
  const table = new StateTable(rev, rows, history);
  const leases = new Set<Lease>();

  const apply = async (when: readonly Cond[], then: readonly Op[]): Promise<Rev | null> => {
    let staged: Staged | null = null;
    try {
      await database.submit(
        {
          bytes: then.reduce((sum, op) => sum + ("put" in op ? op.value.byteLength : 0), 0),
          build() {
            staged = table.stage(when, then);
            return staged ? writesOf(staged) : [];
          },
          landed: () => staged && table.land(staged),
          lost: () => table.unstage(),
        },
        true,
      );
    } catch (error) {
      if (error instanceof Unsettled) throw new OutcomeUnknown(error.message, { cause: error });
      throw error;
    }
    return (staged as Staged | null)?.rev ?? null;
  };
  const dropKeys = async (keys: readonly string[]) => {
    for (let at = 0; at < keys.length; at += releaseMax) {
      await apply(
        [],
        keys.slice(at, at + releaseMax).map((del) => ({ del })),
      );
    }
  };
  const forget = async (lease: Lease) => {
    leases.delete(lease);
    await dropKeys(table.heldBy(lease));
  };
  await dropKeys(leased); // their process is dead: this one holds the lock

  return {
    get: async (key) => table.get(key),
    list: async (prefix) => table.list(prefix),
    async commit(when, then) {
      checkCommit(when, then);
      return await apply(when, ownOps(then));
    },
    watch: (prefix, after, stop) => table.watch(prefix, after, stop),
    async lease(ttlMs) {
      const lease = new ProcessLease(ttlMs, forget);
      leases.add(lease);
      return lease;
    },
    async close() {
      for (const lease of [...leases]) {
        await lease.release().catch((error) => {
          // The keys stay for the next open to delete; the claim itself has ended.
          if (!isFault(error) && !(error instanceof OutcomeUnknown)) throw error;
        });
      }
      table.end();
    },
  };
}

function writesOf(staged: Staged): Write[] {
  if (staged.rows.size === 0) return [];
  const writes: Write[] = [{ type: "put", key: revKey, value: encodeRev(staged.rev) }];
  for (const [key, row] of staged.rows) {
    writes.push(row ? { type: "put", key: `s/${key}`, value: encodeRow(row) } : { type: "del", key: `s/${key}` });
  }
  return writes;
}

async function load(database: Database): Promise<{ rev: Rev; rows: Row[]; leased: string[] }> {
  const found = await database.get(revKey);
  const rows: Row[] = [];
  const leased: string[] = [];
  // "0" follows "/".
  for (const [stored, bytes] of await database.entries({ gte: "s/", lt: "s0" })) {
    const key = stored.slice(2);
    if (bytes.byteLength < 9) throw new Fault("STORE_DAMAGED", `the row of '${key}' is cut`);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    // A copy: a view would keep the row's own bytes alive beside it.
    rows.push({ key, rev: view.getBigUint64(1), value: new Uint8Array(bytes.subarray(9)) });
    if ((view.getUint8(0) & 1) === 1) leased.push(key);
  }
  return { rev: found ? new DataView(found.buffer, found.byteOffset).getBigUint64(0) : 0n, rows, leased };
}

function encodeRev(rev: Rev): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, rev);
  return bytes;
}
function encodeRow(row: Row): Uint8Array {
  const bytes = new Uint8Array(9 + row.value.byteLength);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, row.lease ? 1 : 0);
  view.setBigUint64(1, row.rev);
  bytes.set(row.value, 9);
  return bytes;
}
