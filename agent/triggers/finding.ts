/** What a figure means for a trigger. Pure, a part of `machine.ts`. */
import { unreachable } from "@blueflame/shared/errors/fault.ts";
import { printDuration } from "@blueflame/shared/units/units.ts";
import { type BurstPolicy, burst, type Errors } from "../anomaly/burst.ts";
import { type Doubt, lagOf, pauseOf, widening } from "./doubt.ts";
import { figureWords, metricOf } from "./metrics.ts";
import type { Figures } from "./observation.ts";
import type { Finding } from "./stand.ts";
import type { CountTrigger, LevelTrigger, Trigger } from "./trigger.ts";
import { countOf, type Window } from "./window.ts";

/** Whether a count is over is judged by the last quarter of its window. */
const quarters = 4;
/** A trend is believed from here on, and given up below. */
const trendBelieved = 0.8;
const trendGivenUp = 0.5;
/** Ages and latencies look back at least this long. */
const lookBackMs = 60_000;

/** What an excuse of the caller's own says; it is asked only when the condition holds. */
type Excuse = () => string | undefined;

/** All is well where nothing stands: nobody asks for words. */
const nothing: Finding = { is: "over", because: "" };

/**
 * A figure against a threshold. What only the agent's own lag, or a pause of the machine, explains is nothing; what a starved machine
 * explains is excused.
 * `stands`: something does already, so also what is no reason for anything is put into words.
 */
export function levelFinding(
  { metric, side, threshold, clear }: Pick<LevelTrigger, "metric" | "side" | "threshold" | "clear">,
  value: number | undefined,
  doubt: Doubt,
  nowMs: number,
  stands: boolean,
  excuse: Excuse = () => undefined,
): Finding {
  if (value === undefined || !Number.isFinite(value)) return { is: "unknown" };
  const { slowedByLoad, isAge } = metricOf(metric) ?? {};
  const slows = side === "above" && slowedByLoad === true;
  const ownOf = isAge ? lagOf : pauseOf;
  const judged = slows ? value - ownOf(doubt, Math.max(value, lookBackMs), nowMs) : value;
  const bad = side === "above" ? judged > threshold : judged < threshold;
  if (!bad && !stands) return nothing;
  const because = `${metric} is ${figureWords(metric, value)}`;
  if (!bad) return { is: (side === "above" ? judged <= clear : judged >= clear) ? "over" : "between", because };
  const widened = widening(doubt, nowMs);
  const reason = slows && judged <= threshold * widened.factor ? widened.because : excuse();
  const words = `${because}, ${side} ${figureWords(metric, threshold)}`;
  return { is: "holds", because: words, ...(reason && { excuse: reason }) };
}

/** Trust that was lost comes back within days, by time alone: how low it is tells whether it has fallen again. */
export function trustFinding(
  trigger: LevelTrigger,
  value: number | undefined,
  doubt: Doubt,
  nowMs: number,
  stands: boolean,
): Finding {
  const finding = levelFinding(trigger, value, doubt, nowMs, stands);
  if (finding.is !== "holds" || value === undefined) return finding;
  return { ...finding, beyond: Math.abs(trigger.threshold - value) };
}

/** The age of a beat. Whoever may be silent for longer by its own spec is measured by that, as M2 does it. */
export function silenceFinding(
  withinMs: number,
  { beat_age_ms: ageMs, beat_timeout_ms: ownMs = 0 }: Figures,
  doubt: Doubt,
  nowMs: number,
  stands: boolean,
): Finding {
  const limitMs = Math.max(withinMs, ownMs);
  const level = { metric: "beat_age_ms", side: "above", threshold: limitMs, clear: limitMs } as const;
  const finding = levelFinding(level, ageMs, doubt, nowMs, stands);
  if (finding === nothing || finding.is === "unknown" || ageMs === undefined) return finding;
  return {
    ...finding,
    because: `no beat for ${figureWords("beat_age_ms", ageMs)}, allowed is ${printDuration(limitMs)}`,
  };
}

/**
 * How many were counted. It is over when in the last quarter of the window they came at less than half of the rate that fires.
 * Counts that came in while the agent was away lay in a longer window than it seems, so more of them are needed; and three times
 * as many on a starved machine. Errors must also be a burst: far more than usual ({@link burst}).
 */
export function countFinding(
  trigger: CountTrigger,
  window: Window,
  errors: Errors | undefined,
  doubt: Doubt,
  nowMs: number,
): Finding {
  const { kind, count, withinMs } = trigger;
  const seen = countOf(window, withinMs, nowMs);
  const because = `${seen} ${countWord(kind, seen)} within ${printDuration(withinMs)}`;
  const lately = countOf(window, latelyMs(trigger), nowMs) * quarters;
  if (lately < count / 2) return { is: "over", because };
  const lagMs = lagOf(doubt, withinMs, nowMs);
  if (seen < Math.floor((count * (withinMs + lagMs)) / withinMs)) return { is: "between", because };
  if (kind === "error_burst") {
    const verdict = errors && burst(errors, burstPolicy(trigger), seen, nowMs);
    if (!verdict?.burst) return { is: "between", because };
    return { is: "holds", because: `${because}, usual are ${Math.round(verdict.usual * 10) / 10}` };
  }
  const { factor, because: excuse } = widening(doubt, nowMs);
  return { is: "holds", because, ...(seen < count * factor && excuse !== "" && { excuse }) };
}

/** For so long one has to have counted to know that it is over. */
export function latelyMs({ withinMs }: CountTrigger): number {
  return withinMs / quarters;
}

/** When errors are a burst for this trigger. */
export function burstPolicy({ count, withinMs }: CountTrigger): BurstPolicy {
  return { windowMs: withinMs, least: count };
}

/** `etaMs` absent: no limit is in sight. */
export function trendFinding(
  withinMs: number,
  { etaMs, confidence, because }: { readonly etaMs?: number; readonly confidence: number; readonly because: string },
): Finding {
  if (etaMs !== undefined && etaMs <= withinMs && confidence >= trendBelieved) return { is: "holds", because };
  const isOver = etaMs === undefined || etaMs > 2 * withinMs || confidence < trendGivenUp;
  return { is: isOver ? "over" : "between", because };
}

function countWord(kind: CountTrigger["kind"], seen: number): string {
  const word = kind === "api_timeouts" ? "request timed out" : "error";
  if (seen === 1) return word;
  return kind === "api_timeouts" ? "requests timed out" : "errors";
}

/** Does the trigger look at this workload? */
export function covers({ workloads }: Trigger, workload: string): boolean {
  return workloads.length === 0 || workloads.includes(workload);
}

/** May it stand for this subject? By another config it may have stood for others. */
export function standsFor(trigger: Trigger, { workload, job }: { workload: string; job?: string }): boolean {
  if (trigger.kind === "job_late" || job !== undefined) return trigger.kind === "job_late" && job !== undefined;
  const isOfNode = "metric" in trigger && metricOf(trigger.metric)?.of === "node";
  return isOfNode ? workload === "" : workload !== "" && covers(trigger, workload);
}

/** Is its condition about the process that runs, so that nothing is known of it once that is another one? */
export function endsWithProcess(trigger: Trigger): boolean {
  switch (trigger.kind) {
    case "threshold":
    case "trust":
    case "trend": {
      const metric = metricOf(trigger.metric);
      return metric?.of === "workload" && metric.outlives !== true;
    }
    case "beat_silence":
    case "api_timeouts":
    case "error_burst":
    case "anomaly":
      return true;
    case "crash":
    case "frozen":
    case "sandbox":
    case "schedule":
    case "job_late":
      return false;
    default:
      return unreachable(trigger);
  }
}

/** May a recovery that it has asked for wait for its end? A beat is a part of being ready anyway. */
export function endsWithRecovery(trigger: Trigger): boolean {
  if (trigger.kind === "threshold") return metricOf(trigger.metric)?.of === "node" || endsWithProcess(trigger);
  return endsWithProcess(trigger) && trigger.kind !== "beat_silence";
}

/** The resource of the node whose load it looks at, where that is shared with others. */
export function sharedOf(trigger: Trigger): "cpu" | "memory" | undefined {
  return trigger.kind === "threshold" && trigger.side === "above" ? metricOf(trigger.metric)?.shared : undefined;
}
