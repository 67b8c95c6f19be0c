/**
 * A workload's whole family, set-sid grandchildren too. Four signs name a member; none alone is enough:
 *
 *   cgroup    everything that was forked inside stays inside. Ours where one can be made (v2, also the unified tree beside v1).
 *             A process enters right after its spawn, so a child that it forked before that is outside.
 *   marker    a variable in the environment that every descendant inherits. Programs that write their title over their
 *             environment (nginx) lose it.
 *   session   that of the process which the agent started; it outlives its leader. A set-sid grandchild left it.
 *   parent    a child of a member is a member, as long as its parent lives.
 *
 * The agent and its watchdog are nobody's family, whatever signs they carry: they may have been started from inside a workload
 * (a deploy tool, a terminal multiplexer). Who descends from them is a member by its own signs only.
 *
 * `gather` brings members that are outside into the cgroup; once it has, the cgroup answers in microseconds whether anybody
 * is left. Until then, and without a cgroup, the answer takes a walk over all processes (about 5 ms for 100), which
 * questions at one time share.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { KernelFile, kernelText } from "../sensors/proc-read.driver.ts";
import { allPids, environOf, kernelParent, type ProcStat, procStat } from "./proc.driver.ts";

/** The variable in every family member's environment: OWNER:WORKLOAD:INSTANCE. */
export const markVariable = "BLUEFLAME_MARK";
/** Where an agent moves to when it may not be in the cgroup in which it was started. */
export const asideFolder = "blueflame-own";
/** What forks faster than it is gathered stays unproven, and its clean-up takes the slow way. */
const gatherRoundsMax = 10;
/** Each round stops all that were seen: what is new came from the few that were not. */
const strikeRoundsMax = 20;

/** A process by which a family is known: the one that the agent started, dead or alive. */
export interface Leader {
  readonly pid: number;
  readonly startTicks: number;
}

interface Seen extends ProcStat {
  readonly workload: string | undefined;
  readonly instance: string;
}

/** Families of one agent. `owner` is unique to its store. */
export class Families {
  readonly #owner: string;
  readonly #root: string | undefined;
  readonly #guards: () => readonly number[];
  #walk: Promise<Seen[]> | undefined;
  readonly #leaders = new Map<string, Leader>();
  #enlisted: (workload: string, pid: number) => void = () => undefined;
  /** Who is inside each cgroup, kept open: it is read at each scan. */
  readonly #procs = new Map<string, KernelFile>();
  /** Workloads whose cgroup holds the whole family for certain. */
  readonly #whole = new Set<string>();

  /** `guards`: who watches over this agent. */
  constructor(owner: string, guards: () => readonly number[] = () => []) {
    this.#owner = owner;
    this.#guards = guards;
    this.#root = cgroupRoot(owner);
  }

  /** Where cgroups of workloads are made; undefined when there are none. */
  get cgroupRoot(): string | undefined {
    return this.#root;
  }

  /** In the name of every folder that is made for this agent in a cgroup tree. */
  get folder(): string {
    return folderOf(this.#owner);
  }

  /** Takes off the signs of one of our own workloads that started this agent: what the agent starts is none of that workload. */
  stepOut(): void {
    if (process.env[markVariable]?.startsWith(`${this.#owner}:`)) delete process.env[markVariable];
    const own = /^0::.*$/m.exec(kernelText("/proc/self/cgroup") ?? "")?.[0];
    if (!this.#root || !own?.includes(`/${this.folder}/`)) return;
    const base = dirname(this.#root);
    for (const place of [base, `${base}/${asideFolder}`]) {
      try {
        mkdirSync(place, { recursive: true });
        writeFileSync(`${place}/cgroup.procs`, String(process.pid));
        return;
      } catch {
        // Controllers work below it, or it is not ours to write: the agent is left out of the family all the same.
      }
    }
  }

  #isApart(pid: number): boolean {
    return pid === process.pid || this.#guards().includes(pid);
  }

  mark(workload: string, instance: string): string {
    return `${this.#owner}:${workload}:${instance}`;
  }

  /** Whose marker the process carries: undefined for none, or one that it has overwritten. The agent's own says nothing. */
  markOf(pid: number): { readonly workload: string; readonly instance: string } | "another" | undefined {
    if (this.#isApart(pid)) return "another";
    const text = environOf(pid, markVariable);
    if (text === undefined) return undefined;
    const [owner, workload = "", instance = ""] = text.split(":");
    return owner === this.#owner ? { workload, instance } : "another";
  }

  /** Of whose family one process is, by cgroup, marker or session; undefined for none of ours. Its ancestors are not looked at. */
  whose({ pid, session, startTicks }: ProcStat): string | undefined {
    if (this.#isApart(pid)) return undefined;
    const within = kernelText(`/proc/${pid}/cgroup`)?.split(`/${this.folder}/`)[1];
    if (within !== undefined) return /^[^/\n]*/.exec(within)?.[0];
    const mark = this.markOf(pid);
    if (mark !== undefined && mark !== "another") return mark.workload;
    for (const [workload, leader] of this.#leaders) {
      if (leader.pid !== session || startTicks < leader.startTicks) continue;
      const now = procStat(leader.pid);
      if (!now || now.startTicks === leader.startTicks) return workload; // else the number leads another session by now
    }
    return undefined;
  }

  /** The one listener for main processes that are enlisted from now on. */
  onEnlist(enlisted: (workload: string, pid: number) => void): void {
    this.#enlisted = enlisted;
  }

  /** Who is inside the workload's cgroup now, in microseconds; empty where there are no cgroups. */
  inside(workload: string): number[] {
    return this.#cgroupPids(workload).filter((pid) => !this.#isApart(pid));
  }

  /** Puts a new main process into its workload's cgroup: everything it forks after that is in it too. Does not wait. */
  enlist(workload: string, leader: Leader): void {
    this.#whole.delete(workload);
    this.#leaders.set(workload, leader);
    void this.#enter(workload, leader.pid);
    this.#enlisted(workload, leader.pid);
  }

  /** A main process that somebody else has started: its session names its family until we start one ourselves. */
  claim(workload: string, leader: Leader): void {
    if (!this.#leaders.has(workload)) this.#leaders.set(workload, leader);
  }

  /** False only when it is certain that no process of the workload is left. */
  mayLive(workload: string): boolean {
    const path = this.#path(workload);
    if (!path || !this.#whole.has(workload)) return true;
    return !kernelText(`${path}/cgroup.events`)?.includes("populated 0");
  }

  /** Brings the members of every family that was enlisted into its cgroup. */
  async gather(): Promise<void> {
    if (!this.#root) return;
    for (let round = 0; round < gatherRoundsMax; round++) {
      // Who is inside is read before the look at all: one that enters in between may have forked outside just before.
      const asked = [...this.#leaders].filter(([workload]) => !this.#whole.has(workload));
      const inside = new Map(asked.map(([workload]) => [workload, new Set(this.#cgroupPids(workload))]));
      const all = await this.#look();
      const strays: { workload: string; pid: number }[] = [];
      for (const [workload, leader] of asked) {
        const within = inside.get(workload) ?? new Set();
        const outside = this.#familyOf(all, workload, within, [leader]).filter((one) => !within.has(one.pid));
        strays.push(...outside.map(({ pid }) => ({ workload, pid })));
        // A life that began after the look was not looked at.
        if (outside.length === 0 && this.#leaders.get(workload) === leader) this.#whole.add(workload);
      }
      if (strays.length === 0) return;
      for (const { workload, pid } of strays) await this.#enter(workload, pid);
    }
  }

  /** Every living process of the workload. `last` is its main process as far as it is known. */
  async members(workload: string, last: Leader | undefined): Promise<Leader[]> {
    const leaders = [last, this.#leaders.get(workload)].filter((one) => one !== undefined);
    return this.#familyOf(await this.#look(), workload, new Set(this.#cgroupPids(workload)), leaders);
  }

  /** Kills the members that still are who they were. */
  kill(members: readonly Leader[]): void {
    send(members, "SIGKILL");
  }

  /**
   * Ends a family that grows faster than it can be listed; answers how many were seen. At once and as a whole where the
   * kernel can (cgroup.kill, Linux 5.14); what is outside is stopped first, so that it forks no more, and then killed.
   */
  async strike(workload: string): Promise<number> {
    const held = new Map<number, Leader>();
    for (const pid of this.inside(workload)) held.set(pid, { pid, startTicks: 0 });
    const path = this.#path(workload);
    if (path && !this.#cgroupPids(workload).some((pid) => this.#isApart(pid)))
      await writeFile(`${path}/cgroup.kill`, "1").catch(() => undefined);
    const outside = new Map<number, Leader>();
    for (let round = 0; round < strikeRoundsMax; round++) {
      const fresh = (await this.members(workload, undefined)).filter(
        (one) => outside.get(one.pid)?.startTicks !== one.startTicks,
      );
      if (fresh.length === 0) break;
      for (const one of fresh) outside.set(one.pid, one);
      send(fresh, "SIGSTOP");
    }
    this.kill([...outside.values()]);
    return new Set([...held.keys(), ...outside.keys()]).size;
  }

  /** Living main processes of all families, by workload; `instance` is empty where the marker was overwritten. */
  async leaders(): Promise<{ workload: string; instance: string; pid: number; startTicks: number }[]> {
    const all = await this.#look();
    const workloadOf = new Map<number, string>();
    for (const workload of this.#cgroups()) for (const pid of this.#cgroupPids(workload)) workloadOf.set(pid, workload);
    return all
      .filter((one) => one.session === one.pid)
      .map(({ pid, startTicks, instance, workload }) => ({
        pid,
        startTicks,
        instance,
        workload: workload ?? workloadOf.get(pid) ?? "",
      }))
      .filter((one) => one.workload !== "");
  }

  #familyOf(all: readonly Seen[], workload: string, inside: ReadonlySet<number>, leaders: readonly Leader[]): Leader[] {
    const family = new Map<number, Leader>();
    // A session lives on without its leader. When its number leads another process now, all of ours are gone.
    const sessions = leaders.filter(
      ({ pid, startTicks }) => !all.some((one) => one.pid === pid && one.startTicks !== startTicks),
    );
    for (const one of all) {
      const inSession = sessions.some(({ pid, startTicks }) => one.session === pid && one.startTicks >= startTicks);
      if (one.workload === workload || inside.has(one.pid) || inSession) family.set(one.pid, one);
    }
    for (let grew = family.size > 0; grew; ) {
      grew = false;
      for (const one of all) {
        if (family.has(one.pid) || !family.has(one.ppid)) continue;
        family.set(one.pid, one);
        grew = true;
      }
    }
    return [...family.values()].map(({ pid, startTicks }) => ({ pid, startTicks }));
  }

  /** All living processes. Questions that come while a walk has not begun share it. */
  #look(): Promise<Seen[]> {
    this.#walk ??= new Promise((resolve) => {
      setImmediate(() => {
        this.#walk = undefined;
        resolve(this.#lookNow());
      });
    });
    return this.#walk;
  }

  #lookNow(): Seen[] {
    const found: Seen[] = [];
    for (const pid of allPids()) {
      const stat = procStat(pid);
      if (!stat || stat.state === "Z" || stat.ppid === kernelParent || pid === kernelParent) continue;
      if (this.#isApart(pid)) continue;
      const [owner, workload, instance = ""] = environOf(pid, markVariable)?.split(":") ?? [];
      const ours = owner === this.#owner;
      found.push({ ...stat, workload: ours ? workload : undefined, instance: ours ? instance : "" });
    }
    return found;
  }

  /** Not awaited by a spawn: the kernel may take 15 ms to let the first one in after a quiet time. */
  async #enter(workload: string, pid: number): Promise<void> {
    const path = this.#path(workload);
    if (!path) return;
    try {
      mkdirSync(path, { recursive: true });
      await writeFile(`${path}/cgroup.procs`, String(pid));
    } catch {
      // It has ended already, or the cgroup is not ours to write: the other signs still name it.
    }
  }

  #cgroups(): string[] {
    if (!this.#root) return [];
    try {
      const entries = readdirSync(this.#root, { withFileTypes: true });
      return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
    } catch {
      return []; // dismissed: nobody lives there
    }
  }

  #cgroupPids(workload: string): number[] {
    const path = this.#path(workload);
    if (!path) return [];
    let file = this.#procs.get(path);
    if (!file) {
      file = new KernelFile(`${path}/cgroup.procs`);
      this.#procs.set(path, file);
    }
    return numbersOf(file.text() ?? "");
  }

  /** Removes the cgroups that are empty, and their root when it is. */
  dismiss(): void {
    if (!this.#root) return;
    for (const file of this.#procs.values()) file.close();
    this.#procs.clear();
    for (const path of [...this.#cgroups().map((name) => `${this.#root}/${name}`), this.#root]) {
      try {
        rmdirSync(path);
      } catch {
        // Somebody lives in it.
      }
    }
  }

  #path(workload: string): string | undefined {
    return this.#root && `${this.#root}/${workload}`;
  }
}

/** One number in each line. */
function numbersOf(text: string): number[] {
  const numbers: number[] = [];
  for (const line of text.split("\n")) if (line !== "") numbers.push(Number(line));
  return numbers;
}

/** To those that still are who they were. */
function send(members: readonly Leader[], signal: "SIGKILL" | "SIGSTOP"): void {
  for (const member of members) {
    const stat = procStat(member.pid);
    if (!stat || stat.state === "Z" || stat.startTicks !== member.startTicks) continue;
    try {
      process.kill(member.pid, signal);
    } catch {
      // Gone between the look and the signal.
    }
  }
}

/** `blueflame-` and twelve digits that stand for the agent's store. */
function folderOf(owner: string): string {
  return `blueflame-${createHash("sha256").update(owner).digest("hex").slice(0, 12)}`;
}

/**
 * A cgroup path of ours, without what an agent adds to it: one that was itself started as somebody's workload must not nest
 * below that workload, and one that has moved aside (`limits/`) still belongs where it was.
 */
export function cgroupBase(own: string): string {
  return own.replace(/\/blueflame-(own|[0-9a-f]{12}(\/.*)?)$/, "").replace(/\/$/, "");
}

/** A folder of our own below our own v2 cgroup, made now; undefined where that is not allowed. */
function cgroupRoot(owner: string): string | undefined {
  for (const mount of ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]) {
    try {
      statSync(`${mount}/cgroup.procs`);
      const own = /^0::(.*)$/m.exec(readFileSync("/proc/self/cgroup", "utf8"))?.[1] ?? "/";
      const root = `${mount}${cgroupBase(own)}/${folderOf(owner)}`;
      mkdirSync(root, { recursive: true });
      return root;
    } catch {
      // No such tree here, or not ours: try the next.
    }
  }
  return undefined;
}
