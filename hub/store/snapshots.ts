/**
 * Snapshots of nodes' stores, in parts. What is sealed in them stays so: nothing here looks inside.
 *
 *   State  snapshot/<node>            -> which are kept, how far the one on its way came, which are being removed
 *   Log    snapshot/<node>/<id, cut>  -> the parts of one, in order
 *
 * A part is in the log before the row counts it; a snapshot leaves the row before its parts go, and is named there until they are gone.
 */
import { createHash } from "node:crypto";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import type { Log } from "@blueflame/shared/store/log.ts";
import type { State } from "@blueflame/shared/store/state.ts";
import type { Commits } from "./commits.ts";
import { rowBytes, rowOf } from "./rows.ts";

/** Every part but the last has so many bytes. */
export const partBytes = 256 * 1024;
/** What is kept of each node, how large one may be, and how much there may be of all nodes. */
export const snapshotLimits = { keep: 2, bytes: 96 * 1024 * 1024, allBytes: 32 * 1024 * 1024 * 1024 } as const;

/** One snapshot at this hub; whole when `stored` is `bytes`. */
export interface KeptSnapshotRow {
  readonly id: string;
  readonly takenWallMs: number;
  readonly incarnation: string;
  readonly generation: string;
  readonly bytes: number;
  readonly stored: number;
}
interface NodeSnapshots {
  readonly snapshots: readonly KeptSnapshotRow[];
  readonly leaving: readonly string[];
}

/** The snapshots of all nodes. */
export interface HubSnapshots {
  /** The one that came last first. */
  list(nodeId: string): Promise<readonly KeptSnapshotRow[]>;
  /**
   * Durable on return: how much of it is stored now. A part that is there already, and one that comes too early, change nothing.
   * Throws BAD_REQUEST for what is no part of it, LIMIT_REACHED when it is too large or there is no room.
   */
  put(nodeId: string, snapshot: Omit<KeptSnapshotRow, "stored">, offset: number, data: Uint8Array): Promise<number>;
  /** The part that begins at `offset`; empty at the end. Throws NOT_FOUND, BAD_REQUEST. */
  part(nodeId: string, id: string, offset: number): Promise<Uint8Array>;
}

export interface SnapshotBounds {
  readonly keep: number;
  readonly bytes: number;
  readonly allBytes: number;
}

const keyOf = (nodeId: string) => `snapshot/${nodeId}`;
const streamOf = (nodeId: string, id: string) => `snapshot/${nodeId}/${id.slice(0, 40)}`;
const partId = (at: number) => String(at).padStart(8, "0");
const nothing: NodeSnapshots = { snapshots: [], leaving: [] };

export async function hubSnapshots(
  state: State,
  log: Log,
  commits: Pick<Commits, "write">,
  bounds: SnapshotBounds = snapshotLimits,
): Promise<HubSnapshots> {
  const sizes = new Map<string, number>();
  for (const { key, value } of (await state.list("snapshot/")).entries) sizes.set(key, bytesIn(parse(value)));
  const turns = new Map<string, Promise<unknown>>();

  const inTurn = <T>(nodeId: string, work: () => Promise<T>): Promise<T> => {
    const turn = (turns.get(nodeId) ?? Promise.resolve()).then(work);
    const settled = turn.catch(() => undefined).finally(() => turns.get(nodeId) === settled && turns.delete(nodeId));
    turns.set(nodeId, settled);
    return turn;
  };
  const read = async (nodeId: string) => parse((await state.get(keyOf(nodeId)))?.value);
  const write = async (nodeId: string, next: NodeSnapshots) => {
    await commits.write([
      {
        put: keyOf(nodeId),
        value: rowBytes({ snapshots: [...next.snapshots].map((one) => ({ ...one })), leaving: [...next.leaving] }),
      },
    ]);
    sizes.set(keyOf(nodeId), bytesIn(next));
  };
  const remove = async (nodeId: string, now: NodeSnapshots): Promise<NodeSnapshots> => {
    if (now.leaving.length === 0) return now;
    for (const id of now.leaving) await log.trim(streamOf(nodeId, id), Number.MAX_SAFE_INTEGER);
    const next = { ...now, leaving: [] };
    await write(nodeId, next);
    return next;
  };
  const isWhole = async (nodeId: string, { id, bytes }: KeptSnapshotRow): Promise<boolean> => {
    const hash = createHash("sha256");
    try {
      for (let offset = 0; offset < bytes; offset += partBytes) hash.update(await partAt(nodeId, id, offset));
    } catch (error) {
      if (isFault(error, "NOT_FOUND")) return false; // a part that was lost here does not come back by asking for the last one
      throw error;
    }
    return hash.digest("hex") === id;
  };
  const partAt = async (nodeId: string, id: string, offset: number): Promise<Uint8Array> => {
    const at = offset / partBytes;
    const [item] = await log.range(streamOf(nodeId, id), { from: at, to: at + 1, limit: 1 });
    if (!item) throw new Fault("NOT_FOUND", `the part at ${offset} of the snapshot ${id.slice(0, 12)} is gone`);
    return item.data;
  };
  const checkRoom = (nodeId: string, bytes: number, now: NodeSnapshots) => {
    let all = bytes;
    for (const size of sizes.values()) all += size;
    const freed = now.snapshots.length >= bounds.keep ? (now.snapshots.at(-1)?.bytes ?? 0) : 0;
    if (all - freed <= bounds.allBytes) return;
    throw new Fault(
      "LIMIT_REACHED",
      `this hub keeps ${all - bytes} bytes of snapshots; ${bytes} of '${nodeId}' do not fit`,
    );
  };

  return {
    list: async (nodeId) => (await read(nodeId)).snapshots,
    put: (nodeId, snapshot, offset, data) =>
      inTurn(nodeId, async () => {
        checkPart(snapshot, offset, data, bounds);
        let now = await remove(nodeId, await read(nodeId));
        const known = now.snapshots.find(({ id }) => id === snapshot.id);
        // Room was found for the size that was told first.
        if (known && known.bytes !== snapshot.bytes)
          throw bad(`the snapshot has ${known.bytes} bytes by its first part`);
        if (!known) {
          checkRoom(nodeId, snapshot.bytes, now);
          // One at a time: what else was on its way is given up.
          const parted = part(now.snapshots, ({ stored, bytes }) => stored === bytes);
          now = await remove(nodeId, { snapshots: parted.yes, leaving: parted.no.map(({ id }) => id) });
        }
        const before = known?.stored ?? 0;
        if (offset !== before) return before;
        await log.append(streamOf(nodeId, snapshot.id), [
          { id: partId(offset / partBytes), at: offset / partBytes, data },
        ]);
        const row: KeptSnapshotRow = { ...snapshot, stored: before + data.byteLength };
        const others = now.snapshots.filter(({ id }) => id !== row.id);
        if (row.stored < row.bytes) {
          await write(nodeId, { ...now, snapshots: [row, ...others] });
          return row.stored;
        }
        if (!(await isWhole(nodeId, row))) {
          const gone = { snapshots: others, leaving: [row.id] };
          await write(nodeId, gone);
          await remove(nodeId, gone);
          throw new Fault(
            "BAD_REQUEST",
            `the snapshot ${row.id.slice(0, 12)} is not what its name says; send it again`,
          );
        }
        const all = [row, ...others];
        const kept = all.slice(0, bounds.keep);
        const next = { snapshots: kept, leaving: all.slice(bounds.keep).map(({ id }) => id) };
        await write(nodeId, next);
        await remove(nodeId, next);
        return row.stored;
      }),
    async part(nodeId, id, offset) {
      const found = (await read(nodeId)).snapshots.find((one) => one.id === id && one.stored === one.bytes);
      if (!found) throw new Fault("NOT_FOUND", `no snapshot '${id.slice(0, 80)}' is kept of '${nodeId}'`);
      if (!Number.isSafeInteger(offset) || offset % partBytes !== 0) throw bad(`no part begins at ${offset}`);
      return offset >= found.bytes ? new Uint8Array() : await partAt(nodeId, id, offset);
    },
  };
}

const bad = (saw: string) => new Fault("BAD_REQUEST", saw);

function checkPart(
  snapshot: Omit<KeptSnapshotRow, "stored">,
  offset: number,
  data: Uint8Array,
  bounds: SnapshotBounds,
) {
  if (!/^[0-9a-f]{64}$/.test(snapshot.id)) throw bad("the id of a snapshot is its SHA-256 in 64 hexadecimal digits");
  if (snapshot.bytes < 1) throw bad("an empty snapshot");
  if (snapshot.bytes > bounds.bytes) {
    throw new Fault("LIMIT_REACHED", `a snapshot of ${snapshot.bytes} bytes, at most ${bounds.bytes} are kept`);
  }
  if (offset % partBytes !== 0 || offset >= snapshot.bytes) throw bad(`no part begins at ${offset}`);
  const expected = Math.min(partBytes, snapshot.bytes - offset);
  if (data.byteLength !== expected) throw bad(`a part of ${data.byteLength} bytes where ${expected} are missing`);
}

function parse(value: Uint8Array | undefined): NodeSnapshots {
  const row = value && rowOf(value);
  return row ? (row as unknown as NodeSnapshots) : nothing;
}
function bytesIn({ snapshots }: NodeSnapshots): number {
  return snapshots.reduce((sum, { bytes }) => sum + bytes, 0);
}
function part<T>(all: readonly T[], is: (one: T) => boolean): { yes: T[]; no: T[] } {
  return { yes: all.filter(is), no: all.filter((one) => !is(one)) };
}
