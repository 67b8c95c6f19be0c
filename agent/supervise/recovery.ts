import { draw, fullJitterMs } from "@blueflame/shared/random/random.ts";
import type { Moment } from "@blueflame/shared/time/clock.ts";
import type { Severity } from "./severity.ts";
import type { WorkloadSpec } from "./spec.ts";
import type { IncidentFacts, State, Symptom } from "./state.ts";

/** An incident keeps at most this many timeline entries; the middle ones go first. */
const timelineMax = 40;

/** The state after one more start by the healer was planned, and how long that start has to wait. */
export interface Plan {
  readonly state: State;
  readonly waitMs: number;
  /** The quick restart is used up: slow retry, and a person is told. */
  readonly exhausted: boolean;
  readonly because: string;
}

/**
 * Plans the next quick restart. What was stable starts at once; each further start waits a random time up to
 * min(cap, base·2^n). More starts than the budget within its window: the wait is drawn from the upper half of the cap. It
 * never ends for good: a last try is always followed by another.
 */
export function planRestart(spec: WorkloadSpec, state: State, stable: boolean, now: Moment): Plan {
  const attempt = stable ? 0 : state.attempt;
  const kept = state.recentMs.filter((at) => at > now.ms - spec.starts.withinMs);
  const exhausted = kept.length >= spec.starts.max;
  const drawn = draw(state.seed);
  const { baseMs, capMs } = spec.backoff;
  let waitMs = attempt === 0 ? 0 : fullJitterMs(drawn.value, attempt - 1, baseMs, capMs);
  if (exhausted) waitMs = capMs / 2 + drawn.value * (capMs / 2);
  const recentMs = [...kept, now.ms].slice(-spec.starts.max);
  const because = exhausted
    ? `${kept.length + 1} starts within ${spec.starts.withinMs} ms, allowed are ${spec.starts.max}: slow retry in ${Math.round(waitMs)} ms, a person is needed`
    : waitMs === 0
      ? `quick restart at once: ${stable ? "it was stable" : "it is the first"}`
      : `quick restart number ${attempt + 1} since it was stable, in ${Math.round(waitMs)} ms`;
  return { state: { ...state, seed: drawn.seed, attempt: attempt + 1, recentMs }, waitMs, exhausted, because };
}

/** Opens an incident, or goes on with the open one: a failure on probation or while verifying is a relapse of the same. */
export function struck(
  state: State,
  symptom: Symptom,
  because: string,
  faultWallMs: number,
  now: Moment,
): IncidentFacts {
  const open = state.incident;
  if (!open || open.at === "closed") {
    return {
      id: now.id,
      revision: 1,
      at: "open",
      symptom,
      severity: "medium",
      summary: because,
      detectedMs: now.ms,
      faultWallMs,
      detectedWallMs: now.wallMs,
      needsPerson: false,
      timeline: [entry(now, "symptom", `${symptom}: ${because}`)],
    };
  }
  const { recoveredWallMs: _recovered, recoverTookMs: _took, probationUntilMs: _until, ...rest } = open;
  return revise(
    { ...rest, at: "open", symptom, summary: because, severity: worse(open.severity) },
    now,
    "relapse",
    `${symptom}: ${because}`,
  );
}

/** One more revision of an incident, with what happened. */
export function revise(facts: IncidentFacts, now: Moment, what: string, because: string): IncidentFacts {
  const timeline = [...facts.timeline, entry(now, what, because)];
  if (timeline.length > timelineMax) timeline.splice(timelineMax / 2, timeline.length - timelineMax);
  return { ...facts, revision: facts.revision + 1, timeline };
}

function entry(now: Moment, what: string, because: string): IncidentFacts["timeline"][number] {
  return { wallMs: now.wallMs, what, because, decisionId: now.id };
}

function worse(severity: Severity): Severity {
  return severity === "critical" ? "critical" : "high";
}
