import type { Cancel, Clock } from "@blueflame/shared/time/clock.ts";
import { beatDesk } from "./file-desk.driver.ts";

/** A file is looked at four times within its timeout, and at least once a second. */
const looksPerTimeout = 4;
const longestLookMs = 1000;

/** A beat file is looked at by this; undefined when it is not there. The real disk unless a test says otherwise. */
export type Modified = (file: string) => Promise<bigint | undefined>;

interface Watched {
  readonly file: string;
  readonly everyMs: number;
  /** The modification time seen last, in nanoseconds; undefined when there was no file. */
  seenNs: bigint | undefined;
  first: boolean;
  looking: boolean;
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
  readonly #watched = new Map<string, Watched>();

  constructor(clock: Clock, beat: (workload: string) => void, modified: Modified = modifiedNs) {
    this.#clock = clock;
    this.#beat = beat;
    this.#modified = modified;
  }

  /** Watches `file` for `workload` from now on, instead of what was watched for it before. */
  start(workload: string, file: string, timeoutMs: number): void {
    this.stop(workload);
    const everyMs = Math.min(timeoutMs / looksPerTimeout, longestLookMs);
    const watched: Watched = { file, everyMs, seenNs: undefined, first: true, looking: false, cancel: () => {} };
    this.#watched.set(workload, watched);
    this.#look(workload, watched);
  }

  /** Harmless for an unknown workload. */
  stop(workload: string): void {
    this.#watched.get(workload)?.cancel();
    this.#watched.delete(workload);
  }

  /** Stops all. */
  close(): void {
    for (const workload of [...this.#watched.keys()]) this.stop(workload);
  }

  #look(workload: string, watched: Watched): void {
    watched.cancel = this.#clock.wakeAt(this.#clock.monotonicMs() + watched.everyMs, () =>
      this.#look(workload, watched),
    );
    if (watched.looking) return;
    watched.looking = true;
    void this.#modified(watched.file).then(
      (ns) => this.#saw(workload, watched, ns),
      () => this.#saw(workload, watched, undefined),
    );
  }

  #saw(workload: string, watched: Watched, ns: bigint | undefined): void {
    watched.looking = false;
    if (this.#watched.get(workload) !== watched) return;
    const moved = ns !== undefined && ns !== watched.seenNs && !watched.first;
    // A file that is away for a moment, while it is replaced, is no reason to take the old time for a new one.
    if (ns !== undefined) watched.seenNs = ns;
    watched.first = false;
    if (moved) this.#beat(workload);
  }
}

/** A disk that does not answer gives no beats; the desk keeps it from holding more than its share of threads. */
async function modifiedNs(file: string): Promise<bigint | undefined> {
  const flight = await beatDesk.look(file, "beat", ({ mtimeMs }) => mtimeMs, longestLookMs);
  return flight.is === "answered" ? BigInt(Math.round(flight.value * 1e6)) : undefined;
}
