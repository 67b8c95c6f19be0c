/**
 * Scans, lets the pure judge decide, and acts, with the identity of each process checked right before its signal. A scan
 * costs 10 to 30 µs for each process of the machine; scans take at most a thousandth of one core, so on a machine with
 * thousands of processes they come less often, at least every minute.
 */
import { setImmediate as giveWay, setTimeout as pause } from "node:timers/promises";
import { type Cancel, type Clock, nextRound } from "@blueflame/shared/time/clock.ts";
import type { NodeSections } from "../config/sections.ts";
import { koffi, type Native } from "../libc.driver.ts";
import type { Families } from "../supervise/family.driver.ts";
import { procStat } from "../supervise/proc.driver.ts";
import { type Holdings, holdingsOf } from "./holdings.driver.ts";
import { judge } from "./judge.ts";
import { forgive, type Memory, nothing } from "./memory.ts";
import { program, Scanner } from "./scan.driver.ts";
import { defaultPolicy, type Finding, type Identity, type Policy, type WorkloadView } from "./sight.ts";

/** Scans may take this share of one core. */
const coreShareMax = 0.001;
/** The first scan reads everybody's marker, and any may have been interrupted: the cheapest of the last ones counts. */
const costsKept = 3;
const slowestMs = 60_000;
/** A scan that is later than this, or half its interval, was none: the agent was away. */
const lateMs = 1000;
/** A declared process may clean up after itself for this long. */
const termMs = 2000;
/** Most are gone within a millisecond of SIGKILL. */
const goneMs = 1000;
const pollMs = 10;
/** A parent that is asked has this long to wait for its dead children; most have within a few milliseconds. */
const reapMs = 2000;
const noHang = 1;

/** One exorcism, for audit and log. */
export interface Exorcism extends Finding {
  /** The path of its program; empty where it cannot be read. */
  readonly program: string;
  /**
   * `ended`; `survives` SIGKILL (state D); `gone` by itself before; `asked`: the parent was, and `reaped` says how many then
   * were; `told`: supervision; `paged`: a person should be; `reported`: written down, nothing else.
   */
  readonly did: "ended" | "survives" | "gone" | "asked" | "reaped" | "told" | "paged" | "reported";
  /** What it held right before its end; only of what was ended. */
  readonly freed?: Holdings & { readonly cpuRatio: number };
  readonly reaped: number;
  readonly tookMs: number;
}

export interface ExorcistOptions {
  readonly exorcism: NodeSections["exorcism"];
  readonly declared: NodeSections["processes"];
  readonly families: Families;
  readonly clock: Clock;
  /** Asked right before each scan; see `viewOf`. */
  readonly views: () => readonly WorkloadView[];
  /** Processes that are never one of the declared ones, besides the agent and those that started it: the watchdog. */
  readonly spare?: () => readonly number[];
  /** While true (the kill switch), nothing is done but to look. */
  readonly paused?: () => boolean;
  readonly onExorcised: (record: Exorcism) => void;
  /** Supervision should look at the workload: its main process is stuck, or full of defunct children. */
  readonly onFrozen: (workload: string, because: string) => void;
  readonly log: (level: "info" | "warn", fields: object, message: string) => void;
  /** For tests in which nobody waits for a minute, and scans may cost what they cost. */
  readonly policy?: Partial<Policy>;
  readonly coreShare?: number;
}

/** Scans until it is closed. */
export interface Exorcist {
  /** What a scan costs, in milliseconds of one core, and how many processes the last one saw. */
  cost(): { readonly scanMs: number; readonly processes: number; readonly everyMs: number };
  /** Resolves when a scan that is under way, and what it began, has ended. */
  close(): Promise<void>;
}

export function openExorcist(options: ExorcistOptions): Exorcist {
  return new RunningExorcist(options);
}

class RunningExorcist implements Exorcist {
  readonly #options: ExorcistOptions;
  readonly #policy: Policy;
  readonly #scanner: Scanner;
  #memory: Memory = nothing;
  #cost = { scanMs: 0, processes: 0, everyMs: 0 };
  #costsMs: number[] = [];
  #dueMs: number;
  #scanning: Promise<void> | undefined;
  #cancel: Cancel | undefined;
  #closed = false;

  constructor(options: ExorcistOptions) {
    const { exorcism, families, declared, clock, policy } = options;
    this.#options = options;
    const { reportOnly, cpu, stuckAfterMs, everyMs } = exorcism;
    this.#policy = { ...defaultPolicy, reportOnly, cpu, stuckAfterMs, ...policy };
    this.#scanner = new Scanner(families, declared, clock);
    this.#cost = { ...this.#cost, everyMs };
    this.#dueMs = clock.monotonicMs() + everyMs;
    if (procStat(process.pid)) this.#schedule();
    else options.log("info", {}, "this system has no /proc: nobody looks for zombies");
  }

  cost() {
    return this.#cost;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancel?.();
    await this.#scanning;
    this.#scanner.close();
  }

  #schedule(): void {
    if (this.#closed) return;
    this.#cancel = this.#options.clock.wakeAt(this.#dueMs, () => {
      this.#scanning = this.#scan()
        .catch((error) => this.#options.log("warn", {}, `a search for zombies failed: ${(error as Error).message}`))
        .finally(() => {
          // Halfway between two looks of the sensors.
          const { everyMs } = this.#cost;
          this.#dueMs = nextRound(this.#options.clock.monotonicMs() + everyMs / 2, everyMs) - everyMs / 2;
          this.#schedule();
        });
    });
  }

  async #scan(): Promise<void> {
    const { clock, exorcism, views, paused, spare, coreShare = coreShareMax } = this.#options;
    const late = clock.monotonicMs() - this.#dueMs > Math.max(lateMs, exorcism.everyMs / 2);
    const spared = new Set([...ancestors(), ...(spare?.() ?? [])]);
    const { scan, costMs } = await this.#scanner.scan(views(), this.#policy, this.#memory, spared);
    this.#costsMs = [...this.#costsMs, costMs].slice(-costsKept);
    const scanMs = Math.min(...this.#costsMs);
    const slow = this.#costsMs.length < costsKept ? 0 : Math.min(slowestMs, scanMs / coreShare);
    this.#cost = { scanMs, processes: scan.processes.length, everyMs: Math.max(exorcism.everyMs, slow) };
    const { memory, findings } = judge(this.#policy, this.#memory, scan, late);
    // What is not acted upon must not be remembered as told; after a pause everybody is looked at anew.
    this.#memory = paused?.() ? forgive(this.#memory) : memory;
    if (paused?.()) return;
    const begun: Promise<void>[] = [];
    for (const finding of findings) {
      if (this.#closed) break;
      begun.push(this.#exorcise(finding));
      await giveWay();
    }
    await Promise.all(begun);
  }

  async #exorcise(finding: Finding): Promise<void> {
    const { clock, onExorcised, onFrozen, log } = this.#options;
    const beganMs = clock.monotonicMs();
    const path = program(finding.who.pid) ?? "";
    const outcome = await this.#act(finding);
    const record: Exorcism = {
      ...finding,
      program: path,
      reaped: 0,
      ...outcome,
      tookMs: clock.monotonicMs() - beganMs,
    };
    const { owner, who, kind, because } = finding;
    const fields = { workload: owner, pid: who.pid, kind, did: record.did, ...record.freed };
    log(record.did === "reported" || record.did === "asked" ? "info" : "warn", fields, `${who.name}: ${because}`);
    onExorcised(record);
    if (finding.act === "tell") onFrozen(owner, because);
  }

  async #act(finding: Finding): Promise<Pick<Exorcism, "did" | "freed"> & { readonly reaped?: number }> {
    const { who, act, kind, defunct } = finding;
    switch (act) {
      case "end":
        return this.#end(who, kind === "left_over" ? "SIGTERM" : "SIGKILL");
      case "nudge":
        return { did: "asked", reaped: await nudge(who, defunct) };
      case "reap":
        return { did: "reaped", reaped: reap(defunct) };
      case "tell":
        return { did: "told" };
      case "page":
        return { did: "paged" };
      case "report":
        return { did: "reported" };
    }
  }

  async #end(who: Identity, first: "SIGTERM" | "SIGKILL"): Promise<Pick<Exorcism, "did" | "freed">> {
    if (!lives(who)) return { did: "gone" };
    const cpuRatio = this.#memory.processes.get(who.pid)?.cpuRatio ?? 0;
    const freed = { ...holdingsOf(who.pid), cpuRatio };
    if (first === "SIGTERM" && (await ends(who, "SIGTERM", termMs))) return { did: "ended", freed };
    return (await ends(who, "SIGKILL", goneMs)) ? { did: "ended", freed } : { did: "survives" };
  }
}

// ── signals, each after a look at who gets it ────────────────────────────────────────────────────────────────────────

function lives({ pid, startTicks }: Identity): boolean {
  const stat = procStat(pid);
  return stat?.startTicks === startTicks && stat.state !== "Z" && stat.state !== "X";
}

/** True when it is gone within the time. */
async function ends(who: Identity, signal: "SIGTERM" | "SIGKILL", withinMs: number): Promise<boolean> {
  if (lives(who)) send(who.pid, signal);
  for (let passedMs = 0; passedMs < withinMs; passedMs += pollMs) {
    if (!lives(who)) return true;
    await pause(pollMs);
  }
  return !lives(who);
}

/** Asks a parent to wait for its dead children; answers how many it did wait for, as soon as it was all, or in {@link reapMs}. */
async function nudge(parent: Identity, dead: readonly Identity[]): Promise<number> {
  if (!lives(parent)) return 0;
  send(parent.pid, "SIGCHLD");
  const reaped = () => dead.filter(({ pid, startTicks }) => procStat(pid)?.startTicks !== startTicks).length;
  for (let passedMs = 0; passedMs < reapMs && reaped() < dead.length; passedMs += pollMs) await pause(pollMs);
  return reaped();
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone between the look and the signal.
  }
}

/**
 * Waits for dead children of the agent that nobody else waits for: it is init in a container, or they were adopted. Whom the
 * agent has started itself it has waited for long before two scans have seen it dead.
 */
function reap(dead: readonly Identity[]): number {
  const addon = koffi();
  if (!addon) return 0;
  const wait: Native = addon.load(null).func("int waitpid(int pid, _Out_ int *status, int options)");
  return dead.filter(({ pid, startTicks }) => {
    const stat = procStat(pid);
    const ours = stat?.startTicks === startTicks && stat.state === "Z" && stat.ppid === process.pid;
    return ours && wait(pid, [0], noHang) === pid;
  }).length;
}

/** The agent, and whoever has started it, up to init. */
function ancestors(): number[] {
  const found = [process.pid];
  for (let pid = process.ppid; pid > 0 && !found.includes(pid); pid = procStat(pid)?.ppid ?? 0) found.push(pid);
  return found;
}
