import { readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { parseProcessLine } from "../limits/process-line.ts";
import type { Figures } from "../triggers/observation.ts";
import { kernelText, pageBytes } from "./proc-read.driver.ts";

/** The machine is busy from here on; below it nobody is looked for: a walk over all processes costs some milliseconds. */
const busyFrom = { cpu: 0.8, memory: 0.85 };
/**
 * The second walk of a busy time comes this long after the first, for CPU is told by the difference; then they are rarer. Each
 * is over at most so many processes, in steps that let everything else run in between.
 */
const walkEveryMs = { first: 5000, later: 30_000 };
const processesMax = 5000;
const stepOf = 64;
/** Who takes less than this of a core or of the memory explains nothing. */
const worthTelling = { cpu: 0.25, memory: 0.1 };
const tickMs = 10;

interface Seen {
  readonly pid: number;
  readonly name: string;
  readonly startTicks: number;
  readonly cpuTicks: number;
  readonly bytes: number;
}

/** Finds who else makes the machine busy. */
export class Strangers {
  readonly #clock: Clock;
  readonly #everyMs: { readonly first: number; readonly later: number };
  #walks = 0;
  #before: { readonly ms: number; readonly seen: ReadonlyMap<number, Seen> } | undefined;
  #words = "";

  constructor(clock: Clock, everyMs = walkEveryMs) {
    this.#clock = clock;
    this.#everyMs = everyMs;
  }

  /**
   * The heaviest process that is not in `ours`, in words for people, like `stress-ng (pid 4711) takes 180 % of a core`; empty
   * while the machine is not busy, at the first look of a busy time when only CPU is short, and when no stranger is heavy.
   */
  async heaviest(node: Figures, ours: ReadonlySet<number>): Promise<string> {
    const cpu = (node.cpu_busy_ratio ?? 0) > busyFrom.cpu;
    const memory = (node.memory_used_ratio ?? 0) > busyFrom.memory;
    if (!cpu && !memory) {
      this.#before = undefined;
      this.#walks = 0;
      this.#words = "";
      return "";
    }
    const ms = this.#clock.monotonicMs();
    const everyMs = this.#walks < 2 ? this.#everyMs.first : this.#everyMs.later;
    if (this.#before && ms < this.#before.ms + everyMs) return this.#words;
    this.#walks += 1;
    const now = { ms, seen: await walk(ours) };
    this.#words = (cpu && this.#burner(now)) || (memory && holder(now.seen, node.memory_total_bytes ?? 0)) || "";
    this.#before = now;
    return this.#words;
  }

  #burner({ ms, seen }: { readonly ms: number; readonly seen: ReadonlyMap<number, Seen> }): string {
    const before = this.#before;
    if (!before || ms <= before.ms) return "";
    let most: { readonly one: Seen; readonly ratio: number } | undefined;
    for (const one of seen.values()) {
      const last = before.seen.get(one.pid);
      // One that has begun since the last walk counts from its start, which is later.
      const ticks = one.cpuTicks - (last?.startTicks === one.startTicks ? last.cpuTicks : 0);
      const ratio = (ticks * tickMs) / (ms - before.ms);
      if (ratio > (most?.ratio ?? worthTelling.cpu)) most = { one, ratio };
    }
    if (!most) return "";
    const percent = Math.round(100 * Math.min(most.ratio, availableParallelism()));
    return `${most.one.name} (pid ${most.one.pid}) takes ${percent} % of a core`;
  }
}

function holder(seen: ReadonlyMap<number, Seen>, totalBytes: number): string {
  let most: Seen | undefined;
  for (const one of seen.values()) if (one.bytes > (most?.bytes ?? worthTelling.memory * totalBytes)) most = one;
  return most ? `${most.name} (pid ${most.pid}) holds ${(most.bytes / 2 ** 30).toFixed(1)} GiB of memory` : "";
}

async function walk(ours: ReadonlySet<number>): Promise<Map<number, Seen>> {
  const found = new Map<number, Seen>();
  const pids = processIds().filter((pid) => !ours.has(pid));
  for (const [index, pid] of pids.slice(0, processesMax).entries()) {
    if (index % stepOf === stepOf - 1) await new Promise((resolve) => setImmediate(resolve));
    const line = parseProcessLine(pid, kernelText(`/proc/${pid}/stat`) ?? "");
    if (!line || line.state === "Z") continue;
    const { startTicks, cpuTicks, residentPages } = line;
    // The name is the process's own word: control characters do not belong into a sentence.
    const name = line.name.replaceAll(/\p{C}+/gu, "?");
    found.set(pid, { pid, name, startTicks, cpuTicks, bytes: residentPages * pageBytes });
  }
  return found;
}

function processIds(): number[] {
  try {
    return readdirSync("/proc")
      .map(Number)
      .filter((pid) => pid > 0);
  } catch {
    return []; // a system without /proc
  }
}
