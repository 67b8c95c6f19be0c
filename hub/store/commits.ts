import { Fault } from "@blueflame/shared/errors/fault.ts";
import { type Op, OutcomeUnknown, type Rev, type State } from "@blueflame/shared/store/state.ts";
import { rowBytes, rowOf } from "./rows.ts";

/** Below the 128 operations and 1 MiB that every engine takes. */
const opsMax = 120;
const bytesMax = 900 * 1024;
const triesMax = 5;
const epochKey = "hub/epoch";

/**
 * Every write of this hub, one after the other, each under the condition that this hub still holds the epoch it took at
 * its start: a second hub on the same store fences off the first one with it, whatever that one still has in hand.
 */
export interface Commits {
  epoch(): bigint;
  /** Takes an epoch above `above`, durable on return, unless the current one is above it already. */
  raise(above: bigint): Promise<bigint>;
  /**
   * Durable on return. More than one commit takes are split in order: atomic are those up to 120 in a row only, so what
   * says "all of it is there" goes last. Only absolute writes: one whose outcome is unknown is made again.
   */
  write(ops: readonly Op[]): Promise<void>;
}

/** Takes the next epoch. */
export async function openCommits(state: State): Promise<Commits> {
  let rev: Rev = 0n;
  let epoch = 0n;
  let last: Promise<unknown> = Promise.resolve();

  const inTurn = <T>(run: () => Promise<T>): Promise<T> => {
    const turn = last.then(run);
    last = turn.catch(() => {});
    return turn;
  };
  const take = async (above: bigint): Promise<void> => {
    let wanted = 0n;
    for (let attempt = 1; ; attempt++) {
      const entry = await state.get(epochKey);
      const held = entry ? BigInt(String(rowOf(entry.value)?.epoch ?? 0)) : 0n;
      // After a commit of unknown outcome the entry may be the one we wrote: skipping an epoch is harmless.
      if (rev !== 0n && entry?.rev !== rev && held !== wanted) throw fencedOff();
      wanted = (above > held ? above : held) + 1n;
      try {
        const value = rowBytes({ epoch: `${wanted}` });
        const committed = await state.commit([{ key: epochKey, rev: entry?.rev ?? 0n }], [{ put: epochKey, value }]);
        if (committed === null) throw fencedOff();
        rev = committed;
        epoch = wanted;
        return;
      } catch (error) {
        if (!(error instanceof OutcomeUnknown) || attempt >= triesMax) throw error;
      }
    }
  };
  await inTurn(() => take(0n));

  return {
    epoch: () => epoch,
    raise: (above) =>
      inTurn(async () => {
        if (above >= epoch) await take(above);
        return epoch;
      }),
    write: (ops) =>
      inTurn(async () => {
        for (const part of parts(ops)) {
          const committed = await tried(() => state.commit([{ key: epochKey, rev }], part));
          if (committed === null) throw fencedOff();
        }
      }),
  };
}

/** Splits operations, in order, into commits that every engine takes. Of several on one key only the last counts. */
export function parts(all: readonly Op[]): Op[][] {
  const lastOn = new Map(all.map((op) => ["put" in op ? op.put : op.del, op]));
  const ops = lastOn.size === all.length ? all : all.filter((op) => lastOn.get("put" in op ? op.put : op.del) === op);
  const made: Op[][] = [];
  let part: Op[] = [];
  let bytes = 0;
  for (const op of ops) {
    const size = "put" in op ? op.put.length + op.value.length : op.del.length;
    if (part.length > 0 && (part.length >= opsMax || bytes + size > bytesMax)) {
      made.push(part);
      part = [];
      bytes = 0;
    }
    part.push(op);
    bytes += size;
  }
  if (part.length > 0) made.push(part);
  return made;
}

async function tried(commit: () => Promise<Rev | null>): Promise<Rev | null> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await commit();
    } catch (error) {
      if (!(error instanceof OutcomeUnknown) || attempt >= triesMax) throw error;
    }
  }
}

function fencedOff(): Fault {
  return new Fault("STORE_LOCKED", "another hub has taken over this store");
}
