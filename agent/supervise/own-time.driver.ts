import { KernelFile } from "../sensors/proc-read.driver.ts";

/** Less than this is noise: a disk that was waited for, two clocks that are read one after the other. */
const pauseLeastMs = 1000;

/**
 * For how long the main thread of this process has run or waited for a core, ms since it began: the first two fields of
 * /proc/self/schedstat (the kernel's Documentation/scheduler/sched-stats.rst), in ns. Undefined where the kernel does not count.
 */
export function wantedCoreMs(stat: string | undefined): number | undefined {
  const [ranNs, waitedNs] = (stat ?? "").split(" ").map(Number);
  if (!ranNs || waitedNs === undefined || !Number.isFinite(ranNs + waitedNs)) return undefined;
  return (ranNs + waitedNs) / 1e6;
}

/** Why was the agent late? Made once; its one descriptor lives as long as the process. */
export class OwnTime {
  readonly #read: () => number | undefined;
  #markedMs: number | undefined;

  constructor(read: (() => number | undefined) | undefined) {
    this.#read = read ?? wanted;
    this.mark();
  }

  /** All is well at this moment. */
  mark(): void {
    this.#markedMs = this.#read();
  }

  /**
   * Of `awayMs` that have passed since the mark: how long the agent did not want to run either, so that the whole machine may have
   * stood still. 0, or at least a second; all of it where that is not known. It is the next mark, too.
   */
  pausedOf(awayMs: number): number {
    const before = this.#markedMs;
    this.mark();
    const now = this.#markedMs;
    if (before === undefined || now === undefined) return awayMs;
    const pausedMs = awayMs - (now - before);
    return pausedMs >= pauseLeastMs ? pausedMs : 0;
  }
}

let file: KernelFile | undefined;

function wanted(): number | undefined {
  file ??= new KernelFile(`/proc/${process.pid}/task/${process.pid}/schedstat`);
  return wantedCoreMs(file.text());
}
