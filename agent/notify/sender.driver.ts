import { readFileSync } from "node:fs";
import { markVariable } from "../supervise/family.driver.ts";
import { environOf, procStat } from "../supervise/proc.driver.ts";

/** Nobody's child is deeper than this below the process that the agent started. */
const ancestorsMax = 64;
/** A cgroup that an agent made for one workload; see family.driver.ts. */
const familyCgroup = /^0::.*\/blueflame-[0-9a-f]{12}\/[^/]+/m;

/** By what a family is known. */
export interface Family {
  /** The agent's store generation: the first part of the mark that its workloads carry. */
  readonly owner: string;
  readonly workload: string;
  /** The process that the agent started, as far as it is known. */
  readonly leader: { readonly pid: number; readonly startTicks: number } | undefined;
}

/**
 * Is the process one of the workload's? By the mark in its environment or that of one of its ancestors, by the session of the
 * leader, or by the leader's cgroup; the same signs as in family.driver.ts, for one process. Of those that are gone only the
 * leader itself is believed its last words: whose any other was can no longer be proven.
 */
export function isMember(pid: number, { owner, workload, leader }: Family): boolean {
  const mark = `${owner}:${workload}:`;
  // A number that belongs to another process by now names no session and no cgroup of ours.
  const now = leader && procStat(leader.pid);
  const lives = leader && now?.startTicks === leader.startTicks ? leader : undefined;
  if (leader?.pid === pid) return now === undefined || lives !== undefined;
  const cgroup = lives && cgroupOf(lives.pid);
  if (cgroup !== undefined && cgroup === cgroupOf(pid)) return true;
  let at = pid;
  for (let depth = 0; depth < ancestorsMax && at > 1 && at !== process.pid; depth++) {
    const stat = procStat(at);
    if (!stat) return false;
    if (lives && stat.session === lives.pid) return true;
    if (environOf(at, markVariable)?.startsWith(mark)) return true;
    at = stat.ppid;
  }
  return false;
}

/** Undefined when it is in none that was made for a workload: then it says nothing. */
function cgroupOf(pid: number): string | undefined {
  try {
    return familyCgroup.exec(readFileSync(`/proc/${pid}/cgroup`, "latin1"))?.[0];
  } catch {
    return undefined;
  }
}
