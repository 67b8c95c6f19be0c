import { fileDesk } from "../sensors/file-desk.driver.ts";
import { type ConfigRead, readConfig, unreadable } from "./files.driver.ts";
import type { FileSeen } from "./versions.ts";

/** All files of one workload answer within this time, or are not seen this time. */
const lookMs = 2000;
/** A disk that did not answer at the last look is waited for no longer than a disk needs that is well. */
const againMs = 50;

/** What config files hold, by their absolute path. */
export type FilesSeen = Readonly<Record<string, FileSeen>>;

/** Looks at the config files of one workload, reads what has changed, and holds what is not in the store yet. */
export class ConfigLooks {
  /** Others that look at the same files hold other contents, and read what these need not. */
  readonly #question: string;
  readonly #read = new Map<string, ConfigRead>();
  #last: { readonly of: unknown; readonly files: FilesSeen } | undefined;
  #silent = false;
  /** Contents that the store does not have yet, by checksum. */
  readonly fresh = new Map<string, Uint8Array>();
  /** Checksums of those that it has. */
  readonly stored = new Set<string>();

  constructor(workload: string) {
    this.#question = `config of ${workload}`;
  }

  /** What the files hold now; undefined when the disk does not answer. Never rejects. */
  async look(paths: readonly string[]): Promise<FilesSeen | undefined> {
    const waitMs = this.#silent ? againMs : lookMs;
    const looks = await Promise.all(paths.map(async (path) => [path, await this.#lookAt(path, waitMs)] as const));
    const answered = looks.flatMap(([path, read]) => (read ? [[path, read] as const] : []));
    this.#silent = answered.length < looks.length;
    if (this.#silent) return undefined;
    for (const [path, { seen, key, bytes }] of answered) {
      this.#read.set(path, { seen, key });
      if (seen.is === "file" && bytes && !this.stored.has(seen.sha256)) this.fresh.set(seen.sha256, bytes);
    }
    return Object.fromEntries(answered.map(([path, { seen }]) => [path, seen]));
  }

  /** One look at a file at a time, and few threads for a disk that hangs. */
  async #lookAt(path: string, waitMs: number): Promise<ConfigRead | undefined> {
    const read = () => readConfig(path, this.#known(path));
    const flight = await fileDesk.look(path, this.#question, read, waitMs);
    if (flight.is === "silent") return undefined;
    return flight.is === "answered" ? flight.value : { seen: unreadable(flight.error), key: "" };
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
