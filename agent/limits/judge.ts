/**
 * Does one family keep within its limits? Pure: the driver looks, this decides, the driver acts.
 *
 *              held by the kernel (a cgroup)                       watched
 *   tasks      forks are refused at the limit; a family that        over it: ended at the first sight, for a runaway
 *              goes on asking for 5 s is ended                      doubles in milliseconds
 *   memory     the kernel ends one of it: the rest is restarted     over it at two looks in a row: restarted
 *   cpu        throttled, nothing to judge                          over it for a minute: told
 */
import type { WorkloadSpec } from "../supervise/spec.ts";
import { mebibytes, seconds, share } from "./words.ts";

export type FamilyLimits = WorkloadSpec["limits"];

/** What the kernel bounds by itself. */
export interface Held {
  readonly memory: boolean;
  readonly cpu: boolean;
  readonly tasks: boolean;
}

/** One look at a family; what was not looked at is missing. The counters count up for the life of the family's cgroup. */
export interface FamilySight {
  /** Processes and threads. */
  readonly tasks?: number;
  /** What ending the family would give back; shared pages may count more than once. */
  readonly memoryBytes?: number;
  /** CPU time of all members together. */
  readonly cpuMs?: number;
  readonly refusedForks?: number;
  readonly oomKills?: number;
}

/** A family is beyond a limit, or the node is nearly out of memory because of it. */
export interface Breach {
  readonly workload: string;
  readonly what: "memory" | "cpu" | "tasks" | "node_memory";
  /** `end`: the whole family is killed now; `restart`: supervision should restart it; `tell`: nothing is done. */
  readonly act: "end" | "restart" | "tell";
  /** One sentence with the figures. */
  readonly because: string;
}

/** What is remembered of one family from look to look. */
export interface FamilyMemory {
  readonly refusedForks: number;
  readonly oomKills: number;
  /** When they were last seen to have grown. */
  readonly oomAtMs?: number;
  /** Looks in a row over the watched memory limit. */
  readonly memoryOver: number;
  readonly fullSinceMs?: number;
  readonly refusedAtMs?: number;
  readonly cpu?: { readonly atMs: number; readonly ms: number };
  readonly cpuOverSinceMs?: number;
  /** Until then nothing more is said of this limit: what was said is under way, or known. */
  readonly quietUntilMs: Readonly<Partial<Record<Breach["what"], number>>>;
}

/** A family at its limit of tasks is left alone for this long: a short peak heals itself, and the kernel holds it. */
const fullMs = 5000;
/** It still asks when its last refused fork is not older than this. */
const askingMs = 2000;
/** This near its limit a family counts as full: at the very moment of the look one of it may have ended. */
const fullRatio = 0.9;
/** One look may fall into a moment in which a fork shares everything with its parent. */
const memoryLooks = 2;
const cpuOverMs = 60_000;
/** An exit is explained by a kill that is not older. */
const oomLatelyMs = 10_000;
/** An end or a restart needs this long until its effect can be seen. */
const actQuietMs = 5000;
const tellQuietMs = 600_000;

export const freshFamily: FamilyMemory = { refusedForks: 0, oomKills: 0, memoryOver: 0, quietUntilMs: {} };

/** The agent was away: what must hold for a while begins anew; counters are kept. */
export function forgiveFamily(memory: FamilyMemory): FamilyMemory {
  const { fullSinceMs: _full, cpu: _cpu, cpuOverSinceMs: _over, ...kept } = memory;
  return { ...kept, memoryOver: 0 };
}

/**
 * A new main process was started: what the last life did is no reason to restart this one. A kill by the kernel that nobody
 * has told yet is to be told.
 */
export function newLife(
  family: { readonly workload: string; readonly limits: FamilyLimits },
  sight: FamilySight,
  before: FamilyMemory,
  nowMs: number,
): { readonly memory: FamilyMemory; readonly breach?: Breach } {
  const { oomKills = before.oomKills, refusedForks = before.refusedForks } = sight;
  const { refusedAtMs: _refused, ...kept } = forgiveFamily(before);
  const killed = oomKills > before.oomKills;
  const memory = { ...kept, oomKills, refusedForks, ...(killed && { oomAtMs: nowMs }) };
  const because = killed ? killedForMemory(family.limits, memory, nowMs) : undefined;
  return { memory, ...(because && { breach: { workload: family.workload, what: "memory", act: "tell", because } }) };
}

/** Judges one look. At most one breach; the most dangerous first. */
export function judgeFamily(
  family: { readonly workload: string; readonly limits: FamilyLimits; readonly held: Held },
  sight: FamilySight,
  before: FamilyMemory,
  nowMs: number,
): { readonly memory: FamilyMemory; readonly breach?: Breach } {
  const { workload, limits, held } = family;
  const memory = remember(limits, held, sight, before, nowMs);
  const found =
    tasksBreach(limits, sight, memory, nowMs) ??
    memoryBreach(limits, held, sight, before, memory, nowMs) ??
    cpuBreach(limits, sight, before, memory, nowMs);
  if (!found || nowMs < (before.quietUntilMs[found.what] ?? 0)) return { memory };
  const untilMs = nowMs + (found.act === "tell" ? tellQuietMs : actQuietMs);
  return {
    memory: { ...memory, quietUntilMs: { ...memory.quietUntilMs, [found.what]: untilMs } },
    breach: { workload, ...found },
  };
}

/** Why the kernel has killed a process of the family lately; undefined when it has not. */
export function killedForMemory(limits: FamilyLimits, memory: FamilyMemory, nowMs: number): string | undefined {
  if (memory.oomAtMs === undefined || nowMs - memory.oomAtMs > oomLatelyMs) return undefined;
  return `it is over its memory limit of ${mebibytes(limits.memoryBytes)}: the kernel has ended a process of its family`;
}

type Found = Omit<Breach, "workload">;

function remember(
  limits: FamilyLimits,
  held: Held,
  sight: FamilySight,
  before: FamilyMemory,
  nowMs: number,
): FamilyMemory {
  const { refusedAtMs: lastRefused, fullSinceMs: wasFull, cpu: lastCpu, cpuOverSinceMs: wasOver, ...kept } = before;
  const refusedForks = sight.refusedForks ?? before.refusedForks;
  const refusedAtMs = refusedForks > before.refusedForks ? nowMs : lastRefused;
  const asks = refusedAtMs !== undefined && nowMs - refusedAtMs <= askingMs;
  // Not looked at is not the same as not full.
  const full = sight.tasks === undefined ? wasFull !== undefined : sight.tasks >= fullRatio * limits.tasks;
  const cpu = sight.cpuMs === undefined ? lastCpu : { atMs: nowMs, ms: sight.cpuMs };
  const over = overCpu(limits, held, sight, lastCpu, nowMs) ?? wasOver !== undefined;
  const overMemory = sight.memoryBytes !== undefined && sight.memoryBytes > limits.memoryBytes;
  return {
    ...kept,
    refusedForks,
    oomKills: sight.oomKills ?? before.oomKills,
    memoryOver:
      sight.memoryBytes === undefined || limits.memoryBytes === 0
        ? before.memoryOver
        : overMemory
          ? before.memoryOver + 1
          : 0,
    ...((sight.oomKills ?? 0) > before.oomKills && { oomAtMs: nowMs }),
    ...(refusedAtMs !== undefined && { refusedAtMs }),
    ...(asks && full && { fullSinceMs: wasFull ?? nowMs }),
    ...(cpu && { cpu }),
    ...(over && { cpuOverSinceMs: wasOver ?? lastCpu?.atMs ?? nowMs }),
  };
}

/** Undefined when this look cannot say. */
function overCpu(
  limits: FamilyLimits,
  held: Held,
  sight: FamilySight,
  last: FamilyMemory["cpu"],
  nowMs: number,
): boolean | undefined {
  if (limits.cpu === 0 || held.cpu) return false;
  const ratio = cpuRatio(sight, last, nowMs);
  return ratio === undefined ? undefined : ratio > limits.cpu;
}

/** Of one core, since the last look. Members that ended took their time with them: never below 0. */
function cpuRatio(sight: FamilySight, last: FamilyMemory["cpu"], nowMs: number): number | undefined {
  if (sight.cpuMs === undefined || !last || nowMs <= last.atMs) return undefined;
  return Math.max(0, sight.cpuMs - last.ms) / (nowMs - last.atMs);
}

function tasksBreach(limits: FamilyLimits, sight: FamilySight, memory: FamilyMemory, nowMs: number): Found | undefined {
  if (limits.tasks === 0) return undefined;
  if (sight.tasks !== undefined && sight.tasks > limits.tasks)
    return {
      what: "tasks",
      act: "end",
      because: `its family has ${sight.tasks} processes and threads, its limit is ${limits.tasks}`,
    };
  const fullForMs = memory.fullSinceMs === undefined ? 0 : nowMs - memory.fullSinceMs;
  if (fullForMs < fullMs) return undefined;
  return {
    what: "tasks",
    act: "end",
    because: `its family has stood at its limit of ${limits.tasks} tasks for ${seconds(fullForMs)} and goes on forking`,
  };
}

function memoryBreach(
  limits: FamilyLimits,
  held: Held,
  sight: FamilySight,
  before: FamilyMemory,
  memory: FamilyMemory,
  nowMs: number,
): Found | undefined {
  const limit = mebibytes(limits.memoryBytes);
  if (limits.memoryBytes === 0) return undefined;
  const killed = memory.oomKills > before.oomKills && killedForMemory(limits, memory, nowMs);
  if (killed) return { what: "memory", act: "restart", because: killed };
  if (held.memory || memory.memoryOver < memoryLooks || sight.memoryBytes === undefined) return undefined;
  return {
    what: "memory",
    act: "restart",
    because: `it is over its memory limit: its family holds ${mebibytes(sight.memoryBytes)} of ${limit}`,
  };
}

function cpuBreach(
  limits: FamilyLimits,
  sight: FamilySight,
  before: FamilyMemory,
  memory: FamilyMemory,
  nowMs: number,
): Found | undefined {
  if (memory.cpuOverSinceMs === undefined || nowMs - memory.cpuOverSinceMs < cpuOverMs) return undefined;
  const ratio = cpuRatio(sight, before.cpu, nowMs);
  if (ratio === undefined) return undefined;
  return {
    what: "cpu",
    act: "tell",
    because: `it has taken more than its ${share(limits.cpu)} of a core for ${seconds(nowMs - memory.cpuOverSinceMs)}, now ${share(ratio)}; only a cgroup could hold it back`,
  };
}
