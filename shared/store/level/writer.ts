import { Fault } from "../../errors/fault.ts";

/**
 * What a write is worth. `synced`: on the disk before it is acknowledged. `batched`: in the file, on the disk within 50 ms.
 * `spare`: batched, and refused while space is low. Anything that must be right after a power cut is `synced`.
 */
export type Durability = "synced" | "batched" | "spare";

/** One write of a batch. */
export type Write =
  | { readonly type: "put"; readonly key: string; readonly value: Uint8Array }
  | { readonly type: "del"; readonly key: string };

/**
 * A change on its way to the disk. `build` runs in the order of submission, right before its batch is written; what it
 * throws rejects this job alone. Then exactly one of `landed` and `lost` is called: `landed` in the same order, `lost` in
 * the reverse one, so that each can undo what its `build` noted. With an unsettled outcome that call comes after the
 * promise was rejected, once the store was read back; nothing is built in between.
 */
export interface Job {
  /** About what it holds in memory while it waits; absent: next to nothing. */
  readonly bytes?: number;
  build(): readonly Write[];
  landed?(): void;
  lost?(): void;
}
/** A STORE_WRITE_FAILED whose write may still turn out to have happened. */
export class Unsettled extends Fault {}

export interface Submitted {
  readonly job: Job;
  readonly synced: boolean;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}
/** Jobs that share one batch. */
export interface Group {
  readonly members: readonly Submitted[];
  readonly writes: readonly Write[];
  readonly synced: boolean;
}

/** One batch takes about this much; the rest goes into the next. */
const groupMax = { writes: 4096, bytes: 4 * 1024 * 1024 } as const;
/**
 * More waiting than this is refused with LIMIT_REACHED, and nothing of it is written: the disk cannot follow. What is larger
 * than all of it is taken where nothing waits before it.
 */
export const waitingMax = { jobs: 20_000, bytes: 64 * 1024 * 1024 } as const;

/** Jobs that wait for a batch, first come, first written. */
export class Waiting {
  #jobs: Submitted[] = [];
  #bytes = 0;

  get empty(): boolean {
    return this.#jobs.length === 0;
  }
  add(job: Job, synced: boolean): Promise<void> {
    const { bytes = 0 } = job;
    const there = this.#jobs.length;
    if (there >= waitingMax.jobs || (there > 0 && this.#bytes + bytes > waitingMax.bytes)) {
      return Promise.reject(new Fault("LIMIT_REACHED", `${there} writes of ${this.#bytes} bytes wait for the disk`));
    }
    this.#bytes += bytes;
    return new Promise((resolve, reject) => {
      this.#jobs.push({ job, synced, resolve, reject });
    });
  }
  /**
   * The jobs of the next batch. A batched write at the front is not made to wait for the sync of those behind it: it is on
   * the way between a crash and a restart.
   */
  next(): Group {
    const synced = this.#jobs[0]?.synced ?? false;
    const members: Submitted[] = [];
    const writes: Write[] = [];
    let bytes = 0;
    let taken = 0;
    for (const submitted of this.#jobs) {
      if (writes.length >= groupMax.writes || bytes >= groupMax.bytes) break;
      if (!synced && submitted.synced) break;
      taken++;
      this.#bytes -= submitted.job.bytes ?? 0;
      try {
        for (const write of submitted.job.build()) {
          writes.push(write);
          bytes += write.key.length + (write.type === "put" ? write.value.byteLength : 0);
        }
        members.push(submitted);
      } catch (reason) {
        submitted.reject(reason);
      }
    }
    this.#jobs.splice(0, taken);
    return { members, writes, synced };
  }
  /** Refuses all that wait; nothing of them was written. */
  refuse(reason: unknown): void {
    this.#bytes = 0;
    for (const submitted of this.#jobs.splice(0)) submitted.reject(reason);
  }
}
