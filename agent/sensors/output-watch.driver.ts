import { readBytes } from "./bounded-file.driver.ts";
import { addLines, cutLines, type LineCounts, linesWithin, wholeLength } from "./error-lines.ts";
import { type FileDesk, fileDesk } from "./file-desk.driver.ts";
import { type LineCounter, lineCounter } from "./pattern.driver.ts";

/** New output is looked through up to here per look; of more, the newest. */
const lookedAtMax = 65_536;

/** What a look at a workload's output has found; `undefined` when its disk does not answer, or there is no file. */
export interface OutputSeen {
  /** Bytes written since the last look; at the first, none. */
  readonly grownBytes: number;
  /** Lines within the last minute that match the workload's error pattern. Only counted, never kept. */
  readonly errorLines: number;
}

interface Watched {
  size: number | undefined;
  /** Up to where lines were looked at. */
  readTo: number;
  counts: LineCounts;
  counter: LineCounter | undefined;
}

/** Watches the output files of workloads: how fast they grow, and how many of their lines look like errors. */
export class OutputWatch {
  readonly #desk: FileDesk;
  readonly #nowMs: () => number;
  readonly #watched = new Map<string, Watched>();
  readonly #troubled: (workload: string, because: string) => void;

  /** `troubled` is told once when a workload's pattern is given up. */
  constructor(nowMs: () => number, troubled: (workload: string, because: string) => void, desk: FileDesk = fileDesk) {
    this.#nowMs = nowMs;
    this.#troubled = troubled;
    this.#desk = desk;
  }

  /** Looks once, within about `waitMs`. Never rejects. */
  async look(workload: string, path: string, pattern: string, waitMs: number): Promise<OutputSeen | undefined> {
    const watched = this.#watchedOf(workload, pattern);
    const flight = await this.#desk.look(
      path,
      "output",
      ({ size }) => this.#read(workload, watched, path, size),
      waitMs,
    );
    if (flight.is !== "answered") return undefined;
    return { grownBytes: flight.value, errorLines: linesWithin(watched.counts, this.#nowMs()) };
  }

  /** A new process writes there from now on: what the last one wrote counts no more. */
  forget(workload: string): void {
    const watched = this.#watched.get(workload);
    if (watched) watched.counts = [];
  }

  #watchedOf(workload: string, pattern: string): Watched {
    const known = this.#watched.get(workload);
    if (known) return known;
    const counter = pattern === "" ? undefined : lineCounter(pattern);
    const fresh: Watched = { size: undefined, readTo: 0, counts: [], counter };
    this.#watched.set(workload, fresh);
    return fresh;
  }

  async #read(workload: string, watched: Watched, path: string, size: number): Promise<number> {
    const before = watched.size;
    watched.size = size;
    if (before === undefined) {
      watched.readTo = size;
      return 0;
    }
    // Smaller: it was rotated, and begins anew.
    if (size < before) watched.readTo = 0;
    if (watched.counter && size > watched.readTo) await this.#count(workload, watched, path, size);
    return size < before ? size : size - before;
  }

  async #count(workload: string, watched: Watched, path: string, size: number): Promise<void> {
    const from = Math.max(watched.readTo, size - lookedAtMax);
    const bytes = await readBytes(path, from, size - from);
    const length = wholeLength(bytes);
    watched.readTo = from + length;
    try {
      const lines = cutLines(bytes.toString("utf8", 0, length));
      watched.counts = addLines(watched.counts, watched.counter?.(lines) ?? 0, this.#nowMs());
    } catch {
      watched.counter = undefined;
      this.#troubled(workload, "its error pattern takes too long on its output and is not used any more");
    }
  }
}
