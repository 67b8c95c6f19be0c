/** How the agent bounds itself: its own memory, and what the system lets it have. Pure. */
import { mebibytes, seconds } from "./words.ts";

/** Since when the agent's own memory has been over its limit, at every look. */
export interface SelfMemory {
  readonly overSinceMs?: number;
}

/** A garbage collection, or a burst that ends, brings it back by itself within this time. */
const overMs = 60_000;

/** Judges a look at the agent's own resident memory; `because` says that it should start itself anew. */
export function judgeSelf(
  limitBytes: number,
  residentBytes: number,
  before: SelfMemory,
  nowMs: number,
): { readonly memory: SelfMemory; readonly because?: string } {
  if (limitBytes === 0 || residentBytes <= limitBytes) return { memory: {} };
  const overSinceMs = before.overSinceMs ?? nowMs;
  if (nowMs - overSinceMs < overMs) return { memory: { overSinceMs } };
  return {
    memory: { overSinceMs: nowMs }, // should the restart not come, it is asked for again in a minute
    because: `the agent has held ${mebibytes(residentBytes)} for ${seconds(nowMs - overSinceMs)}, its limit is ${mebibytes(limitBytes)}`,
  };
}

/** What the system lets the agent have; undefined where nobody can say, Infinity for no bound. */
export interface OwnBounds {
  readonly openFiles: number | undefined;
  /** Of its user. */
  readonly processes: number | undefined;
  /** Of the cgroup that it lives in, with everything below it. */
  readonly cgroupTasks: number | undefined;
  readonly cgroupMemoryBytes: number | undefined;
}

/** The store, the uplink, the door, pipes of eight probes, and lines of other processes that are kept open (exorcism). */
const openFilesBase = 512;
/** What /proc and its cgroup say of it is kept open. */
const openFilesPerWorkload = 8;
const tasksBase = 64;
const tasksPerWorkload = 16;

/** Lines for status and doctor: which bound of the system is too tight to guard so many workloads. */
export function boundWarnings(bounds: OwnBounds, workloads: number, memoryBytes: number): string[] {
  const files = openFilesBase + openFilesPerWorkload * workloads;
  const tasks = tasksBase + tasksPerWorkload * workloads;
  const lines: string[] = [];
  const tight = (has: number | undefined, needs: number) => has !== undefined && has < needs;
  if (tight(bounds.openFiles, files))
    lines.push(
      `the agent may open ${bounds.openFiles} files and may need ${files}: raise LimitNOFILE of its unit, or ulimit -n`,
    );
  if (tight(bounds.processes, tasks))
    lines.push(
      `its user may run ${bounds.processes} processes, and ${tasks} may be needed: raise LimitNPROC, or ulimit -u`,
    );
  if (tight(bounds.cgroupTasks, tasks))
    lines.push(
      `the agent's cgroup, which its workloads share, may hold ${bounds.cgroupTasks} tasks, and ${tasks} may be needed: raise TasksMax of its unit`,
    );
  if (tight(bounds.cgroupMemoryBytes, memoryBytes))
    lines.push(
      `the agent's cgroup, which its workloads share, has ${mebibytes(bounds.cgroupMemoryBytes ?? 0)} of memory, less than self.memory: raise MemoryMax of its unit`,
    );
  return lines;
}
