/**
 * Whose snapshot goes when a hub has no room for another one. Pure.
 *
 *   1  those of nodes that are gone, the longest silent first
 *   2  what was begun and not gone on with for a day
 *   3  whole ones that have a younger whole one of their node, the oldest first
 *
 * The last whole one of a node that lives never goes. So that large ones cannot shut out the others, a snapshot above its fair share
 * (the bound, divided by the nodes that live) is taken only while half of the room is free.
 */
import type { KeptSnapshotRow } from "./snapshots.ts";

/** Nothing was heard of a node for so long: it is gone, as far as room is concerned. */
const goneMs = 30 * 86_400_000;
const idleMs = 86_400_000;

/** What is kept of one node. */
export interface NodeKept {
  readonly nodeId: string;
  /** The one that came last first. */
  readonly snapshots: readonly KeptSnapshotRow[];
  /** When something was heard of it last, wall milliseconds of the hub. */
  readonly heardMs: number;
}
/** One that goes. */
export interface Evicted {
  readonly nodeId: string;
  readonly id: string;
}

/** What has to go so that `bytes` more of `nodeId` fit, beside `freed` that go anyway; or why they do not fit, and then nothing goes. */
export function roomFor(
  asked: { readonly nodeId: string; readonly bytes: number; readonly freed: number },
  kept: readonly NodeKept[],
  allBytes: number,
  nowMs: number,
): { readonly evict: readonly Evicted[]; readonly refused?: string } {
  const used = kept.reduce((sum, { snapshots }) => sum + bytesIn(snapshots), 0);
  const after = used - asked.freed + asked.bytes;
  const living = kept.filter(({ nodeId, heardMs }) => nodeId !== asked.nodeId && heardMs >= nowMs - goneMs).length + 1;
  const share = Math.floor(allBytes / living);
  if (asked.bytes > share && after > allBytes / 2) {
    const refused = `this hub keeps ${used} bytes of snapshots, and ${asked.bytes} of '${asked.nodeId}' are more than its share of ${share}`;
    return { evict: [], refused };
  }
  const evict: Evicted[] = [];
  let missing = after - allBytes;
  for (const { nodeId, id, bytes } of candidates(kept, asked.nodeId, nowMs)) {
    if (missing <= 0) break;
    evict.push({ nodeId, id });
    missing -= bytes;
  }
  if (missing <= 0) return { evict };
  const refused = `this hub keeps ${used} bytes of snapshots; ${asked.bytes} of '${asked.nodeId}' do not fit`;
  return { evict: [], refused };
}

function candidates(kept: readonly NodeKept[], asking: string, nowMs: number) {
  const found = kept.flatMap(({ nodeId, snapshots, heardMs }) => {
    const gone = nodeId !== asking && heardMs < nowMs - goneMs;
    const newest = snapshots.find(isWhole);
    return snapshots.flatMap((one) => {
      const whole = isWhole(one);
      const rank = gone ? 1 : !whole && one.atMs < nowMs - idleMs ? 2 : whole && one !== newest ? 3 : undefined;
      // Its own older one goes by itself once the new one is whole.
      if (rank === undefined || (nodeId === asking && rank === 3)) return [];
      return [{ nodeId, id: one.id, bytes: one.bytes, rank, sinceMs: gone ? heardMs : one.atMs }];
    });
  });
  return found.sort((a, b) => a.rank - b.rank || a.sinceMs - b.sinceMs);
}

export function isWhole({ stored, bytes }: KeptSnapshotRow): boolean {
  return stored === bytes;
}
export function bytesIn(snapshots: readonly KeptSnapshotRow[]): number {
  return snapshots.reduce((sum, { bytes }) => sum + bytes, 0);
}
