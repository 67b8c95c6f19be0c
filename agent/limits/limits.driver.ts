/**
 * Keeps every family within its limits: the kernel holds what it can (`fence.driver.ts`), the rest is watched.
 *
 *   every 250 ms   the node's memory (25 µs), and its count of tasks (15 µs): when memory is low, or more tasks are new than
 *                  some family may still have, all families are looked at now. Every second while half of the memory is free
 *                  and the kernel bounds the tasks of every family
 *   every second   families that are near a limit, or have just started
 *   every 5 s      families with a limit that is watched; all of them while less than a quarter of the memory is left
 *   every minute   all
 */
import { type Cancel, type Clock, nextRound } from "@blueflame/shared/time/clock.ts";
import { KernelFile } from "../sensors/proc-read.driver.ts";
import { parseMemory } from "../sensors/proc-text.ts";
import type { Families } from "../supervise/family.driver.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import { lookAgainMs, lookAtAllAgainMs } from "./cadence.ts";
import { fairBytes, familyFigures, familyPids, ownBytes } from "./family-look.driver.ts";
import { type Controller, Fences } from "./fence.driver.ts";
import {
  type Breach,
  type FamilyLimits,
  type FamilyMemory,
  type FamilySight,
  forgiveFamily,
  freshFamily,
  type Held,
  judgeFamily,
  killedForMemory,
  newLife,
} from "./judge.ts";
import { freshNode, judgeNode, type NodeMemory, type NodeSight, nodeIsLow, rememberNode } from "./node-memory.ts";
import { mebibytes, share } from "./words.ts";

const tickMs = 250;
/** While nothing can go wrong faster: each tick wakes the process. */
const calmTickMs = 1000;
/** A tick that is later than this was no tick: the agent was away, and what must hold for a while begins anew. */
const lateMs = 1000;
/** Less often than each tick, by a little: a tick is never early. */
const plentyMs = 900;
/** What was forked before its main process entered is brought in at the looks until this long after the start. */
const gatherMs = 2000;
/** So few tasks over a limit harm nobody until the next regular look, and a machine always has a few more or less. */
const headroomMin = 32;

/** A workload and what bounds it. */
export type Limited = Pick<WorkloadSpec, "name" | "limits">;

/** How one limit is enforced. */
export interface Applied {
  readonly what: Controller;
  /** `512 MiB`, `150 %`, `50`. */
  readonly limit: string;
  /** `told`: nothing holds it, and an excess is only reported. `later`: from its next start. */
  readonly how: "cgroup" | "watched" | "told" | "later";
  /** Why not by a cgroup; empty when it is. */
  readonly because: string;
}

export interface LimitsOptions {
  /** Asked again at each look: a config that changed is seen. */
  readonly specs: () => readonly Limited[];
  readonly families: Families;
  readonly clock: Clock;
  /** Called before anything is ended. A family that is to `end` is killed right after; `restart` is the callee's to do. */
  readonly onBreach: (breach: Breach) => void;
  readonly log: (level: "info" | "warn", fields: object, message: string) => void;
  /** Undefined: cgroups of this machine. `none`: everything is watched. */
  readonly fences?: Fences | "none";
  /** The text of /proc/meminfo, unless a test says otherwise. */
  readonly meminfo?: () => string | undefined;
}

/** Limits of all workloads, enforced until it is closed. Closing leaves processes and their cgroups as they are. */
export interface Limits {
  /** What is enforced, and how; for status and doctor. */
  applied(workload: string): readonly Applied[];
  /**
   * Asked when a process of the workload has died of a SIGKILL that nobody here sent: did the kernel end it for its memory
   * limit, within the last ten seconds? One sentence, or undefined. What was asked here is not told as a breach as well.
   */
  killedForMemory(workload: string): string | undefined;
  /** Resolves when everything that was begun has ended: no kill is under way. */
  settled(): Promise<void>;
  close(): void;
}

/** Begins with the families that live already; main processes that start from now on are bounded by themselves. */
export function openLimits(options: LimitsOptions): Limits {
  return new RunningLimits(options);
}

/** What is known of one workload's family. */
interface Kept {
  limits: FamilyLimits;
  memory: FamilyMemory;
  gatherUntilMs: number;
  residentBytes: number;
  /** How many more tasks it may have; at the last look. */
  headroom: number;
  lookAtMs: number;
}

class RunningLimits implements Limits {
  readonly #options: LimitsOptions;
  readonly #fences: Fences | undefined;
  readonly #kept = new Map<string, Kept>();
  readonly #loadavg = new KernelFile("/proc/loadavg");
  readonly #meminfo = new KernelFile("/proc/meminfo");
  #node: NodeMemory = freshNode;
  #allAtMs = 0;
  /** When the first family wants a look. */
  #nextAtMs = 0;
  #memoryAtMs = 0;
  #tickDueMs = Number.POSITIVE_INFINITY;
  #tasksAtLook = 0;
  #headroom = Number.POSITIVE_INFINITY;
  #looking: Promise<void> | undefined;
  readonly #striking = new Set<Promise<unknown>>();
  #cancel: Cancel | undefined;
  #closed = false;

  constructor(options: LimitsOptions) {
    this.#options = options;
    const { families, fences = new Fences(families.folder, families.cgroupRoot) } = options;
    this.#fences = fences === "none" ? undefined : fences;
    for (const spec of options.specs()) this.#keep(spec);
    families.onEnlist((workload, pid) => this.#enlist(workload, pid));
    if (this.#tasksOfNode() > 0) this.#tick();
    else options.log("info", {}, "this system has no /proc: limits are not watched");
  }

  applied(workload: string): readonly Applied[] {
    const limits = this.#kept.get(workload)?.limits;
    if (!limits) return [];
    const fenced = this.#fences?.fenced(workload);
    const line = (what: Controller, limit: string, value: number): Applied[] => {
      if (value === 0) return [];
      if (fenced?.held[what]) return [{ what, limit, how: "cgroup", because: "" }];
      const because = fenced?.missing[what] ?? "cgroups are not used";
      const later = fenced?.later.includes(what);
      return [{ what, limit, how: later ? "later" : what === "cpu" ? "told" : "watched", because }];
    };
    return [
      ...line("memory", mebibytes(limits.memoryBytes), limits.memoryBytes),
      ...line("cpu", share(limits.cpu), limits.cpu),
      ...line("tasks", String(limits.tasks), limits.tasks),
    ];
  }

  killedForMemory(workload: string): string | undefined {
    const kept = this.#kept.get(workload);
    if (!kept) return undefined;
    const nowMs = this.#options.clock.monotonicMs();
    const oomKills = this.#fences?.counted(workload).oomKills ?? 0;
    if (oomKills > kept.memory.oomKills) kept.memory = { ...kept.memory, oomKills, oomAtMs: nowMs };
    return killedForMemory(kept.limits, kept.memory, nowMs);
  }

  async settled(): Promise<void> {
    await this.#looking;
    while (this.#striking.size > 0) await Promise.all(this.#striking);
  }

  close(): void {
    this.#closed = true;
    this.#cancel?.();
    this.#options.families.onEnlist(() => undefined);
    this.#fences?.dismiss();
    this.#loadavg.close();
    this.#meminfo.close();
  }

  // ── who ────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #keep({ name, limits }: Limited): Kept {
    const before = this.#kept.get(name);
    if (before && sameLimits(before.limits, limits)) return before;
    const { clock, log } = this.#options;
    const fenced = this.#fences?.set(name, limits, true);
    for (const [what, because] of Object.entries(fenced?.missing ?? {}))
      log("info", { workload: name, what }, `its limit is not held by a cgroup: ${because}`);
    const kept: Kept = {
      limits,
      memory: before?.memory ?? freshFamily,
      gatherUntilMs: clock.monotonicMs() + gatherMs,
      residentBytes: before?.residentBytes ?? 0,
      headroom: limits.tasks || Number.POSITIVE_INFINITY,
      lookAtMs: 0,
    };
    this.#kept.set(name, kept);
    this.#nextAtMs = 0;
    return kept;
  }

  /** A new main process: nothing is waited for, a start is on the way from crash to recovery. */
  #enlist(workload: string, pid: number): void {
    const spec = this.#options.specs().find(({ name }) => name === workload);
    if (!spec || this.#closed) return;
    const kept = this.#keep(spec);
    if (this.#fences?.fenced(workload)?.later.length) this.#fences.set(workload, spec.limits, false);
    const nowMs = this.#options.clock.monotonicMs();
    const begun = newLife({ workload, limits: kept.limits }, this.#fences?.counted(workload) ?? {}, kept.memory, nowMs);
    kept.memory = begun.memory;
    if (begun.breach) this.#options.onBreach(begun.breach);
    kept.gatherUntilMs = nowMs + gatherMs;
    kept.lookAtMs = 0;
    this.#nextAtMs = 0;
    // Until everybody is inside, only a look can see it explode.
    kept.headroom = Math.min(kept.headroom, kept.limits.tasks || Number.POSITIVE_INFINITY);
    this.#headroom = Math.min(this.#headroom, kept.headroom);
    this.#hurry();
    void this.#fences?.enter(workload, pid);
  }

  #held(workload: string): Held {
    return this.#fences?.fenced(workload)?.held ?? { memory: false, cpu: false, tasks: false };
  }

  /** A config that changed reaches a family that exceeds it at its next start. */
  #judged(workload: string, limits: FamilyLimits): FamilyLimits {
    const later = this.#fences?.fenced(workload)?.later ?? [];
    return {
      memoryBytes: later.includes("memory") ? 0 : limits.memoryBytes,
      cpu: limits.cpu,
      tasks: later.includes("tasks") ? 0 : limits.tasks,
    };
  }

  // ── when ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  #tick(): void {
    if (this.#closed) return;
    const { clock } = this.#options;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#tickDueMs > lateMs) {
      for (const kept of this.#kept.values()) kept.memory = forgiveFamily(kept.memory);
      this.#node = { ...this.#node, low: 0 };
    }
    // Half of a machine's memory is not taken within a second.
    const node = this.#memoryAtMs <= nowMs ? this.#nodeNow() : undefined;
    if (node && 2 * node.availableBytes > node.totalBytes) this.#memoryAtMs = nowMs + plentyMs;
    const low = node !== undefined && nodeIsLow(node.availableBytes, node.totalBytes);
    if (!low) this.#node = { ...this.#node, low: 0 };
    // Where the kernel bounds every family, no growth is of interest.
    const grown =
      this.#headroom < Number.POSITIVE_INFINITY && this.#tasksOfNode() - this.#tasksAtLook > this.#headroom / 2;
    const all = low || grown || nowMs >= this.#allAtMs;
    // One look at a time: on a machine that is so slow, the next tick asks again.
    if (!this.#looking && (all || this.#nextAtMs <= nowMs)) {
      this.#looking = this.#look(all)
        .catch((error) => this.#options.log("warn", {}, `a look at the limits failed: ${(error as Error).message}`))
        .finally(() => {
          this.#looking = undefined;
          this.#hurry();
        });
    }
    this.#tickAt(nextRound(nowMs, this.#isCalm(nowMs) ? calmTickMs : tickMs));
  }

  /** Nothing that only a look can see may happen within a second. */
  #isCalm(nowMs: number): boolean {
    const bounded = this.#headroom === Number.POSITIVE_INFINITY;
    return bounded && this.#memoryAtMs > nowMs && this.#nextAtMs > nowMs + calmTickMs;
  }

  #tickAt(atMs: number): void {
    this.#cancel?.();
    this.#tickDueMs = atMs;
    this.#cancel = this.#options.clock.wakeAt(atMs, () => this.#tick());
  }

  /** What has changed may not wait for a calm tick. */
  #hurry(): void {
    const nowMs = this.#options.clock.monotonicMs();
    const soonMs = nextRound(nowMs, tickMs);
    if (this.#closed || this.#tickDueMs === Number.POSITIVE_INFINITY || this.#isCalm(nowMs)) return;
    if (soonMs < this.#tickDueMs) this.#tickAt(soonMs);
  }

  async #look(all: boolean): Promise<void> {
    const { specs, clock } = this.#options;
    const tasksNow = this.#tasksOfNode();
    for (const spec of specs()) {
      const kept = this.#keep(spec);
      if (all || kept.lookAtMs <= clock.monotonicMs()) await this.#lookAt(spec.name, kept);
      if (this.#closed) return;
    }
    this.#nextAtMs = Math.min(...[...this.#kept.values()].map(({ lookAtMs }) => lookAtMs));
    if (!all) return;
    const names = new Set(specs().map(({ name }) => name));
    for (const name of this.#kept.keys()) if (!names.has(name)) this.#kept.delete(name);
    this.#tasksAtLook = tasksNow;
    this.#headroom = Math.min(...[...this.#kept.values()].map(({ headroom }) => headroom));
    await this.#judgeNode();
  }

  async #lookAt(workload: string, kept: Kept): Promise<void> {
    const { families, clock } = this.#options;
    const limits = this.#judged(workload, kept.limits);
    const { gatherUntilMs } = kept;
    const gathers = clock.monotonicMs() < gatherUntilMs;
    if (gathers && this.#fences?.fenced(workload)?.again) this.#fences.set(workload, kept.limits, false);
    const held = this.#held(workload);
    const pids = await familyPids(families, workload);
    if (gathers) await this.#fences?.gather(workload, pids);
    const { tasks, residentBytes, cpuMs } = await familyFigures(pids, limits.tasks || Number.POSITIVE_INFINITY);
    kept.residentBytes = residentBytes;
    const over = limits.memoryBytes > 0 && residentBytes > limits.memoryBytes;
    // What it took before it was inside is charged to nobody: the kernel will never hold it, so it is watched.
    const escaped = over && held.memory && (await ownBytes(pids)) > limits.memoryBytes;
    const holds = escaped ? { ...held, memory: false } : held;
    const memoryBytes = over && !holds.memory ? await fairBytes(pids, residentBytes) : residentBytes;
    if (this.#closed) return;
    // Now, and not before the waits: a start in between has told of what was counted, and an older count would have it told anew.
    const counted = this.#fences?.counted(workload);
    // A zombie holds a task of the cgroup, and has no figure of its own: the larger count is the one that harms.
    const sight: FamilySight = { ...counted, tasks: Math.max(tasks, counted?.tasks ?? 0), memoryBytes, cpuMs };
    const nowMs = clock.monotonicMs();
    const { memory, breach } = judgeFamily({ workload, limits, held: holds }, sight, kept.memory, nowMs);
    kept.memory = memory;
    // A start fell into this look, which has not seen whom it brought.
    const anew = kept.gatherUntilMs !== gatherUntilMs;
    // What the kernel bounds cannot explode, once everybody is inside.
    const bounded = limits.tasks === 0 || (held.tasks && !gathers && !anew);
    kept.headroom = bounded ? Number.POSITIVE_INFINITY : Math.max(headroomMin, limits.tasks - tasks);
    kept.lookAtMs = anew ? nowMs : nowMs + (gathers ? tickMs : lookAgainMs(limits, holds, sight));
    if (breach) this.#act(breach);
  }

  async #judgeNode(): Promise<void> {
    const node = this.#nodeNow();
    if (!node) return;
    const nowMs = this.#options.clock.monotonicMs();
    this.#allAtMs = nowMs + lookAtAllAgainMs(node.availableBytes, node.totalBytes);
    const families = Object.fromEntries([...this.#kept].map(([name, { residentBytes }]) => [name, residentBytes]));
    const sight: NodeSight = { atMs: nowMs, ...node, families };
    let { memory, breach } = judgeNode(sight, this.#node);
    // A healthy family that shares much looks as large as a leak: the fair figure of whom it would hit is read first.
    const fair: Record<string, number> = {};
    while (breach?.act === "end" && fair[breach.workload] === undefined) {
      const { workload } = breach;
      const pids = await familyPids(this.#options.families, workload);
      fair[workload] = await fairBytes(pids, families[workload] ?? 0);
      if (this.#closed) return;
      ({ memory, breach } = judgeNode({ ...sight, fair }, this.#node));
    }
    this.#node = rememberNode(memory, sight);
    if (breach) this.#act(breach);
  }

  #act(breach: Breach): void {
    const { onBreach, families, log } = this.#options;
    onBreach(breach);
    if (breach.act !== "end") return;
    const striking = families.strike(breach.workload).then((ended) => {
      this.#striking.delete(striking);
      log("warn", { workload: breach.workload, what: breach.what, ended }, `its family was ended: ${breach.because}`);
    });
    this.#striking.add(striking);
  }

  #nodeNow(): Pick<NodeSight, "availableBytes" | "totalBytes"> | undefined {
    const { meminfo = () => this.#meminfo.text() } = this.#options;
    const memory = parseMemory(meminfo() ?? "");
    return memory && { availableBytes: memory.totalBytes - memory.usedBytes, totalBytes: memory.totalBytes };
  }

  /** Processes and threads of the whole machine: the fourth figure of /proc/loadavg is `running/all`. 0 where there is none. */
  #tasksOfNode(): number {
    return Number(/\d+\/(\d+)/.exec(this.#loadavg.text() ?? "")?.[1] ?? 0);
  }
}

function sameLimits(a: FamilyLimits, b: FamilyLimits): boolean {
  return a.memoryBytes === b.memoryBytes && a.cpu === b.cpu && a.tasks === b.tasks;
}
