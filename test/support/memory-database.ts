import type { DurableOutbox } from "@blueflame/agent/store/outbox.ts";
import type { KeyRange } from "@blueflame/shared/store/level/database.ts";
import type { Job, Write } from "@blueflame/shared/store/level/writer.ts";

type File = ConstructorParameters<typeof DurableOutbox>[0];

/** What outlives the process, and what outlives a power cut: a cut takes back whole batches from the end, as LevelDB's log does. */
export class MemoryFile {
  rows = new Map<string, Uint8Array>();
  #synced = new Map<string, Uint8Array>();

  write(writes: readonly Write[]): void {
    for (const write of writes) {
      if (write.type === "put") this.rows.set(write.key, Uint8Array.from(write.value));
      else this.rows.delete(write.key);
    }
  }
  /** What a power cut leaves, as a copy. */
  synced(): Map<string, Uint8Array> {
    return new Map(this.#synced);
  }
  sync(): void {
    this.#synced = new Map(this.rows);
  }
  /** Only what was synced is there again. */
  cutPower(): void {
    this.rows = new Map(this.#synced);
  }
}

/**
 * The database of one life of a process, in memory, for the outbox. `step` is called before and after each thing that the disk
 * does; what it throws, or leaves pending for ever, is the death of the process at that point.
 */
export class MemoryDatabase implements File {
  readonly #file: MemoryFile;
  readonly #step: (what: string) => Promise<void>;
  readonly #onSynced: () => void;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(file: MemoryFile, onSynced: () => void = () => undefined, step = async (_: string): Promise<void> => {}) {
    this.#file = file;
    this.#onSynced = onSynced;
    this.#step = step;
  }

  submit(job: Job, synced: boolean): Promise<void> {
    const done = this.#turn.then(async () => {
      const writes = job.build();
      await this.#step("before a write");
      this.#file.write(writes);
      if (synced) this.#file.sync();
      await this.#step("after a write");
      job.landed?.();
      if (synced) this.#onSynced();
    });
    this.#turn = done.catch(() => undefined);
    return done;
  }
  sync(): Promise<void> {
    return this.submit({ build: () => [] }, true);
  }
  async get(key: string): Promise<Uint8Array | undefined> {
    return this.#file.rows.get(key);
  }
  async getMany(keys: readonly string[]): Promise<(Uint8Array | undefined)[]> {
    await this.#step("before a read");
    return keys.map((key) => this.#file.rows.get(key));
  }
  async keys({ gte, lt, limit = Number.POSITIVE_INFINITY, reverse }: KeyRange): Promise<string[]> {
    const found = [...this.#file.rows.keys()].filter((key) => key >= gte && key < lt).sort();
    return (reverse ? found.reverse() : found).slice(0, limit);
  }
}
