import { draw, fullJitterMs } from "@blueflame/shared/random/random.ts";
import type { Moment } from "@blueflame/shared/time/clock.ts";
import type { Severity } from "./severity.ts";
import type { WorkloadSpec } from "./spec.ts";
import type { AttemptFacts, IncidentFacts, State } from "./state.ts";

/** An incident keeps at most this many timeline entries, and attempts; the middle ones go first, of attempts those that have their like. */
const timelineMax = 40;
const attemptsMax = 16;

/** The state after one more start by the healer was planned, and how long that start has to wait. */
export interface Plan {
  readonly state: State;
  readonly waitMs: number;
  /** The quick restart is used up: the wait is one of a slow retry. */
  readonly exhausted: boolean;
  readonly because: string;
}

/**
 * Plans the next quick restart. What was stable starts at once; each further start waits a random time up to
 * min(cap, base·2^n). More starts than the budget within its window: the wait is drawn from the upper half of the cap, but at most
 * `atMostMs`. It never ends for good: a last try is always followed by another.
 */
export function planRestart(
  spec: WorkloadSpec,
  state: State,
  stable: boolean,
  now: Moment,
  atMostMs = Number.POSITIVE_INFINITY,
): Plan {
  const attempt = stable ? 0 : state.attempt;
  const kept = state.recentMs.filter((at) => at > now.ms - spec.starts.withinMs);
  const exhausted = kept.length >= spec.starts.max;
  const drawn = draw(state.seed);
  const { baseMs, capMs, delayMs = 0 } = spec.backoff;
  let waitMs = attempt === 0 ? 0 : fullJitterMs(drawn.value, attempt - 1, baseMs, capMs);
  if (exhausted) waitMs = Math.min(atMostMs, capMs / 2 + drawn.value * (capMs / 2));
  waitMs = Math.max(waitMs, delayMs);
  const recentMs = [...kept, now.ms].slice(-spec.starts.max);
  const because = exhausted
    ? `${kept.length + 1} starts within ${spec.starts.withinMs} ms, allowed are ${spec.starts.max}: slower, in ${Math.round(waitMs)} ms`
    : waitMs === 0
      ? `quick restart at once: ${stable ? "it was stable" : "it is the first"}`
      : `quick restart number ${attempt + 1} since it was stable, in ${Math.round(waitMs)} ms`;
  return { state: { ...state, seed: drawn.seed, attempt: attempt + 1, recentMs }, waitMs, exhausted, because };
}

/** Does the budget hold for one more quick restart? */
export function quickLeft(spec: WorkloadSpec, state: Pick<State, "recentMs">, nowMs: number): boolean {
  return state.recentMs.filter((at) => at > nowMs - spec.starts.withinMs).length < spec.starts.max;
}

/** One more start by the healer that is not its own next one: a playbook or a dependent has asked for it. */
export function countedStart(spec: WorkloadSpec, state: State, nowMs: number): State {
  const kept = state.recentMs.filter((at) => at > nowMs - spec.starts.withinMs);
  return { ...state, recentMs: [...kept, nowMs].slice(-spec.starts.max) };
}

/** Opens an incident, or goes on with the open one: a failure on probation or while verifying is a relapse of the same. */
export function struck(
  state: Pick<State, "incident" | "treatment">,
  symptom: string,
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
      attempts: [],
      failures: 1,
      timeline: [entry(now, "symptom", `${symptom}: ${because}`)],
    };
  }
  const { recoveredWallMs: _recovered, recoverTookMs: _took, probationUntilMs: _until, ...rest } = open;
  return revise(
    {
      ...(wasWell(open, faultWallMs) || restsLow(state) ? fromItsFault(rest, open, faultWallMs, now) : rest),
      attempts: attemptEnded(relapsedFrom(open, symptom), false, because, now).attempts,
      at: "open",
      symptom,
      summary: because,
      severity: worse(open.severity),
      failures: (open.failures ?? 1) + 1,
    },
    now,
    "relapse",
    `${symptom}: ${because}`,
  );
}

/** It was verified, and this fault began after that. What holds since before its verification was never away. */
function wasWell({ at, recoveredWallMs }: IncidentFacts, faultWallMs: number): boolean {
  return at === "probation" && recoveredWallMs !== undefined && faultWallMs >= recoveredWallMs;
}

/** Nothing has helped against what is only of low severity, and it was left as it is: it may hold for days, and nothing waits for its end. */
export function restsLow({ treatment }: Pick<State, "treatment">): boolean {
  return treatment?.at === "resting" && treatment.severity === "low";
}

/** The remedy that had been verified against the very same is known by it from now on. */
function relapsedFrom(open: IncidentFacts, symptom: string): Pick<IncidentFacts, "attempts"> {
  const { attempts = [], at, symptom: healed } = open;
  const last = attempts.at(-1);
  if (last?.ok !== true || at !== "probation" || healed !== symptom) return { attempts };
  return { attempts: [...attempts.slice(0, -1), { ...last, relapsed: true }] };
}

/** The phases of a relapse begin anew with its own fault. */
function fromItsFault<F extends Partial<IncidentFacts>>(
  facts: F,
  { recoverTookMs = 0 }: IncidentFacts,
  faultWallMs: number,
  now: Moment,
): F {
  const { decidedWallMs: _decided, actedWallMs: _acted, ...rest } = facts;
  const phases = { faultWallMs, detectedMs: now.ms, detectedWallMs: now.wallMs, downBeforeMs: recoverTookMs };
  return { ...rest, ...phases } as F;
}

/** What it was struck by is over: it is verified, and on probation from now on. `because` says what was seen. */
export function recovered(facts: IncidentFacts, probationMs: number, because: string, now: Moment): IncidentFacts {
  const tookMs = Math.max(0, now.ms - facts.detectedMs);
  const recoverTookMs = (facts.downBeforeMs ?? 0) + tookMs;
  const inAll = facts.downBeforeMs ? `, down for ${Math.round(recoverTookMs)} ms in all` : "";
  return revise(
    {
      ...facts,
      at: "probation",
      recoveredWallMs: now.wallMs,
      recoverTookMs,
      probationUntilMs: now.ms + probationMs,
    },
    now,
    "verification",
    `${because}; recovered in ${Math.round(tookMs)} ms${inAll}`,
  );
}

/** A remedy begins. */
export function attemptBegun(
  facts: IncidentFacts,
  attempt: Pick<AttemptFacts, "rung" | "playbook" | "because">,
  now: Moment,
): IncidentFacts {
  const attempts = [...(facts.attempts ?? []), { ...attempt, wallMs: now.wallMs, ms: now.ms }];
  if (attempts.length > attemptsMax) attempts.splice(leastMissed(attempts), 1);
  return {
    ...facts,
    attempts,
    decidedWallMs: facts.decidedWallMs ?? now.wallMs,
    ...(attempt.playbook !== undefined && { playbook: attempt.playbook }),
  };
}

/** What was decided is being done from now on; only the first deed since the fault counts. */
export function actedOn<F extends Partial<IncidentFacts>>(facts: F, now: Moment): F {
  const { decidedWallMs, actedWallMs } = facts;
  return decidedWallMs === undefined || actedWallMs !== undefined ? facts : { ...facts, actedWallMs: now.wallMs };
}

/** For how long the last remedy has been at work; undefined when none is. */
export function workedMs(facts: Pick<IncidentFacts, "attempts"> | undefined, now: Moment): number | undefined {
  const last = facts?.attempts.at(-1);
  return last && last.ok === undefined ? Math.max(0, now.ms - last.ms) : undefined;
}

/** The first from the middle on that another one like it stands for: what was tried once is not forgotten, and so not tried again. */
function leastMissed(attempts: readonly AttemptFacts[]): number {
  const alike = (a: AttemptFacts, b: AttemptFacts) =>
    a.rung === b.rung && a.playbook === b.playbook && a.relapsed === b.relapsed;
  const found = attempts.findIndex(
    (one, at) => at >= attemptsMax / 2 && attempts.some((other, after) => after > at && alike(one, other)),
  );
  return found < 0 ? attemptsMax / 2 : found;
}

/** The last remedy is over: verified, failed, or relapsed from after its verification. */
export function attemptEnded<F extends Pick<IncidentFacts, "attempts">>(
  facts: F,
  ok: boolean,
  because: string,
  now: Moment,
): F {
  const last = facts.attempts?.at(-1);
  if (!last || last.ok === ok) return facts;
  const ended: AttemptFacts = { ...last, ok, tookMs: last.tookMs ?? Math.max(0, now.ms - last.ms) };
  return { ...facts, attempts: [...facts.attempts.slice(0, -1), ok ? ended : { ...ended, because }] };
}

/** An incident of an earlier boot in the monotonic time of this one: only the wall clock knows how long ago something was. */
export function inThisBoot(facts: IncidentFacts, now: Moment): IncidentFacts {
  const monotonic = (wallMs: number) => now.ms - Math.max(0, now.wallMs - wallMs);
  const attempts = facts.attempts.map((attempt) => ({ ...attempt, ms: monotonic(attempt.wallMs) }));
  return { ...facts, detectedMs: monotonic(facts.detectedWallMs), attempts };
}

/** Its clean-up has worked: whoever was needed for nothing else is not needed any more. Undefined when nobody was. */
export function cleanedUp(facts: IncidentFacts | undefined, now: Moment): IncidentFacts | undefined {
  if (!facts?.neededToClean) return undefined;
  const { neededToClean: _over, ...rest } = facts;
  return revise({ ...rest, needsPerson: false }, now, "remedy", "what it had left behind is gone");
}

/** One more revision of an incident, with what happened. */
export function revise(facts: IncidentFacts, now: Moment, what: string, because: string): IncidentFacts {
  const timeline = [...facts.timeline, entry(now, what, because)];
  if (timeline.length > timelineMax) timeline.splice(timelineMax / 2, timeline.length - timelineMax);
  const called = facts.needsPerson && { personCalled: true };
  return { ...facts, revision: facts.revision + 1, timeline, ...called };
}

function entry(now: Moment, what: string, because: string): IncidentFacts["timeline"][number] {
  return { wallMs: now.wallMs, what, because, decisionId: now.id };
}

function worse(severity: Severity): Severity {
  return severity === "critical" ? "critical" : "high";
}
