import { readdir, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { Cancel, Clock } from "../../time/clock.ts";

/** Below this much free space, or part of a small disk, only what must be written is. */
const floor = { bytes: 32 * 1024 * 1024, ratio: 0.05 };
const everyMs = 1000;
/**
 * What is deleted stays in LevelDB's files until they are merged. They are merged here when less than twice the floor is free, or the store has nine tenths
 * of its bound: not more often than every ten minutes, and six hours after one that won less than a sixteenth. A small store has nothing to win; on a
 * disk that is nearly full a merge that needs more than there is would only do harm (LevelDB merges files of 2 MiB, a dozen at a time).
 */
const merge = {
  below: 2,
  from: 0.9,
  everyMs: 600_000,
  vainMs: 6 * 3_600_000,
  won: 1 / 16,
  roomBytes: 24 * 1024 * 1024,
};

/** What a merge of the files has brought. */
export interface Compacted {
  readonly because: string;
  readonly beforeBytes: number;
  readonly afterBytes: number;
  readonly tookMs: number;
  /** Why it ended early; absent when it did not. */
  readonly failed?: string;
}
export interface SpaceOptions {
  readonly path: string;
  readonly clock: Clock;
  /** What the store may have on the disk before what can be spared is refused. */
  readonly bytesMax: number;
  /** Gives the space of what was deleted back. */
  readonly compact: () => Promise<void>;
  readonly onCompacted?: ((done: Compacted) => void) | undefined;
}

interface Sight {
  readonly freeBytes: number;
  readonly floorBytes: number;
  readonly bytes: number;
}

/**
 * Knows whether what may be spared can still be written, from a look at the disk and at the store's own size each second while
 * somebody asks. Before it says no it has the store's files merged. A disk that cannot be asked is taken for one with room: the
 * write itself will tell.
 */
export class Space {
  readonly #options: SpaceOptions;
  #low: string | undefined;
  #cancel: Cancel | undefined;
  #looking: Promise<void> | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;
  #notBefore = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(options: SpaceOptions) {
    this.#options = options;
  }

  /** Why there is no room for what may be spared, as of the last look; undefined when there is. Starts the looking. */
  low(): string | undefined {
    this.#askedAt = this.#options.clock.monotonicMs();
    if (!this.#looking && !this.#cancel) this.#look();
    return this.#low;
  }
  /** Waits for a merge that is on its way. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancel?.();
    await this.#looking;
    this.#cancel?.();
  }

  #look(): void {
    const { clock } = this.#options;
    this.#looking = this.#see().then((low) => {
      this.#low = low;
      this.#looking = undefined;
      const now = clock.monotonicMs();
      // Nobody asks any more: whoever does next starts it again.
      const asked = now - this.#askedAt <= 2 * everyMs;
      this.#cancel = asked ? clock.wakeAt(now + everyMs, () => this.#look()) : undefined;
    });
  }
  /** Never rejects. */
  async #see(): Promise<string | undefined> {
    try {
      const { bytesMax } = this.#options;
      const sight = await this.#sight();
      const near = nearIn(sight, bytesMax);
      if (near === undefined || !this.#mayMerge(sight)) return lowIn(sight, bytesMax);
      return lowIn(await this.#merge(sight, near), bytesMax);
    } catch {
      return undefined;
    }
  }
  async #sight(): Promise<Sight> {
    const { path } = this.#options;
    const { bavail, blocks, bsize } = await statfs(path);
    const floorBytes = Math.ceil(Math.min(floor.bytes, blocks * bsize * floor.ratio));
    return { freeBytes: bavail * bsize, floorBytes, bytes: await sizeOf(path) };
  }

  #mayMerge({ freeBytes, bytes }: Sight): boolean {
    const now = this.#options.clock.monotonicMs();
    return !this.#closed && now >= this.#notBefore && freeBytes >= Math.min(merge.roomBytes, bytes);
  }
  async #merge(before: Sight, because: string): Promise<Sight> {
    const { clock, compact, onCompacted } = this.#options;
    const beganMs = clock.monotonicMs();
    this.#notBefore = beganMs + merge.vainMs; // also should the disk not be there to be looked at afterwards
    const failed = await compact().then(
      () => undefined,
      (error: Error) => error.message,
    );
    const after = await this.#sight();
    const now = clock.monotonicMs();
    const vain = failed !== undefined || before.bytes - after.bytes < before.bytes * merge.won;
    this.#notBefore = now + (vain ? merge.vainMs : merge.everyMs);
    const bytes = { beforeBytes: before.bytes, afterBytes: after.bytes };
    onCompacted?.({ because, ...bytes, tookMs: now - beganMs, ...(failed !== undefined && { failed }) });
    return after;
  }
}

/** Why the files should be merged; undefined when there is room enough. */
function nearIn({ freeBytes, floorBytes, bytes }: Sight, bytesMax: number): string | undefined {
  if (freeBytes < merge.below * floorBytes) return `${freeBytes} bytes are free on the disk`;
  return bytes > merge.from * bytesMax ? `the store has ${bytes} bytes of ${bytesMax}` : undefined;
}
function lowIn({ freeBytes, floorBytes, bytes }: Sight, bytesMax: number): string | undefined {
  if (freeBytes < floorBytes) return `${freeBytes} bytes are free on the disk, ${floorBytes} are the floor`;
  return bytes > bytesMax ? `the store has ${bytes} bytes, its bound is ${bytesMax}` : undefined;
}

/** For the log. */
export function compactedText({ because, beforeBytes, afterBytes, tookMs, failed }: Compacted): string {
  const how = failed === undefined ? "" : `, and ended early: ${failed}`;
  return `the store's files were merged (${because}): ${beforeBytes} bytes became ${afterBytes} in ${Math.round(tookMs)} ms${how}`;
}

/** Of the files in a folder; one that goes meanwhile counts for nothing. */
async function sizeOf(path: string): Promise<number> {
  const sizes = (await readdir(path)).map((file) =>
    stat(join(path, file)).then(
      ({ size }) => size,
      () => 0,
    ),
  );
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
