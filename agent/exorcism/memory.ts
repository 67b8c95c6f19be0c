/** What is remembered from scan to scan, and how it grows. Pure; bounded by the number of processes. */
import { isDead } from "./owners.ts";
import type { Finding, Policy, Scan, SeenProcess, WorkloadView } from "./sight.ts";

/** What is remembered of one process. */
export interface ProcessMemory {
  readonly startTicks: number;
  readonly cpuTicks: number;
  /** Of one core, since the scan before. */
  readonly cpuRatio: number;
  readonly waitedMs?: number;
  /** At first. */
  readonly residentPages: number;
  readonly firstParent: number;
  readonly firstMs: number;
  /** Since when its parent has been another than at first. */
  readonly reparentedMs?: number;
  /** It has taken its share of CPU at every scan since. */
  readonly burningSinceMs?: number;
  /** It has written nothing since, and what it held then. */
  readonly silent?: { readonly sinceMs: number; readonly pages: number; readonly writtenBytes: number };
  readonly dead: boolean;
  /** Whose it was when it lived: of a dead one nothing else tells. */
  readonly workload?: string;
  /** What the last scan thought of it; a finding needs two in a row. */
  readonly suspected?: string;
  /** Findings that were told, and until when they are not told again. */
  readonly quiet: Readonly<Record<string, number>>;
}

/** How a parent was asked to reap its dead children. */
export interface Asked {
  readonly startTicks: number;
  readonly times: number;
  readonly nextMs: number;
}

export interface Memory {
  readonly atMs?: number;
  readonly processes: ReadonlyMap<number, ProcessMemory>;
  /** By workload: since when its phase and main process have been the same. */
  readonly settled: ReadonlyMap<string, { readonly as: string; readonly sinceMs: number }>;
  /** By the parent's pid. */
  readonly asked: ReadonlyMap<number, Asked>;
  /** When processes were ended, lately. */
  readonly endedMs: readonly number[];
  readonly pagedUntilMs: number;
}

export const nothing: Memory = {
  processes: new Map(),
  settled: new Map(),
  asked: new Map(),
  endedMs: [],
  pagedUntilMs: 0,
};

/** The agent was away: nothing that must hold for a while has been seen to hold. What was told, asked and ended is kept. */
export function forgive(memory: Memory): Memory {
  const processes = new Map<number, ProcessMemory>();
  for (const [pid, { burningSinceMs: _burning, silent: _silent, suspected: _suspected, ...kept }] of memory.processes)
    processes.set(pid, { ...kept, dead: false });
  const { atMs: _at, ...kept } = memory;
  return { ...kept, processes, settled: new Map() };
}

const tickMs = 10;
/** So much more memory than at first is worth asking how much it has written. */
const askFromBytes = 16 * 2 ** 20;

/** Who has to be asked what it has written: reading that of everybody would double the cost of a scan. */
export function wantsOutput(
  memory: Memory,
  policy: Policy,
  one: SeenProcess,
  atMs: number,
  pageBytes: number,
): boolean {
  const before = same(memory, one);
  if (!one.owner || !before) return false;
  const grown = (one.residentPages - before.residentPages) * pageBytes >= askFromBytes;
  return before.silent !== undefined || grown || wantRatio(memory, before, one, atMs) >= policy.cpu;
}

/** Who does something may want more than it gets. Below that it rests, and how long it waited changes nothing. */
const asksFor = 0.02;

/** Who has to be asked how long it has waited for a core. */
export function wantsWait(memory: Memory, policy: Policy, one: SeenProcess, atMs: number): boolean {
  const before = same(memory, one);
  if (!one.owner || !before) return false;
  const ratio = cpuRatio(memory, before, one, atMs);
  return ratio >= asksFor && ratio < policy.cpu;
}

/** Whose program has to be known: a stranger that burns may be one of ours, and nothing proves it. */
export function wantsProgram(memory: Memory, policy: Policy, one: SeenProcess, atMs: number): boolean {
  const before = same(memory, one);
  return !one.owner && before !== undefined && cpuRatio(memory, before, one, atMs) >= policy.cpu;
}

/** Of one core, since the last scan. */
function cpuRatio(memory: Memory, before: ProcessMemory, one: SeenProcess, atMs: number): number {
  const passedMs = atMs - (memory.atMs ?? atMs);
  return passedMs > 0 ? ((one.cpuTicks - before.cpuTicks) * tickMs) / passedMs : 0;
}

/** As {@link cpuRatio}, with the time in which it waited for a core. */
function wantRatio(memory: Memory, before: ProcessMemory, one: SeenProcess, atMs: number): number {
  const passedMs = atMs - (memory.atMs ?? atMs);
  const known = one.waitedMs !== undefined && before.waitedMs !== undefined && passedMs > 0;
  const waited = known ? ((one.waitedMs ?? 0) - (before.waitedMs ?? 0)) / passedMs : 0;
  return cpuRatio(memory, before, one, atMs) + waited;
}

function same(memory: Memory, one: { readonly pid: number; readonly startTicks: number }): ProcessMemory | undefined {
  const before = memory.processes.get(one.pid);
  return before?.startTicks === one.startTicks ? before : undefined;
}

/** After a scan, before it is judged. `processes` is the caller's to go on with. */
export function remember(
  memory: Memory,
  policy: Policy,
  scan: Scan,
): Memory & { readonly processes: Map<number, ProcessMemory> } {
  const processes = new Map<number, ProcessMemory>();
  for (const one of scan.processes) processes.set(one.pid, rememberOne(memory, policy, scan, one));
  const asked = new Map(
    [...memory.asked].filter(([pid, { startTicks }]) => processes.get(pid)?.startTicks === startTicks),
  );
  const settled = new Map<string, { readonly as: string; readonly sinceMs: number }>();
  for (const view of scan.views) settled.set(view.name, settle(memory, view, scan.atMs));
  return { ...memory, atMs: scan.atMs, processes, asked, settled };
}

function settle(memory: Memory, { name, phase, main }: WorkloadView, atMs: number) {
  const as = `${phase} ${main?.id ?? ""} ${main?.pid ?? ""}`;
  const before = memory.settled.get(name);
  return before?.as === as ? before : { as, sinceMs: atMs };
}

function rememberOne(memory: Memory, policy: Policy, scan: Scan, one: SeenProcess): ProcessMemory {
  const before = same(memory, one);
  const ratio = before ? cpuRatio(memory, before, one, scan.atMs) : 0;
  const silent = silence(before, one, scan.atMs);
  // The scan before was the last moment at which it may have rested.
  const burning = before !== undefined && wantRatio(memory, before, one, scan.atMs) >= policy.cpu;
  const moved = before !== undefined && before.firstParent !== one.ppid;
  const workload = one.owner?.is === "family" ? one.owner.workload : before?.workload;
  const now: ProcessMemory = {
    startTicks: one.startTicks,
    cpuTicks: one.cpuTicks,
    cpuRatio: ratio,
    residentPages: before?.residentPages ?? one.residentPages,
    firstParent: before?.firstParent ?? one.ppid,
    firstMs: before?.firstMs ?? scan.atMs,
    dead: isDead(one),
    quiet: before?.quiet ?? {},
    ...(moved && { reparentedMs: before.reparentedMs ?? scan.atMs }),
    ...(silent && { silent }),
    ...(one.waitedMs !== undefined && { waitedMs: one.waitedMs }),
    ...(burning && { burningSinceMs: before.burningSinceMs ?? memory.atMs ?? scan.atMs }),
    ...(workload !== undefined && { workload }),
    ...(before?.suspected !== undefined && { suspected: before.suspected }),
  };
  return before && isAsBefore(before, now) ? before : now;
}

/** Of one at rest nothing new is kept: what is young and kept is what the garbage collector works for. */
function isAsBefore(before: ProcessMemory, now: ProcessMemory): boolean {
  return (
    now.cpuTicks === before.cpuTicks &&
    now.cpuRatio === before.cpuRatio &&
    now.dead === before.dead &&
    now.reparentedMs === before.reparentedMs &&
    now.silent === before.silent &&
    now.waitedMs === before.waitedMs &&
    now.burningSinceMs === before.burningSinceMs &&
    now.workload === before.workload
  );
}

/** Silence begins when its output is first asked for: what was before, nobody knows. */
function silence(before: ProcessMemory | undefined, one: SeenProcess, atMs: number): ProcessMemory["silent"] {
  if (one.writtenBytes === undefined) return undefined;
  if (before?.silent?.writtenBytes === one.writtenBytes) return before.silent;
  return { sinceMs: atMs, pages: one.residentPages, writtenBytes: one.writtenBytes };
}

/** Findings that have to be told again are told again after this long. */
const quietMs = 600_000;
/** What was to end and is still there cannot be killed (state D): tried and told again. */
const endQuietMs = 60_000;
/** The parent's word may take a while; then it is asked again, ever later. */
const askAgainMs = 30_000;

/** After findings: what was told and done is not told and done again at every scan. */
export function noteFindings(memory: Memory, findings: readonly Finding[], atMs: number): Memory {
  if (findings.length === 0) return memory;
  const processes = new Map(memory.processes);
  const asked = new Map(memory.asked);
  let { endedMs, pagedUntilMs } = memory;
  for (const { kind, act, who } of findings) {
    const one = processes.get(who.pid);
    if (act === "end") endedMs = [...endedMs, atMs];
    if (act === "page") pagedUntilMs = atMs + quietMs;
    if (act === "nudge") {
      const times = (asked.get(who.pid)?.times ?? 0) + 1;
      asked.set(who.pid, { startTicks: who.startTicks, times, nextMs: atMs + times * askAgainMs });
    } else if (one) {
      const untilMs = act === "end" ? atMs + endQuietMs : act === "tell" ? atMs + quietMs : Number.POSITIVE_INFINITY;
      processes.set(who.pid, { ...one, quiet: { ...one.quiet, [`${kind} ${act}`]: untilMs } });
    }
  }
  return { ...memory, processes, asked, endedMs, pagedUntilMs };
}
