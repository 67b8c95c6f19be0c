import { readFileSync } from "node:fs";
import { markVariable } from "../supervise/family.driver.ts";
import { environOf, procStat } from "../supervise/proc.driver.ts";

/** Nobody's child is deeper than this below the process that the agent started. */
const ancestorsMax = 64;
/** Members that are remembered; all are forgotten at once beyond it, and looked at again. */
const knownMax = 256;
/** A cgroup that an agent made for one workload; see family.driver.ts. */
const familyCgroup = /^0::.*\/blueflame-[0-9a-f]{12}\/[^/]+/m;

/** A process, named for good. */
interface Identity {
  readonly pid: number;
  readonly startTicks: number;
}

/**
 * Which processes may speak for one workload. `owner` is the store's generation, the first part of the mark that the agent's
 * workloads carry. Who was a member stays one, so a sender that beats every second is looked at once.
 */
export class Senders {
  readonly #mark: string;
  /** Members by their number, with when they were started. */
  readonly #known = new Map<number, number>();

  constructor(owner: string, workload: string) {
    this.#mark = `${owner}:${workload}:`;
  }

  /**
   * Is the process one of the workload's? By the mark in its environment or that of one of its ancestors, by the session of the
   * leader, or by the leader's cgroup; the same signs as in family.driver.ts, for one process. Of those that are gone only the
   * leader itself is believed its last words: whose any other was can no longer be proven.
   * The leader's number is believed unseen, as most beats are its own and a look costs more than all else: no number is given
   * away again within the milliseconds (250, for an adopted one) after which the supervisor knows of a death.
   */
  isMember(pid: number, leader: Identity | undefined): boolean {
    if (leader?.pid === pid) return true;
    const startTicks = procStat(pid)?.startTicks;
    if (startTicks === undefined) return false;
    if (this.#known.get(pid) === startTicks) return true;
    // A number that belongs to another process by now names no session and no cgroup of ours.
    const lives = leader && procStat(leader.pid)?.startTicks === leader.startTicks ? leader.pid : undefined;
    const found = this.#hasMark(pid, lives) || isInCgroupOf(pid, lives);
    if (this.#known.size >= knownMax) this.#known.clear();
    if (found) this.#known.set(pid, startTicks);
    return found;
  }

  #hasMark(pid: number, leader: number | undefined): boolean {
    let at = pid;
    for (let depth = 0; depth < ancestorsMax && at > 1 && at !== process.pid; depth++) {
      const stat = procStat(at);
      if (!stat) return false;
      if (leader !== undefined && stat.session === leader) return true;
      if (environOf(at, markVariable)?.startsWith(this.#mark)) return true;
      at = stat.ppid;
    }
    return false;
  }
}

function isInCgroupOf(pid: number, leader: number | undefined): boolean {
  const cgroup = leader === undefined ? undefined : cgroupOf(leader);
  return cgroup !== undefined && cgroup === cgroupOf(pid);
}

/** Undefined when it is in none that was made for a workload: then it says nothing. */
function cgroupOf(pid: number): string | undefined {
  try {
    return familyCgroup.exec(readFileSync(`/proc/${pid}/cgroup`, "latin1"))?.[0];
  } catch {
    return undefined;
  }
}
