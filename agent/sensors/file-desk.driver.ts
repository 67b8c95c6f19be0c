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
 * known by its device once it has answered; before that by its mount, where links on the root disk lead. A file that answers with
 * an error (it is not there) is a disk of its own: a dead neighbour must not hide that it has come.
 */
import { lstatSync, readFileSync, readlinkSync, type Stats, stat } from "node:fs";
import { dirname, resolve } from "node:path";
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

/** As the kernel has it: whoever needs more links goes in circles. */
const linksMax = 40;
/** Disks that are remembered by file; beyond it all are forgotten and learnt again. */
const knownMax = 4096;
/** The mount table is read again this often at most. */
const mountsEveryMs = 10_000;

interface Asked {
  readonly path: string;
  readonly ask: (stats: Stats) => unknown;
  readonly done: PromiseWithResolvers<Flight<unknown>>;
  readonly askedMs: number;
  begun: boolean;
}

/** Looks at one disk. */
interface Lane {
  busy: number;
  readonly waiting: Asked[];
}

/** Hands out looks at files. Everything that is asked of one place is asked once at a time. */
export class FileDesk {
  readonly #parts: FileDeskParts;
  readonly #flights = new Map<string, Asked>();
  /** By disk; only those with looks under way or waiting. */
  readonly #lanes = new Map<string, Lane>();
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
    const asked = this.#flights.get(key) ?? this.#ask(key, path, ask);
    return new Promise((resolve) => {
      const cancel = clock.wakeAt(clock.monotonicMs() + waitMs, () => {
        const unasked = !asked.begun && !this.#isHeldUpByItsDisk(path);
        resolve({ is: "silent", sinceMs: clock.monotonicMs() - asked.askedMs, ...(unasked && { unasked }) });
      });
      void asked.done.promise.then((flight) => {
        cancel();
        resolve(flight as Flight<T>);
      });
    });
  }

  #ask(key: string, path: string, ask: (stats: Stats) => unknown): Asked {
    const askedMs = this.#parts.clock.monotonicMs();
    const asked: Asked = { path, ask, done: Promise.withResolvers(), askedMs, begun: false };
    this.#flights.set(key, asked);
    void asked.done.promise.then(() => this.#flights.delete(key));
    const disk = this.#disks.get(path) ?? `mount ${mountOf(this.#mountTable(), behindLinks(this.#mountTable(), path))}`;
    const lane = this.#lanes.get(disk) ?? { busy: 0, waiting: [] };
    this.#lanes.set(disk, lane);
    lane.waiting.push(asked);
    this.#begin(disk, lane);
    return asked;
  }

  /** Begins what may begin on one disk, in the order in which it was asked. */
  #begin(disk: string, lane: Lane): void {
    const { max, perDiskMax } = this.#parts;
    while (lane.busy < perDiskMax && this.#underWay < max) {
      const asked = lane.waiting.shift();
      if (!asked) break;
      lane.busy += 1;
      this.#underWay += 1;
      asked.begun = true;
      void this.#run(asked, disk, lane);
    }
    if (lane.busy === 0 && lane.waiting.length === 0) this.#lanes.delete(disk);
  }

  async #run({ path, ask, done }: Asked, disk: string, lane: Lane): Promise<void> {
    let flight: Flight<unknown>;
    try {
      const stats = await (this.#parts.stat ?? realStat)(path);
      this.#remember(path, `device ${stats.dev}`);
      flight = { is: "answered", value: await ask(stats) };
    } catch (error) {
      this.#remember(path, `file ${path}`);
      flight = { is: "failed", error };
    }
    const wasFull = this.#underWay === this.#parts.max;
    this.#underWay -= 1;
    lane.busy -= 1;
    done.resolve(flight);
    // A thread that was the last one goes to whoever has waited on another disk; else this disk's next look takes it.
    if (wasFull) for (const [other, its] of [...this.#lanes]) if (its !== lane) this.#begin(other, its);
    this.#begin(disk, lane);
  }

  #remember(path: string, disk: string): void {
    if (this.#disks.size >= knownMax && !this.#disks.has(path)) this.#disks.clear();
    this.#disks.set(path, disk);
  }

  /** Only of a disk that is known by its device: others may wait for a neighbour that a symbolic link leads elsewhere. */
  #isHeldUpByItsDisk(path: string): boolean {
    const disk = this.#disks.get(path);
    return disk !== undefined && (this.#lanes.get(disk)?.busy ?? 0) >= this.#parts.perDiskMax;
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

/**
 * A path behind the links to it that lie on the root disk, by /proc/self/mounts: two files of a dead disk behind `/data` would hold up
 * what really lies on the root disk. These are looked at without a thread: where that disk hangs, nothing of this machine goes on.
 */
export function behindLinks(mounts: string, path: string): string {
  let at = path;
  for (let links = 0; links < linksMax && mountOf(mounts, at) === "/"; links += 1) {
    const next = throughFirstLink(at);
    if (next === undefined) break;
    at = next;
  }
  return at;
}

/** Undefined: no link is in it. */
function throughFirstLink(path: string): string | undefined {
  for (let end = path.indexOf("/", 1); ; end = path.indexOf("/", end + 1)) {
    const part = end < 0 ? path : path.slice(0, end);
    try {
      const seen = lstatSync(part, { throwIfNoEntry: false });
      if (seen?.isSymbolicLink()) return resolve(dirname(part), readlinkSync(part)) + path.slice(part.length);
      if (!seen || end < 0) return undefined;
    } catch {
      return undefined; // its own look will say why
    }
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
 * The desk for sources of data, jobs, output, and what remedies look at. Names that do not resolve may hold half of the pool (libuv's own bound); with a
 * quarter held here and less than that by {@link beatDesk}, the store finds a thread when all of it is stuck at once.
 */
export const fileDesk = new FileDesk({ clock: realClock(), max: share(4), perDiskMax: 2 });

/**
 * The desk for beat files, and for the declared files of the dead: what other files hang on must neither make a workload look
 * frozen nor keep it from its restart (DOL-7).
 */
export const beatDesk = new FileDesk({ clock: realClock(), max: share(3), perDiskMax: 2 });
