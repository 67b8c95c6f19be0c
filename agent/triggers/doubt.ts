/**
 * Doubt before blame: is it us? A machine that a stranger has filled, or an agent that was itself away, makes healthy workloads
 * look ill, and restarting them would add load to load.
 *
 * Whose load is it? While a resource is calm, what ours and what all others take of it is remembered as a mean that fades over a
 * minute. When it is no longer calm, whoever grew more since then is the cause: what a database always takes is no cause, a leak
 * is, and so is a build that somebody has started. Nobody grew, or nothing calm was seen: whoever takes more.
 */
import type { Figures } from "./observation.ts";
import { counted, countOf, type Window } from "./window.ts";

/** What our workloads and everybody else take of a resource, as shares of the whole machine. */
export interface Load {
  readonly ours: number;
  readonly others: number;
}

/** How a resource was shared while it was calm. */
export interface Calm extends Load {
  /** How long calm was seen, at most counted in steps of 10 s. */
  readonly forMs: number;
  readonly atMs: number;
}

/** The mean of a calm time fades over this long. */
const calmFadeMs = 60_000;
/** One reading stands for at most this long. */
const readingMs = 10_000;
/** Growth within this is noise. */
const noise = 0.03;

/** What is taken of a resource; undefined when it is not known whose it is. */
export function loadOf(resource: "cpu" | "memory", node: Figures): Load | undefined {
  const whole = resource === "cpu" ? node.cpu_busy_ratio : node.memory_used_ratio;
  const known = resource === "cpu" ? node.ours_cpu_ratio : node.ours_memory_ratio;
  if (whole === undefined || known === undefined) return undefined;
  // The two are read at slightly different moments.
  const ours = Math.min(whole, known);
  return { ours, others: whole - ours };
}

/** Takes a reading of a calm moment into the mean. */
export function calmed(before: Calm | undefined, load: Load, nowMs: number): Calm {
  if (before === undefined) return { ...load, forMs: 0, atMs: nowMs };
  const passedMs = Math.max(0, nowMs - before.atMs);
  const weight = 1 - Math.exp(-passedMs / calmFadeMs);
  return {
    ours: before.ours + weight * (load.ours - before.ours),
    others: before.others + weight * (load.others - before.others),
    forMs: before.forMs + Math.min(passedMs, readingMs),
    atMs: nowMs,
  };
}

/**
 * Is this load a stranger's? Of CPU also when the others take more than twice of what ours take, whoever grew: it is shared out
 * by need, so what ours could give back would not help.
 */
export function isStrangers(resource: "cpu" | "memory", load: Load, calm: Calm | undefined): boolean {
  if (resource === "cpu" && load.others > 2 * load.ours) return true;
  const [ours, others] = [load.ours - (calm?.ours ?? 0), load.others - (calm?.others ?? 0)];
  if (calm === undefined || (ours < noise && others < noise)) return load.others > load.ours;
  return others > ours;
}

/** Busier than this, or with more than two waiting for each core, the machine is starved; calm is well below. */
const starvedCpu = 0.85;
const starvedLoad = 2;
const calmCpu = 0.75;
const calmLoad = 1;
/** A machine that was busy ever since we look is its own normal: only strangers that came are an excuse. */
const calmSeenMs = 60_000;

/** What was seen of the machine as a whole. JSON-able. */
export interface Doubt {
  readonly calm?: Calm;
  /** When the machine was last starved by strangers, and by whom. */
  readonly starved?: { readonly atMs: number; readonly by: string };
  /** How late the agent itself was. */
  readonly lags: Window;
  /** The part of it in which the agent did not even want to run, as on a machine that is paused as a whole. Absent: none. */
  readonly pauses?: Window;
}

/** Nothing is known against ourselves. */
export const noDoubt: Doubt = { lags: [] };

/** A starved machine stays in figures that look back over a minute. */
const starvedAfterMs = 60_000;
/** The agent's own lags are remembered for this long. */
const lagsMs = 300_000;
/** What still answers within three times its threshold on a starved machine is slowed, not broken. */
const starvedFactor = 3;

/** Takes a reading of the machine. `stranger` is the heaviest one in words, or empty. */
export function doubted(before: Doubt, node: Figures, stranger: string, nowMs: number): Doubt {
  const load = loadOf("cpu", node);
  if (load === undefined) return before;
  const [cpu, waiting] = [load.ours + load.others, node.load_1m_ratio ?? 0];
  if (cpu <= calmCpu && waiting <= calmLoad) return { ...before, calm: calmed(before.calm, load, nowMs) };
  const starved = cpu > starvedCpu || waiting > starvedLoad;
  const witnessed = before.calm !== undefined && before.calm.forMs >= calmSeenMs;
  if (!starved || !witnessed || load.others <= load.ours || !isStrangers("cpu", load, before.calm)) return before;
  return { ...before, starved: { atMs: nowMs, by: stranger || "processes that are not ours" } };
}

/** The agent was late by so much; `pausedMs` of it not because it was busy or waited for a core. */
export function lagged(before: Doubt, byMs: number, pausedMs: number, nowMs: number): Doubt {
  return {
    ...before,
    lags: counted(before.lags, byMs, lagsMs, nowMs),
    pauses: counted(before.pauses ?? [], pausedMs, lagsMs, nowMs),
  };
}

/** How late the agent was in the last `withinMs`: so much of an age may be its own. */
export function lagOf({ lags }: Doubt, withinMs: number, nowMs: number): number {
  return countOf(lags, Math.min(withinMs, lagsMs), nowMs);
}

/**
 * For how long everything may have stood still in the last `withinMs`: so much of a latency may be due to that. A workload measures
 * its requests itself, so an agent that was only busy, or waited for a core while a workload burnt them all, has slowed none.
 */
export function pauseOf({ pauses = [] }: Doubt, withinMs: number, nowMs: number): number {
  return countOf(pauses, Math.min(withinMs, lagsMs), nowMs);
}

/** By how much a threshold on time has to be widened now, and why. */
export function widening({ starved }: Doubt, nowMs: number): { readonly factor: number; readonly because: string } {
  if (starved === undefined || nowMs >= starved.atMs + starvedAfterMs) return { factor: 1, because: "" };
  return { factor: starvedFactor, because: `the machine is starved, not by us: ${starved.by}` };
}
