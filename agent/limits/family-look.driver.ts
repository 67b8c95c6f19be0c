import { setImmediate as giveWay } from "node:timers/promises";
import type { Families } from "../supervise/family.driver.ts";
import { tickMs } from "./process-line.ts";
import { pageBytes, processLine, processText } from "./process-table.driver.ts";

/** While many processes are read, others get their turn after so many. */
const sliceMax = 128;

/** A family as it was seen process by process. */
export interface FamilyFigures {
  readonly pids: readonly number[];
  /** Processes and threads. */
  readonly tasks: number;
  /** Resident; what is shared counts once for each. */
  readonly residentBytes: number;
  readonly cpuMs: number;
}

/** Everybody in a workload's family, about 10 µs for each. Without cgroups it takes a walk over all processes. */
export async function familyPids(families: Families, workload: string): Promise<readonly number[]> {
  if (families.cgroupRoot) return families.inside(workload);
  return (await families.members(workload, undefined)).map(({ pid }) => pid);
}

/** What these processes have together. `enough`: more tasks than this need not be counted. */
export async function familyFigures(pids: readonly number[], enough: number): Promise<FamilyFigures> {
  let [tasks, residentBytes, cpuMs] = [0, 0, 0];
  // More processes than tasks are allowed: an explosion is answered, not measured.
  if (pids.length > enough) return { pids, tasks: pids.length, residentBytes, cpuMs };
  for (const [at, pid] of pids.entries()) {
    if (at % sliceMax === sliceMax - 1) await giveWay();
    const line = processLine(pid);
    if (!line || line.state === "Z") continue;
    tasks += line.threads;
    residentBytes += line.residentPages * pageBytes;
    cpuMs += line.cpuTicks * tickMs;
  }
  return { pids, tasks, residentBytes, cpuMs };
}

/** What the family holds for itself alone, no file's pages among it: whatever its cgroup counts must count these. 0: not known. */
export async function ownBytes(pids: readonly number[]): Promise<number> {
  return (await sumOf(pids, "Anonymous")) ?? 0;
}

/** As {@link FamilyFigures.residentBytes}, with shared pages divided among those who share them: slow, a millisecond for large ones. */
export async function fairBytes(pids: readonly number[], otherwise: number): Promise<number> {
  // Another user's process, or an old kernel: what is known is the sum that counts more.
  return (await sumOf(pids, "Pss")) ?? otherwise;
}

async function sumOf(pids: readonly number[], field: "Pss" | "Anonymous"): Promise<number | undefined> {
  const line = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m");
  let sum = 0;
  for (const pid of pids) {
    await giveWay();
    const kib = line.exec(processText(pid, "smaps_rollup") ?? "")?.[1];
    if (kib === undefined) return undefined;
    sum += Number(kib) * 1024;
  }
  return sum;
}
