/**
 * Snapshots of nodes' stores, in parts. What is sealed in them stays so: nothing here looks inside.
 *
 *   State  snapshot/<node>            -> which are kept, how far the one on its way came, which are being removed
 *   Log    snapshot/<node>/<id, cut>  -> the parts of one, in order
 *
 * Who goes when there is no room is in snapshot-room.ts. A part is in the log before the row counts it; a snapshot leaves the row before its parts go, and is named there until they are gone.
 */
import { createHash } from "node:crypto";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import type { Log } from "@blueflame/shared/store/log.ts";
import type { State } from "@blueflame/shared/store/state.ts";
import type { Commits } from "./commits.ts";
import { rowBytes, rowOf } from "./rows.ts";
import { bytesIn, isWhole, type NodeKept, roomFor } from "./snapshot-room.ts";

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
  /** When its last part came, by the hub's wall clock. */
  readonly atMs: number;
}
/** What a node says of a snapshot. */
export type OfferedSnapshot = Omit<KeptSnapshotRow, "stored" | "atMs">;
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
  put(nodeId: string, snapshot: OfferedSnapshot, offset: number, data: Uint8Array): Promise<number>;
  /** The part that begins at `offset`; empty at the end. Throws NOT_FOUND, BAD_REQUEST. */
  part(nodeId: string, id: string, offset: number): Promise<Uint8Array>;
  /** Forgets all of every node of which nothing was heard since `beforeMs`. Resolves with their ids. */
  forget(beforeMs: number): Promise<readonly string[]>;
}

export interface SnapshotBounds {
  readonly keep: number;
  readonly bytes: number;
  readonly allBytes: number;
}

/** When it is, and when something was heard of a node last; both in wall milliseconds of this hub. */
export interface Heard {
  readonly wallMs: () => number;
  readonly heardMs: (nodeId: string) => number;
}

const keyOf = (nodeId: string) => `snapshot/${nodeId}`;
const streamOf = (nodeId: string, id: string) => `snapshot/${nodeId}/${id.slice(0, 40)}`;
const partId = (at: number) => String(at).padStart(8, "0");
const nothing: NodeSnapshots = { snapshots: [], leaving: [] };

export async function hubSnapshots(
  state: State,
  log: Log,
  commits: Pick<Commits, "write">,
  heard: Heard,
  bounds: SnapshotBounds = snapshotLimits,
): Promise<HubSnapshots> {
  const openedMs = heard.wallMs();
  /** A row of an earlier version does not say when it came: now, at the latest. */
  const parse = (value: Uint8Array | undefined) => parseRow(value, openedMs);
  const known = new Map<string, readonly KeptSnapshotRow[]>();
  for (const { key, value } of (await state.list("snapshot/")).entries) {
    known.set(key.slice(keyOf("").length), parse(value).snapshots);
  }
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
    known.set(nodeId, next.snapshots);
  };
  /** A snapshot that comes is a sign of life too. */
  const lastHeardMs = (nodeId: string, snapshots: readonly KeptSnapshotRow[]) =>
    Math.max(heard.heardMs(nodeId), ...snapshots.map(({ atMs }) => atMs));
  const allKept = (): NodeKept[] =>
    [...known].map(([nodeId, snapshots]) => ({ nodeId, snapshots, heardMs: lastHeardMs(nodeId, snapshots) }));
  const remove = async (nodeId: string, now: NodeSnapshots): Promise<NodeSnapshots> => {
    if (now.leaving.length === 0) return now;
    for (const id of now.leaving) await log.trim(streamOf(nodeId, id), Number.MAX_SAFE_INTEGER);
    const next = { ...now, leaving: [] };
    await write(nodeId, next);
    return next;
  };
  const isSound = async (nodeId: string, { id, bytes }: KeptSnapshotRow): Promise<boolean> => {
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
  const room = (nodeId: string, bytes: number) => {
    const own = known.get(nodeId) ?? [];
    // What it has begun is given up, and the oldest beyond the bound goes when the new one is whole.
    const whole = own.filter(isWhole);
    const freed = bytesIn(own) - bytesIn(whole.slice(0, bounds.keep - 1));
    const found = roomFor({ nodeId, bytes, freed }, allKept(), bounds.allBytes, heard.wallMs());
    if (found.refused !== undefined) throw new Fault("LIMIT_REACHED", found.refused);
    return found.evict;
  };
  const drop = async (nodeId: string, gone: (one: KeptSnapshotRow) => boolean) => {
    const now = await read(nodeId);
    const parted = part(now.snapshots, (one) => !gone(one));
    const next = { snapshots: parted.yes, leaving: [...now.leaving, ...parted.no.map(({ id }) => id)] };
    await write(nodeId, next);
    await remove(nodeId, next);
  };
  /** In a turn of its own, and before the node's: two nodes that make room would wait for each other. */
  const makeRoom = (nodeId: string, { bytes }: OfferedSnapshot): Promise<void> =>
    inTurn("", async () => {
      for (const one of room(nodeId, bytes))
        await inTurn(one.nodeId, () => drop(one.nodeId, ({ id }) => id === one.id));
    });

  return {
    list: async (nodeId) => (await read(nodeId)).snapshots,
    async put(nodeId, snapshot, offset, data) {
      checkPart(snapshot, offset, data, bounds);
      if (!known.get(nodeId)?.some(({ id }) => id === snapshot.id)) {
        if (offset !== 0) return 0; // room is made only for what then lies there
        await makeRoom(nodeId, snapshot);
      }
      return inTurn(nodeId, async () => {
        let now = await remove(nodeId, await read(nodeId));
        const begun = now.snapshots.find(({ id }) => id === snapshot.id);
        // Room was found for the size that was told first.
        if (begun && begun.bytes !== snapshot.bytes)
          throw bad(`the snapshot has ${begun.bytes} bytes by its first part`);
        if (!begun) {
          if (offset !== 0) return 0;
          if (room(nodeId, snapshot.bytes).length > 0)
            throw new Fault("LIMIT_REACHED", "others were faster: try again");
          // One at a time: what else was on its way is given up.
          const parted = part(now.snapshots, isWhole);
          now = await remove(nodeId, { snapshots: parted.yes, leaving: parted.no.map(({ id }) => id) });
        }
        const before = begun?.stored ?? 0;
        if (offset !== before) return before;
        await log.append(streamOf(nodeId, snapshot.id), [
          { id: partId(offset / partBytes), at: offset / partBytes, data },
        ]);
        const row: KeptSnapshotRow = {
          ...snapshot,
          stored: before + data.byteLength,
          atMs: Math.floor(heard.wallMs()),
        };
        const others = now.snapshots.filter(({ id }) => id !== row.id);
        if (row.stored < row.bytes) {
          await write(nodeId, { ...now, snapshots: [row, ...others] });
          return row.stored;
        }
        if (!(await isSound(nodeId, row))) {
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
      });
    },
    async forget(beforeMs) {
      const forgotten: string[] = [];
      for (const { nodeId } of allKept()) {
        const isGone = () => lastHeardMs(nodeId, known.get(nodeId) ?? []) < beforeMs;
        if (!isGone()) continue;
        await inTurn(nodeId, async () => {
          if (!isGone()) return; // it has come back meanwhile
          await drop(nodeId, () => true);
          await commits.write([{ del: keyOf(nodeId) }]);
          known.delete(nodeId);
          forgotten.push(nodeId);
        });
      }
      return forgotten;
    },
    async part(nodeId, id, offset) {
      const found = (await read(nodeId)).snapshots.find((one) => one.id === id && isWhole(one));
      if (!found) throw new Fault("NOT_FOUND", `no snapshot '${id.slice(0, 80)}' is kept of '${nodeId}'`);
      if (!Number.isSafeInteger(offset) || offset % partBytes !== 0) throw bad(`no part begins at ${offset}`);
      return offset >= found.bytes ? new Uint8Array() : await partAt(nodeId, id, offset);
    },
  };
}

const bad = (saw: string) => new Fault("BAD_REQUEST", saw);

function checkPart(snapshot: OfferedSnapshot, offset: number, data: Uint8Array, bounds: SnapshotBounds) {
  if (!/^[0-9a-f]{64}$/.test(snapshot.id)) throw bad("the id of a snapshot is its SHA-256 in 64 hexadecimal digits");
  if (snapshot.bytes < 1) throw bad("an empty snapshot");
  if (snapshot.bytes > bounds.bytes) {
    throw new Fault("LIMIT_REACHED", `a snapshot of ${snapshot.bytes} bytes, at most ${bounds.bytes} are kept`);
  }
  if (offset % partBytes !== 0 || offset >= snapshot.bytes) throw bad(`no part begins at ${offset}`);
  const expected = Math.min(partBytes, snapshot.bytes - offset);
  if (data.byteLength !== expected) throw bad(`a part of ${data.byteLength} bytes where ${expected} are missing`);
}

function parseRow(value: Uint8Array | undefined, unknownMs: number): NodeSnapshots {
  const row = (value && rowOf(value)) as unknown as NodeSnapshots | undefined;
  if (!row) return nothing;
  return { ...row, snapshots: row.snapshots.map((one) => ({ ...one, atMs: one.atMs ?? unknownMs })) };
}
function part<T>(all: readonly T[], is: (one: T) => boolean): { yes: T[]; no: T[] } {
  return { yes: all.filter(is), no: all.filter((one) => !is(one)) };
}
