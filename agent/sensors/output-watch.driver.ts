import { closeSync, constants, openSync, readSync, statSync } from "node:fs";
import { readBytes } from "./bounded-file.driver.ts";
import { addLines, cutLines, type LineCounts, linesWithin, wholeLength } from "./error-lines.ts";
import { type FileDesk, fileDesk } from "./file-desk.driver.ts";
import { LocalFolders } from "./local-folders.driver.ts";
import { type LineCounter, lineCounter } from "./pattern.driver.ts";

/** New output is looked through up to here per look; of more, the newest. */
const lookedAtMax = 65_536;

/** What a look at a workload's output has found; `undefined` when its disk does not answer, or there is no file. */
export interface OutputSeen {
  /** Bytes written since the last look; at the first, none. */
  readonly grownBytes: number;
  /** Lines within the last minute that match the workload's error pattern. Only counted, never kept. */
  readonly errorLines: number;
  /** Those of them that are new since the last look. */
  readonly newErrorLines: number;
}

interface Watched {
  size: number | undefined;
  /** Up to where lines were looked at. */
  readTo: number;
  counts: LineCounts;
  /** Counted since the last answer. */
  fresh: number;
  counter: LineCounter | undefined;
}

/**
 * Watches the output files of workloads: how fast they grow, and how many of their lines look like errors. Of many workloads this
 * would be the dearest sensor, so where their folder lies on a local file system it is read at once: what was written just now is
 * in the machine's memory. Everywhere else it goes through the desk, where a dead disk cannot hang the agent.
 */
export class OutputWatch {
  readonly #desk: FileDesk;
  readonly #nowMs: () => number;
  readonly #watched = new Map<string, Watched>();
  readonly #local: LocalFolders;
  readonly #troubled: (workload: string, because: string) => void;

  /** `troubled` is told once when a workload's pattern is given up. */
  constructor(nowMs: () => number, troubled: (workload: string, because: string) => void, desk: FileDesk = fileDesk) {
    this.#nowMs = nowMs;
    this.#troubled = troubled;
    this.#desk = desk;
    this.#local = new LocalFolders(desk);
  }

  /** Looks once, within about `waitMs`. Never rejects. */
  async look(workload: string, path: string, pattern: string, waitMs: number): Promise<OutputSeen | undefined> {
    const watched = this.#watchedOf(workload, pattern);
    if (this.#local.hold(path)) return this.#lookNow(workload, watched, path);
    const flight = await this.#desk.look(
      path,
      "output",
      ({ size }) => this.#read(workload, watched, path, size),
      waitMs,
    );
    if (flight.is !== "answered") return undefined;
    return this.#seen(watched, flight.value);
  }

  #lookNow(workload: string, watched: Watched, path: string): OutputSeen | undefined {
    try {
      const stats = statSync(path, { throwIfNoEntry: false });
      if (!stats?.isFile()) return undefined;
      const { grownBytes, from } = this.#grow(watched, stats.size);
      if (from < stats.size) this.#count(workload, watched, from, bytesNow(path, from, stats.size - from));
      return this.#seen(watched, grownBytes);
    } catch {
      return undefined; // No file, or no right to it.
    }
  }

  #seen(watched: Watched, grownBytes: number): OutputSeen {
    const newErrorLines = watched.fresh;
    watched.fresh = 0;
    return { grownBytes, errorLines: linesWithin(watched.counts, this.#nowMs()), newErrorLines };
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
    const fresh: Watched = { size: undefined, readTo: 0, counts: [], fresh: 0, counter };
    this.#watched.set(workload, fresh);
    return fresh;
  }

  async #read(workload: string, watched: Watched, path: string, size: number): Promise<number> {
    const { grownBytes, from } = this.#grow(watched, size);
    if (from < size) this.#count(workload, watched, from, await readBytes(path, from, size - from));
    return grownBytes;
  }

  /** How much was written, and from where on it is to be looked through. */
  #grow(watched: Watched, size: number): { readonly grownBytes: number; readonly from: number } {
    const before = watched.size;
    watched.size = size;
    // What lay there before the first look is not new; a file that is smaller was rotated, and begins anew.
    if (before === undefined) watched.readTo = size;
    else if (size < before) watched.readTo = 0;
    const grownBytes = before === undefined ? 0 : size < before ? size : size - before;
    return { grownBytes, from: watched.counter ? Math.max(watched.readTo, size - lookedAtMax) : size };
  }

  #count(workload: string, watched: Watched, from: number, bytes: Buffer): void {
    const length = wholeLength(bytes);
    watched.readTo = from + length;
    try {
      const lines = cutLines(bytes.toString("utf8", 0, length));
      const matched = watched.counter?.(lines) ?? 0;
      watched.counts = addLines(watched.counts, matched, this.#nowMs());
      watched.fresh += matched;
    } catch {
      watched.counter = undefined;
      this.#troubled(workload, "its error pattern takes too long on its output and is not used any more");
    }
  }
}

function bytesNow(path: string, from: number, length: number): Buffer {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const bytes = Buffer.allocUnsafe(length);
    return bytes.subarray(0, readSync(file, bytes, 0, length, from));
  } finally {
    closeSync(file);
  }
}
