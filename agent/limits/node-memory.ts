/**
 * The node is nearly out of memory: which family, if any, has brought it there? The kernel's own killer picks the largest
 * process, which is often the healthy database and not the one that leaks. Pure.
 *
 *   growth beats size    the cause is the family that took at least half of what the node lost, over the last minute or hour
 *   size only at the end a family that holds more than half of the machine is the cause even if nobody saw it grow
 *   else nobody          strangers, or many a little: ending one of ours would not help, a person is told
 */
import type { Breach } from "./judge.ts";
import { mebibytes, seconds } from "./words.ts";

/** The node and our families at one moment. */
export interface NodeSight {
  readonly atMs: number;
  readonly availableBytes: number;
  readonly totalBytes: number;
  /** Resident memory by workload; what its processes share counts once for each. */
  readonly families: Readonly<Record<string, number>>;
  /** With shared memory divided among those who share it, where that was read: no family has taken more than this. */
  readonly fair?: Readonly<Record<string, number>>;
}

/** What is remembered of the node's memory; newest last, bounded. */
export interface NodeMemory {
  readonly minute: readonly NodeSight[];
  readonly hour: readonly NodeSight[];
  /** Looks in a row below the floor. */
  readonly low: number;
  readonly quietUntilMs: number;
  readonly toldUntilMs: number;
}

/** Below this share of the machine's memory the kernel may kill at any moment. */
const floorRatio = 0.03;
/** Below this one look is enough: there may be no second one. */
const lastRatio = 0.015;
const lowLooks = 2;
const causeOfFall = 0.5;
/** Less is noise, on a machine that has been full for long. */
const growthRatio = 0.02;
const halfOfAll = 0.5;
const kept = 13;
const minuteStepMs = 5000;
const hourStepMs = 300_000;
/** Freed memory needs this long until it shows; a second family would be ended for the first one's fault. */
const endQuietMs = 5000;
const tellQuietMs = 600_000;

export const freshNode: NodeMemory = { minute: [], hour: [], low: 0, quietUntilMs: 0, toldUntilMs: 0 };

/** True when the families' memory must be looked at now, and not at the next regular look. */
export function nodeIsLow(availableBytes: number, totalBytes: number): boolean {
  return availableBytes < floorRatio * totalBytes;
}

/** Keeps a sight for comparison, at most one per five seconds. */
export function rememberNode(memory: NodeMemory, sight: NodeSight): NodeMemory {
  return {
    ...memory,
    minute: append(memory.minute, sight, minuteStepMs),
    hour: append(memory.hour, sight, hourStepMs),
  };
}

/**
 * Judges the node. `breach.workload` is empty when no family of ours is the cause. A family that is to be ended whose fair figure is
 * not known yet is a suspect only: the figure is to be read, and the node judged again.
 */
export function judgeNode(
  sight: NodeSight,
  before: NodeMemory,
): { readonly memory: NodeMemory; readonly breach?: Breach } {
  if (!nodeIsLow(sight.availableBytes, sight.totalBytes)) return { memory: { ...before, low: 0 } };
  const memory = { ...before, low: before.low + 1 };
  const sure = memory.low >= lowLooks || sight.availableBytes < lastRatio * sight.totalBytes;
  if (!sure || sight.atMs < memory.quietUntilMs) return { memory };
  const state = `the node has ${mebibytes(sight.availableBytes)} of ${mebibytes(sight.totalBytes)} left`;
  const cause = grown(sight, before.minute) ?? grown(sight, before.hour) ?? largest(sight);
  if (cause) {
    const breach: Breach = {
      workload: cause.workload,
      what: "node_memory",
      act: "end",
      because: `${state}, and ${cause.because}: ended before the kernel picks somebody healthy`,
    };
    return { memory: { ...memory, quietUntilMs: sight.atMs + endQuietMs }, breach };
  }
  if (sight.atMs < memory.toldUntilMs) return { memory };
  return {
    memory: { ...memory, toldUntilMs: sight.atMs + tellQuietMs },
    breach: {
      workload: "",
      what: "node_memory",
      act: "tell",
      because: `${state}, and no workload of this node is the cause`,
    },
  };
}

interface Cause {
  readonly workload: string;
  readonly because: string;
}

/** Who took most of what the node lost since it had the most. */
function grown(sight: NodeSight, past: readonly NodeSight[]): Cause | undefined {
  const [first, ...rest] = past;
  if (!first) return undefined;
  const best = rest.reduce((most, one) => (one.availableBytes > most.availableBytes ? one : most), first);
  const fall = best.availableBytes - sight.availableBytes;
  const growth = Object.entries(sight.families)
    .map(([workload, bytes]) => {
      const grownBytes = bytes - (best.families[workload] ?? 0);
      return { workload, bytes: Math.min(grownBytes, fairOf(sight, workload, bytes)) };
    })
    .sort((a, b) => b.bytes - a.bytes)[0];
  if (!growth || growth.bytes < growthRatio * sight.totalBytes || growth.bytes < causeOfFall * fall) return undefined;
  return {
    workload: growth.workload,
    because: `'${growth.workload}' has taken ${mebibytes(growth.bytes)} of the ${mebibytes(Math.max(fall, growth.bytes))} that were lost in ${seconds(sight.atMs - best.atMs)}`,
  };
}

function fairOf({ fair }: NodeSight, workload: string, residentBytes: number): number {
  return Math.min(residentBytes, fair?.[workload] ?? residentBytes);
}

function largest(sight: NodeSight): Cause | undefined {
  const families = Object.entries(sight.families).map(([name, held]) => [name, fairOf(sight, name, held)] as const);
  const [workload, bytes] = families.sort((a, b) => b[1] - a[1])[0] ?? ["", 0];
  if (bytes < halfOfAll * sight.totalBytes) return undefined;
  return { workload, because: `'${workload}' holds ${mebibytes(bytes)}, more than half of the machine` };
}

function append(past: readonly NodeSight[], sight: NodeSight, stepMs: number): readonly NodeSight[] {
  const last = past.at(-1);
  if (last && sight.atMs - last.atMs < stepMs) return past;
  return [...past, sight].slice(-kept);
}
