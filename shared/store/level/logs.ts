/**
 * LevelDB begins a new log when its memtable is full, and from then on syncs only that one. A synced group would be on the disk, and
 * an unsynced one before it, which lies in the old log, not yet: a power cut then leaves a hole in the middle of what was written,
 * and what was to be durable with that group is gone. So before a group that may begin a new log, the logs are synced.
 *
 *   memtable   0 ──────────── 0.6 ·············· 1      of its size, by what was written; LevelDB counts up to a third more
 *              nothing to do      synced before each    what waits for its sync is synced first
 */
import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Write } from "./writer.ts";

/** LevelDB's own default. */
const defaultBufferBytes = 4 * 1024 * 1024;
/** A key's number, lengths, and its node in the memtable's list. */
const entryBytes = 48;
/** The memtable grows by blocks of 4 KiB, of which up to a quarter stays empty, and an estimate is an estimate. */
const fullRatio = 0.6;

/** The logs of one LevelDB. */
export class Logs {
  readonly #path: string;
  readonly #bufferBytes: number;
  readonly #sync: (file: string) => Promise<void>;
  /** The newest log at the group before this one; undefined when nobody looked then, and no beginning can be told from an older one. */
  #newest: string | undefined;
  /** What was written since the newest log began, or more: a log that began unseen is not known to have. */
  #bytes = 0;
  #lastBytes = 0;
  #merging = 0;

  /** `sync` puts a file on the disk, and does nothing when it is gone: then its records are in a table, which LevelDB has synced. */
  constructor(path: string, bufferBytes = defaultBufferBytes, sync = syncFile) {
    this.#path = path;
    this.#bufferBytes = bufferBytes;
    this.#sync = sync;
  }

  /**
   * Before a group is written. `waits`: groups before it are not synced yet; they are when this resolves, should the new one begin
   * another log. Undefined: nothing has to be waited for. Rejects with the disk's error.
   */
  before(writes: readonly Write[], waits: boolean): Promise<void> | undefined {
    const bytes = writes.reduce((sum, write) => sum + sizeOf(write), 0);
    if (this.#mayTurn(bytes)) return this.#turn(bytes, waits);
    this.#newest = undefined;
    this.#count(bytes);
    return undefined;
  }
  async #turn(bytes: number, waits: boolean): Promise<void> {
    const logs = (await readdir(this.#path)).filter((file) => file.endsWith(".log"));
    logs.sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10)); // six digits, and after a million files seven
    const newest = logs.at(-1);
    if (this.#newest !== undefined && newest !== this.#newest) this.#bytes = this.#lastBytes;
    this.#newest = newest;
    if (waits && this.#mayTurn(bytes)) for (const log of logs) await this.#sync(join(this.#path, log));
    this.#count(bytes);
  }
  #count(bytes: number): void {
    this.#bytes += bytes;
    this.#lastBytes = bytes;
  }

  /** While `work` runs LevelDB may begin a new log at any time: it merges its files. */
  async merging<T>(work: () => Promise<T>): Promise<T> {
    this.#merging++;
    try {
      return await work();
    } finally {
      this.#merging--;
    }
  }

  #mayTurn(bytes: number): boolean {
    return this.#merging > 0 || this.#bytes + bytes >= fullRatio * this.#bufferBytes;
  }
}

function sizeOf(write: Write): number {
  return entryBytes + write.key.length + (write.type === "put" ? write.value.byteLength : 0);
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, "r+").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  try {
    await file?.datasync();
  } finally {
    await file?.close();
  }
}
