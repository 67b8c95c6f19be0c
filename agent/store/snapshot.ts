import { rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import type { Cancel, Clock } from "@blueflame/shared/time/clock.ts";
import { holdersOf } from "./keys/ring.ts";
import type { AgentStore } from "./ports.ts";
import {
  type Check,
  manifestOf,
  SnapshotWriter,
  snapshotNumbers,
  snapshotsIn,
  verifySnapshot,
} from "./snapshot-file.ts";
import { type Aged, leaving } from "./snapshot-keeping.ts";
import { rehearse } from "./snapshot-rehearsal.ts";

/** The first look after a start: a new life, or a day of starts and deaths, gets its snapshot soon. */
const firstMs = 5000;
/** After a snapshot that could not be taken. */
const againMs = 60_000;
/** Below this much free space, or part of a small disk, beyond three times the last snapshot (its trial opening needs as much again) none is taken: the store needs it more. */
const freeFloor = { bytes: 64 * 1024 * 1024, ratio: 0.1 };

export interface SnapshotOptions {
  readonly store: Pick<AgentStore, "identity" | "copyTo" | "trouble" | "ring" | "problem" | "onRewrapped">;
  readonly clock: Clock;
  readonly dataDir: string;
  /** Between two snapshots. Default of the agent: an hour. */
  readonly everyMs: number;
  /** So many are kept; the oldest goes once a younger one was verified. Default of the agent: 3. */
  readonly keep: number;
  /** Beside them the last one of each of so many days before today. Default: none; of the agent: 7. */
  readonly keepDays?: number;
  /** Told with why there is no new snapshot, once per reason, and with undefined when there is one again. */
  readonly missed?: (because: string | undefined) => void;
}

/**
 * Takes a snapshot of the store now and then, through the handle that is open: nobody reads LevelDB's files beside it. One is
 * due when the newest is older than `everyMs`, of an earlier life, or opens for other holders of the keys than the store does; it is looked for 5 s
 * after the start, when the holders change, and then every
 * `everyMs`, or a minute after one that could not be taken. A snapshot that cannot be taken (a full disk, a value that cannot be read) leaves the earlier ones as they are.
 * The caller closes, before the store; that waits for the one on its way.
 */
export function startSnapshots(options: SnapshotOptions): { close(): Promise<void> } {
  const { clock, everyMs, missed } = options;
  let closed = false;
  let cancel: Cancel = () => undefined;
  let working: Promise<void> = Promise.resolve();
  let told: string | undefined;
  const tell = (because: string | undefined) => {
    if (because !== told) missed?.(because);
    told = because;
  };
  /** False when it has to be looked again soon. */
  const look = async (): Promise<boolean> => {
    // A store that refuses tells so itself; that no snapshot is taken of it is no second trouble.
    if (options.store.trouble() !== undefined) return false;
    try {
      if (await isDue(options)) await takeSnapshot(options, () => closed);
      tell(undefined);
      return true;
    } catch (error) {
      if (!closed)
        tell(isFault(error) ? error.message : `no snapshot of the store was taken: ${(error as Error).message}`);
      return false;
    }
  };
  const later = (ms: number) => {
    cancel = clock.wakeAt(clock.monotonicMs() + ms, () => {
      working = look().then((well) => {
        if (!closed) later(well ? everyMs : Math.min(everyMs, againMs));
      });
    });
  };
  later(Math.min(firstMs, everyMs));
  const unheard = options.store.onRewrapped(() => {
    cancel();
    void working.then(() => {
      cancel();
      if (!closed) later(0);
    });
  });
  return {
    async close() {
      closed = true;
      unheard();
      cancel();
      await working;
      cancel();
    },
  };
}

async function isDue({ store, clock, dataDir, everyMs }: SnapshotOptions): Promise<boolean> {
  const folder = snapshotsIn(dataDir);
  const [newest] = snapshotNumbers(folder);
  if (newest === undefined) return true;
  const manifest = await manifestOf(join(folder, String(newest))).catch(() => undefined);
  if (manifest?.generation !== store.identity.generation) return true;
  if (manifest.ring && holdersOf(manifest.ring) !== holdersOf(store.ring())) return true;
  const ageMs = clock.wallMs() - manifest.takenWallMs;
  return ageMs < 0 || ageMs >= everyMs; // from the future: the date went back
}

/** Takes one now and drops what is beyond `keep`. Rejects with STORE_DAMAGED, STORE_WRITE_FAILED or the disk's own error. */
async function takeSnapshot(options: SnapshotOptions, left: () => boolean): Promise<void> {
  const { store, clock, dataDir, keep } = options;
  const trouble = store.trouble();
  if (trouble !== undefined) throw new Error(trouble);
  const folder = snapshotsIn(dataDir);
  await checkRoom(dataDir, folder);
  const writer = await SnapshotWriter.begin(folder);
  // What is written from now on may not be in it.
  const takenWallMs = clock.wallMs();
  try {
    await store.copyTo((key, sealed) => {
      if (left()) throw new Error("the agent leaves");
      // A snapshot of damage would push the good ones out.
      const problem = store.problem(key, sealed);
      if (problem !== undefined) throw new Fault("STORE_DAMAGED", `${problem} cannot be read`);
      return writer.add(key, sealed);
    });
    const { nodeId, generation, owner, incarnation, session } = store.identity;
    const who = { nodeId, generation, owner, incarnation: String(incarnation), session: String(session) };
    const check: Check = (key, sealed) => store.problem(key, sealed);
    await writer.finish({ ...who, ring: store.ring() }, takenWallMs, check, rehearse);
  } catch (error) {
    await writer.drop();
    throw error;
  }
  const all = await Promise.all(snapshotNumbers(folder).map((number) => agedOf(folder, number)));
  for (const number of leaving(all, clock.wallMs(), { count: keep, days: options.keepDays ?? 0 })) {
    await rm(join(folder, String(number)), { recursive: true, force: true });
  }
}

async function agedOf(folder: string, number: number): Promise<Aged> {
  const manifest = await manifestOf(join(folder, String(number))).catch(() => undefined);
  return { number, takenWallMs: manifest?.takenWallMs };
}

async function checkRoom(dataDir: string, folder: string): Promise<void> {
  const [newest] = snapshotNumbers(folder);
  const last = newest === undefined ? undefined : await manifestOf(join(folder, String(newest))).catch(() => undefined);
  const { bavail, blocks, bsize } = await statfs(dataDir);
  const needed = Math.ceil(Math.min(freeFloor.bytes, blocks * bsize * freeFloor.ratio)) + 3 * (last?.bytes ?? 0);
  if (bavail * bsize < needed) {
    throw new Fault(
      "STORE_WRITE_FAILED",
      `no snapshot of the store was taken: ${bavail * bsize} bytes are free, ${needed} are needed`,
    );
  }
}

/** The youngest snapshot that reads as it was written, with those that do not and why; undefined when there is none. */
export async function newestGood(
  folder: string,
  checkOf: (place: string) => Promise<Check>,
): Promise<{ place: string | undefined; refused: string[] }> {
  const refused: string[] = [];
  for (const number of snapshotNumbers(folder)) {
    const place = join(folder, String(number));
    try {
      await verifySnapshot(place, await checkOf(place));
      return { place, refused };
    } catch (error) {
      if (!isFault(error, "STORE_DAMAGED")) throw error;
      refused.push(error.saw);
    }
  }
  return { place: undefined, refused };
}
