/**
 * Where files are looked at that may lie on a dead disk (DOL-9). A look that hangs holds one thread of libuv's pool until the
 * kernel lets it go, which may be never; so threads are handed out here, by two desks for the whole process:
 *
 *   look ──▶ is this file being looked at already? ── yes ──▶ await that answer ──┐
 *              │ no                                                                ├─ not within waitMs ──▶ silent
 *              ▼                                                                   │
 *            queue ──▶ fewer than `perDiskMax` on its disk, and fewer than `max` in all? ──▶ stat, ask
 *
 * A dead disk thus holds at most `perDiskMax` threads, and files of other disks go on being answered. The disk of a file is
 * known by its device once it has answered; before that by its mount, which a symbolic link may hide. A file that answers with
 * an error (it is not there) is a disk of its own: a dead neighbour must not hide that it has come.
 */
import { readFileSync, type Stats, stat } from "node:fs";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { mountOf } from "./proc-text.ts";
import type { Flight } from "./single-flight.driver.ts";

/** What a desk is made of. */
export interface FileDeskParts {
  readonly clock: Clock;
  /** Looks under way at once, in all. */
  readonly max: number;
  /** Looks under way at once on one disk. */
  readonly perDiskMax: number;
  /** Answers with the file's state; the real disk unless a test says otherwise. */
  readonly stat?: (path: string) => Promise<Stats>;
}

/** Disks that are remembered by file; beyond it all are forgotten and learnt again. */
const knownMax = 4096;
/** The mount table is read again this often at most. */
const mountsEveryMs = 10_000;

interface Asked {
  readonly path: string;
  readonly ask: (stats: Stats) => unknown;
  readonly done: PromiseWithResolvers<Flight<unknown>>;
  readonly askedMs: number;
}

/** Hands out looks at files. Everything that is asked of one place is asked once at a time. */
export class FileDesk {
  readonly #parts: FileDeskParts;
  readonly #flights = new Map<string, Asked>();
  #queue: Asked[] = [];
  /** Looks under way, by disk. */
  readonly #busy = new Map<string, number>();
  #underWay = 0;
  readonly #disks = new Map<string, string>();
  #mounts = { text: "", untilMs: Number.NEGATIVE_INFINITY };

  constructor(parts: FileDeskParts) {
    this.#parts = parts;
  }

  /** Looks that hold a thread now. */
  get underWay(): number {
    return this.#underWay;
  }

  /**
   * Looks at a file and gives `ask` its state; `what` tells questions about one file apart. Settles within `waitMs` and never
   * rejects: what takes longer is silent, goes on, and answers the next look. `ask` may read the file; it must not wait for
   * anything else.
   */
  look<T>(path: string, what: string, ask: (stats: Stats) => T | Promise<T>, waitMs: number): Promise<Flight<T>> {
    const { clock } = this.#parts;
    const key = `${what} ${path}`;
    let asked = this.#flights.get(key);
    if (!asked) {
      const mine: Asked = { path, ask, done: Promise.withResolvers(), askedMs: clock.monotonicMs() };
      asked = mine;
      this.#flights.set(key, mine);
      void mine.done.promise.then(() => this.#flights.delete(key));
      this.#queue.push(mine);
      this.#begin();
    }
    const { done, askedMs } = asked;
    return new Promise((resolve) => {
      const cancel = clock.wakeAt(clock.monotonicMs() + waitMs, () => {
        const unasked = this.#queue.includes(asked) && !this.#isHeldUpByItsDisk(path);
        resolve({ is: "silent", sinceMs: clock.monotonicMs() - askedMs, ...(unasked && { unasked }) });
      });
      void done.promise.then((flight) => {
        cancel();
        resolve(flight as Flight<T>);
      });
    });
  }

  /** Begins what may begin, in the order in which it was asked; what must wait for its disk is passed over. */
  #begin(): void {
    const waiting: Asked[] = [];
    for (const asked of this.#queue) {
      const disk = this.#underWay < this.#parts.max ? this.#diskOf(asked.path) : undefined;
      if (disk === undefined || this.#isFull(disk)) waiting.push(asked);
      else {
        this.#underWay += 1;
        this.#busy.set(disk, (this.#busy.get(disk) ?? 0) + 1);
        void this.#run(asked, disk);
      }
    }
    this.#queue = waiting;
  }

  /** Only of a disk that is known by its device: others may wait for a neighbour that a symbolic link leads elsewhere. */
  #isHeldUpByItsDisk(path: string): boolean {
    const disk = this.#disks.get(path);
    return disk !== undefined && this.#isFull(disk);
  }

  #isFull(disk: string): boolean {
    return (this.#busy.get(disk) ?? 0) >= this.#parts.perDiskMax;
  }

  async #run({ path, ask, done }: Asked, disk: string): Promise<void> {
    let flight: Flight<unknown>;
    try {
      const stats = await (this.#parts.stat ?? realStat)(path);
      this.#remember(path, `device ${stats.dev}`);
      flight = { is: "answered", value: await ask(stats) };
    } catch (error) {
      this.#remember(path, `file ${path}`);
      flight = { is: "failed", error };
    }
    this.#underWay -= 1;
    const left = (this.#busy.get(disk) ?? 1) - 1;
    if (left > 0) this.#busy.set(disk, left);
    else this.#busy.delete(disk);
    done.resolve(flight);
    this.#begin();
  }

  #remember(path: string, disk: string): void {
    if (this.#disks.size >= knownMax && !this.#disks.has(path)) this.#disks.clear();
    this.#disks.set(path, disk);
  }

  #diskOf(path: string): string {
    return this.#disks.get(path) ?? `mount ${mountOf(this.#mountTable(), path)}`;
  }

  #mountTable(): string {
    const now = this.#parts.clock.monotonicMs();
    if (now < this.#mounts.untilMs) return this.#mounts.text;
    let text = "";
    try {
      text = readFileSync("/proc/self/mounts", "utf8"); // memory, not a disk
    } catch {
      // Another system: all files that have not answered yet count as one disk.
    }
    this.#mounts = { text, untilMs: now + mountsEveryMs };
    return text;
  }
}

/** As fs/promises.stat, at less than half the price: fifty of these run every few seconds. */
function realStat(path: string): Promise<Stats> {
  return new Promise((resolve, reject) => stat(path, (error, stats) => (error ? reject(error) : resolve(stats))));
}

/** The pool's size as `threads.driver.ts` sets it, or as the operator did. */
const poolThreads = Number(process.env.UV_THREADPOOL_SIZE) || 16;

/** A share of the pool, at least one thread. */
const share = (sixteenths: number): number => Math.max(1, Math.floor((poolThreads * sixteenths) / 16));

/**
 * The desk for sources of data, jobs and output. Names that do not resolve may hold half of the pool (libuv's own bound); with a
 * quarter held here and less than that by {@link beatDesk}, the store finds a thread when all of it is stuck at once.
 */
export const fileDesk = new FileDesk({ clock: realClock(), max: share(4), perDiskMax: 2 });

/** The desk for beat files: what other files hang on must not make a workload look frozen (DOL-7). */
export const beatDesk = new FileDesk({ clock: realClock(), max: share(3), perDiskMax: 2 });
