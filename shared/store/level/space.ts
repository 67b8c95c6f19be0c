import { readdir, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { Cancel, Clock } from "../../time/clock.ts";

/** Below this much free space, or part of a small disk, only what must be written is. */
const floor = { bytes: 32 * 1024 * 1024, ratio: 0.05 };
const everyMs = 1000;

/**
 * Knows whether what may be spared can still be written, from a look at the disk and at the store's own size each second while
 * somebody asks. A disk that cannot be asked is taken for one with room: the write itself will tell.
 */
export class Space {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #bytesMax: number;
  #low: string | undefined;
  #cancel: Cancel | undefined;
  #looking: Promise<void> | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;

  /** `bytesMax`: what the store may have on the disk before what can be spared is refused. */
  constructor(path: string, clock: Clock, bytesMax: number) {
    this.#path = path;
    this.#clock = clock;
    this.#bytesMax = bytesMax;
  }

  /** Why there is no room for what may be spared, as of the last look; undefined when there is. Starts the looking. */
  low(): string | undefined {
    this.#askedAt = this.#clock.monotonicMs();
    if (!this.#looking && !this.#cancel) this.#look();
    return this.#low;
  }
  async close(): Promise<void> {
    this.#cancel?.();
    await this.#looking;
    this.#cancel?.();
  }

  #look(): void {
    this.#looking = this.#see().then((low) => {
      this.#low = low;
      this.#looking = undefined;
      const now = this.#clock.monotonicMs();
      // Nobody asks any more: whoever does next starts it again.
      const asked = now - this.#askedAt <= 10 * everyMs;
      this.#cancel = asked ? this.#clock.wakeAt(now + everyMs, () => this.#look()) : undefined;
    });
  }
  /** Never rejects. */
  async #see(): Promise<string | undefined> {
    try {
      const { bavail, blocks, bsize } = await statfs(this.#path);
      const needed = Math.ceil(Math.min(floor.bytes, blocks * bsize * floor.ratio));
      if (bavail * bsize < needed) return `${bavail * bsize} bytes are free on the disk, ${needed} are the floor`;
      const bytes = await sizeOf(this.#path);
      if (bytes > this.#bytesMax) return `the store has ${bytes} bytes, its bound is ${this.#bytesMax}`;
    } catch {
      return undefined;
    }
    return undefined;
  }
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
