import type { Op, State } from "@blueflame/shared/store/state.ts";
import type { JsonObject } from "@bufbuild/protobuf";
import type { Commits } from "./commits.ts";
import { rowBytes, rowOf } from "./rows.ts";

/** The place of an outbox here: everything up to `through` is durable. `atMs`: when it moved last, wall milliseconds of the hub. */
export function placeBytes(through: bigint, atMs: number): Uint8Array {
  return rowBytes({ through: `${through}`, atMs: Math.floor(atMs) });
}

interface Place {
  readonly key: string;
  readonly row: JsonObject;
  /** Undefined in a row of an earlier version. */
  readonly atMs: number | undefined;
}

/**
 * Forgets the places of outboxes that have not moved since `beforeMs`: of lives that are over, and all of nodes that are gone. The one that
 * moved last stays as long as its node; beyond `perNode` of a node the oldest go at once. Nothing that came before is here any more
 * then: what is sent again counts as news.
 */
export async function forgetPlaces(
  state: State,
  commits: Pick<Commits, "write">,
  when: { readonly nowMs: number; readonly beforeMs: number; readonly perNode: number },
  isGone: (nodeId: string) => boolean,
): Promise<void> {
  const byNode = new Map<string, Place[]>();
  for (const { key, value } of (await state.list("through/")).entries) {
    const row = rowOf(value);
    if (!row) continue;
    const nodeId = key.split("/")[1] ?? "";
    const own = byNode.get(nodeId) ?? [];
    own.push({ key, row, atMs: typeof row.atMs === "number" ? row.atMs : undefined });
    byNode.set(nodeId, own);
  }
  const ops: Op[] = [];
  for (const [nodeId, places] of byNode) {
    const gone = isGone(nodeId);
    const movedMs = ({ atMs }: Place) => atMs ?? when.nowMs;
    places.sort((a, b) => movedMs(b) - movedMs(a));
    const newestMs = places[0] ? movedMs(places[0]) : 0;
    for (const [index, place] of places.entries()) {
      const over = movedMs(place) < when.beforeMs && (gone || movedMs(place) < newestMs);
      if (over || index >= when.perNode) ops.push({ del: place.key });
      else if (place.atMs === undefined)
        ops.push({ put: place.key, value: rowBytes({ ...place.row, atMs: when.nowMs }) });
    }
  }
  if (ops.length > 0) await commits.write(ops);
}
