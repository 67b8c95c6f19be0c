import type { Mirror } from "./deferred-mirror.ts";
import type { Stored } from "./identity.ts";

/** What the row of a store says that counts as no repair at all: the next opening begins a new life. */
const neverCounted = -1;

/**
 * Whose the mended store is, from what it says itself and from what the mirror remembers: the same node and owner, and a life
 * that is no older than any that is known. The opening that follows counts it up. Undefined when nobody knows.
 */
export function heir(stored: Stored | undefined, mirror: Mirror | undefined): Stored | undefined {
  const known: Omit<Stored, "repairs"> | undefined = stored ?? (mirror && { ...mirror, bootId: "" });
  if (!known) return undefined;
  const { nodeId, generation, session, bootId } = known;
  const lives = [stored?.incarnation, mirror?.incarnation].map((one) => BigInt(one ?? 0));
  const incarnation = String(lives.reduce((a, b) => (a > b ? a : b)));
  const owner = mirror?.owner ?? stored?.owner ?? generation;
  const waiting = { ...(known.lives && { lives: known.lives }), ...(known.doubted && { doubted: true }) };
  return { nodeId, generation, owner, incarnation, session, bootId, repairs: neverCounted, ...waiting };
}

/** A workload's state before and after the store was mended; `undefined` forgets it, and it begins anew. */
export interface StateChange {
  readonly workload: string;
  readonly state: unknown;
}

/**
 * What a person has put to rest stays so, whatever the mended store remembers: the mirror was written before the person was
 * answered. With `older` the store is older than the mirror, and what rests in it only was started since.
 */
export function restAgain(
  stored: ReadonlyMap<string, unknown>,
  resting: Readonly<Record<string, unknown>>,
  isAtRest: (state: unknown) => boolean,
  older: boolean,
): StateChange[] {
  const changes: StateChange[] = [];
  for (const [workload, state] of Object.entries(resting)) {
    const before = stored.get(workload);
    if (before === undefined || !isAtRest(before)) changes.push({ workload, state: withIncident(before, state) });
  }
  if (!older) return changes;
  for (const [workload, state] of stored) {
    if (!(workload in resting) && isAtRest(state)) changes.push({ workload, state: undefined });
  }
  return changes;
}

/** The mirror holds no incident: one that is open is the store's own to know, and ends where the rest is taken up. */
function withIncident(before: unknown, state: unknown): unknown {
  const { incident } = (before ?? {}) as { readonly incident?: unknown };
  return incident === undefined ? state : { incident, ...(state as object) };
}
