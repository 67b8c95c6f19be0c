import type { Clock } from "@blueflame/shared/time/clock.ts";
import { type ConfigRead, readConfig } from "./files.driver.ts";
import { inTime } from "./patience.driver.ts";
import type { FileSeen } from "./versions.ts";

/** All files of one workload answer within this time, or are not seen this time. */
const lookMs = 2000;

/** What config files hold, by their absolute path. */
export type FilesSeen = Readonly<Record<string, FileSeen>>;

/** Looks at the config files of one workload, reads what has changed, and holds what is not in the store yet. */
export class ConfigLooks {
  readonly #clock: Clock;
  readonly #read = new Map<string, ConfigRead>();
  #last: { readonly of: unknown; readonly files: FilesSeen } | undefined;
  #hung = false;
  /** Contents that the store does not have yet, by checksum. */
  readonly fresh = new Map<string, Uint8Array>();
  /** Checksums of those that it has. */
  readonly stored = new Set<string>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A look that did not answer is under way still: it holds a thread, and no second one is begun. */
  get hung(): boolean {
    return this.#hung;
  }

  /** What the files hold now; undefined when the disk does not answer. Never rejects. */
  async look(paths: readonly string[]): Promise<FilesSeen | undefined> {
    if (this.#hung) return undefined;
    const looking = Promise.all(paths.map(async (path) => [path, await readConfig(path, this.#known(path))] as const));
    const waited = await inTime(this.#clock, lookMs, looking);
    if (waited.is !== "done") {
      this.#hung = true;
      void looking.finally(() => {
        this.#hung = false;
      });
      return undefined;
    }
    for (const [path, { seen, key, bytes }] of waited.value) {
      this.#read.set(path, { seen, key });
      if (seen.is === "file" && bytes && !this.stored.has(seen.sha256)) this.fresh.set(seen.sha256, bytes);
    }
    return Object.fromEntries(waited.value.map(([path, { seen }]) => [path, seen]));
  }

  /** Every file is the one that the last look saw, and so is what it was looked at for. */
  isAsBefore(files: FilesSeen, of: unknown): boolean {
    const last = this.#last;
    this.#last = { of, files };
    if (!last || last.of !== of) return false;
    const paths = Object.keys(files);
    return paths.length === Object.keys(last.files).length && paths.every((path) => files[path] === last.files[path]);
  }
  /** The next look counts as a first one. */
  forget(): void {
    this.#last = undefined;
  }

  /** Only what is kept already needs not be read again. */
  #known(path: string): ConfigRead | undefined {
    const known = this.#read.get(path);
    if (known?.seen.is !== "file") return known;
    return this.stored.has(known.seen.sha256) || this.fresh.has(known.seen.sha256) ? known : undefined;
  }
}
