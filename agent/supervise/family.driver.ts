/**
 * A workload's whole family, set-sid grandchildren too: by cgroup where one can be made (v2, also the unified tree beside v1),
 * else by a marker in the environment that every descendant inherits. The cgroup answers in microseconds; the marker needs
 * a walk over all processes (about 4 ms for 100), which concurrent questions share.
 *
 * A process enters its cgroup right after its spawn, so a child that it forked before that is outside (seen with a shell that
 * forks at once). `gather` brings such strays in; until it has done so for a workload, its cgroup alone proves nothing.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import { allPids, environOf, procStat } from "./proc.driver.ts";

/** The variable in every family member's environment: OWNER:WORKLOAD:INSTANCE. */
export const markVariable = "BLUEFLAME_MARK";

const gatherRoundsMax = 10;

/** One living process that carries our marker. */
export interface Marked {
  readonly workload: string;
  readonly instance: string;
  readonly pid: number;
  readonly startTicks: number;
  /** Leads its own session: the process that the agent itself started. */
  readonly leader: boolean;
}

/** Families of one agent. `owner` is unique to its store. */
export class Families {
  readonly #owner: string;
  readonly #root: string | undefined;
  #walk: Promise<Marked[]> | undefined;
  /** Workloads whose cgroup holds the whole family for certain. */
  readonly #whole = new Set<string>();

  constructor(owner: string) {
    this.#owner = owner;
    this.#root = cgroupRoot(owner);
  }

  /** Where cgroups of workloads are made; undefined when families are found by marker only. */
  get cgroupRoot(): string | undefined {
    return this.#root;
  }

  mark(workload: string, instance: string): string {
    return `${this.#owner}:${workload}:${instance}`;
  }

  /** Puts a new process into its workload's cgroup: everything it forks from now on is in it too. */
  enlist(workload: string, pid: number): void {
    const path = this.#path(workload);
    if (!path) return;
    this.#whole.delete(workload);
    try {
      mkdirSync(path, { recursive: true });
      writeFileSync(`${path}/cgroup.procs`, String(pid));
    } catch {
      // It has ended already, or the cgroup is not ours to write: the marker still finds the family.
    }
  }

  /** False only when it is certain that no process of the workload is left. */
  mayLive(workload: string): boolean {
    const path = this.#path(workload);
    if (!path || !this.#whole.has(workload)) return true;
    try {
      return !readFileSync(`${path}/cgroup.events`, "latin1").includes("populated 0");
    } catch {
      return true;
    }
  }

  /** Brings every marked process into its workload's cgroup. Bounded: what forks faster than it is found stays unproven. */
  async gather(): Promise<void> {
    if (!this.#root) return;
    for (let round = 0; round < gatherRoundsMax; round++) {
      const marked = await this.walk();
      const inside = new Map(
        [...new Set(marked.map((one) => one.workload))].map((name) => [name, new Set(this.#cgroupPids(name))]),
      );
      const strays = marked.filter((one) => !inside.get(one.workload)?.has(one.pid));
      if (strays.length === 0) {
        for (const one of marked) this.#whole.add(one.workload);
        return;
      }
      for (const stray of strays) this.enlist(stray.workload, stray.pid);
    }
  }

  /** Every living process of the workload, by cgroup and marker. */
  async members(workload: string): Promise<{ pid: number; startTicks: number }[]> {
    const found = new Map<number, number>();
    for (const marked of await this.walk()) if (marked.workload === workload) found.set(marked.pid, marked.startTicks);
    for (const pid of this.#cgroupPids(workload)) {
      const stat = procStat(pid);
      if (stat && stat.state !== "Z") found.set(pid, stat.startTicks);
    }
    return [...found].map(([pid, startTicks]) => ({ pid, startTicks }));
  }

  /** Kills the members that still are who they were. Returns how many were signalled. */
  kill(members: readonly { pid: number; startTicks: number }[]): number {
    let killed = 0;
    for (const member of members) {
      const stat = procStat(member.pid);
      if (!stat || stat.state === "Z" || stat.startTicks !== member.startTicks) continue;
      try {
        process.kill(member.pid, "SIGKILL");
        killed++;
      } catch {
        // Gone between the look and the signal.
      }
    }
    return killed;
  }

  /** Removes the workload's empty cgroup. */
  dismiss(workload: string): void {
    const path = this.#path(workload);
    if (!path) return;
    try {
      rmdirSync(path);
    } catch {
      // Not empty or not there: both are harmless.
    }
  }

  /** All living processes with our marker. Questions that come while a walk has not begun share it. */
  walk(): Promise<Marked[]> {
    this.#walk ??= new Promise((resolve) => {
      setImmediate(() => {
        this.#walk = undefined;
        resolve(this.#walkNow());
      });
    });
    return this.#walk;
  }

  #walkNow(): Marked[] {
    const found: Marked[] = [];
    for (const pid of allPids()) {
      const mark = environOf(pid, markVariable);
      if (!mark?.startsWith(`${this.#owner}:`)) continue;
      const stat = procStat(pid);
      if (!stat || stat.state === "Z") continue;
      const [, workload = "", instance = ""] = mark.split(":");
      found.push({ workload, instance, pid, startTicks: stat.startTicks, leader: stat.session === pid });
    }
    return found;
  }

  #cgroupPids(workload: string): number[] {
    const path = this.#path(workload);
    if (!path) return [];
    try {
      return readFileSync(`${path}/cgroup.procs`, "latin1").split("\n").filter(Boolean).map(Number);
    } catch {
      return [];
    }
  }

  #path(workload: string): string | undefined {
    return this.#root && `${this.#root}/${workload}`;
  }
}

/** A folder of our own below our own v2 cgroup, made now; undefined where that is not allowed. */
function cgroupRoot(owner: string): string | undefined {
  const tag = createHash("sha256").update(owner).digest("hex").slice(0, 12);
  for (const mount of ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]) {
    try {
      statSync(`${mount}/cgroup.procs`);
      const own = /^0::(.*)$/m.exec(readFileSync("/proc/self/cgroup", "utf8"))?.[1] ?? "/";
      // An agent that was itself started as somebody's workload must not nest below that workload.
      const base = own.replace(/\/blueflame-[0-9a-f]{12}(\/.*)?$/, "").replace(/\/$/, "");
      const root = `${mount}${base}/blueflame-${tag}`;
      mkdirSync(root, { recursive: true });
      return root;
    } catch {
      // No such tree here, or not ours: try the next.
    }
  }
  return undefined;
}
