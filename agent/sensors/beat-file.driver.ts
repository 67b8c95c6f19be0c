import { lstatSync, type Stats } from "node:fs";
import { type Cancel, type Clock, nextRound } from "@blueflame/shared/time/clock.ts";
import { beatDesk } from "./file-desk.driver.ts";
import { LocalFolders } from "./local-folders.driver.ts";

/**
 * A file is looked at four times within its timeout and once a second; where the timeout is longer than fifteen seconds, fifteen
 * times within it, and every two seconds: a beat of which one learns so late is still no reason for doubt.
 */
const looksPerTimeout = { least: 4, enough: 15 };
const usualLookMs = 1000;
const longestLookMs = 2000;

/**
 * A beat file is looked at by this: its modification time in milliseconds and fractions of one, at once where nothing can
 * hang; undefined when it is not there. The real disk unless a test says otherwise.
 */
export type Modified = (file: string) => number | undefined | Promise<number | undefined>;

interface Watched {
  readonly workload: string;
  readonly file: string;
  /** The modification time seen last; undefined when there was no file. */
  seenMs: number | undefined;
  first: boolean;
  looking: boolean;
}

/** Those that are looked at at the same moments: one wake for all of them. */
interface Round {
  readonly everyMs: number;
  readonly all: Set<Watched>;
  cancel: Cancel;
}

/**
 * Tells a beat whenever the modification time of a workload's beat file has moved, either way: the file's clock and ours
 * are never compared. What lay there before is no beat. A disk that hangs holds one look at a time and nothing else; its
 * workload then gives no beats. Whoever made it closes it.
 */
export class BeatFileWatcher {
  readonly #clock: Clock;
  readonly #beat: (workload: string) => void;
  readonly #modified: Modified;
  readonly #watched = new Map<string, { readonly watched: Watched; readonly round: Round }>();
  readonly #rounds = new Map<number, Round>();

  constructor(clock: Clock, beat: (workload: string) => void, modified: Modified = modifiedMs) {
    this.#clock = clock;
    this.#beat = beat;
    this.#modified = modified;
  }

  /** Watches `file` for `workload` from now on, instead of what was watched for it before. */
  start(workload: string, file: string, timeoutMs: number): void {
    this.stop(workload);
    const everyMs = lookEveryMs(timeoutMs);
    const watched: Watched = { workload, file, seenMs: undefined, first: true, looking: false };
    const round = this.#rounds.get(everyMs) ?? this.#begin(everyMs);
    round.all.add(watched);
    this.#watched.set(workload, { watched, round });
    this.#look(watched);
  }

  /** Harmless for an unknown workload. */
  stop(workload: string): void {
    const known = this.#watched.get(workload);
    if (!known) return;
    const { watched, round } = known;
    this.#watched.delete(workload);
    round.all.delete(watched);
    if (round.all.size > 0) return;
    round.cancel();
    this.#rounds.delete(round.everyMs);
  }

  /** Stops all. */
  close(): void {
    for (const workload of [...this.#watched.keys()]) this.stop(workload);
  }

  #begin(everyMs: number): Round {
    const round: Round = { everyMs, all: new Set(), cancel: () => undefined };
    this.#rounds.set(everyMs, round);
    this.#sleep(round);
    return round;
  }

  #sleep(round: Round): void {
    round.cancel = this.#clock.wakeAt(nextRound(this.#clock.monotonicMs(), round.everyMs), () => {
      this.#sleep(round);
      for (const watched of [...round.all]) this.#look(watched);
    });
  }

  #look(watched: Watched): void {
    if (watched.looking) return;
    const modified = this.#modified(watched.file);
    if (!(modified instanceof Promise)) {
      this.#saw(watched, modified);
      return;
    }
    watched.looking = true;
    const saw = (ms?: number) => {
      watched.looking = false;
      this.#saw(watched, ms);
    };
    void modified.then(saw, () => saw());
  }

  #saw(watched: Watched, ms: number | undefined): void {
    const { workload } = watched;
    if (this.#watched.get(workload)?.watched !== watched) return;
    const moved = ms !== undefined && ms !== watched.seenMs && !watched.first;
    // A file that is away for a moment, while it is replaced, is no reason to take the old time for a new one.
    if (ms !== undefined) watched.seenMs = ms;
    watched.first = false;
    if (moved) this.#beat(workload);
  }
}

function lookEveryMs(timeoutMs: number): number {
  const { least, enough } = looksPerTimeout;
  const shortestMs = Math.min(timeoutMs / least, usualLookMs);
  return Math.min(Math.max(shortestMs, timeoutMs / enough), longestLookMs);
}

const localFolders = new LocalFolders(beatDesk);

/** A disk that does not answer gives no beats; the desk keeps it from holding more than its share of threads. */
function modifiedMs(file: string): number | undefined | Promise<number | undefined> {
  if (localFolders.hold(file)) {
    const stats = statsNow(file);
    // A link may lead to a disk that hangs.
    if (!stats?.isSymbolicLink()) return stats?.mtimeMs;
  }
  return beatDesk
    .look(file, "beat", ({ mtimeMs }) => mtimeMs, usualLookMs)
    .then((flight) => (flight.is === "answered" ? flight.value : undefined));
}

function statsNow(file: string): Stats | undefined {
  try {
    return lstatSync(file, { throwIfNoEntry: false });
  } catch {
    return undefined; // no right to it any more, a folder that leads to itself, a disk that refuses
  }
}
