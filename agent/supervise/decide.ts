/** The ladder's turn: a workload is down and clean, the facts are known, and one strategy is chosen. Pure, a part of `machine.ts`. */
import type { Moment } from "@blueflame/shared/time/clock.ts";
import { diagnose } from "../diagnosis/diagnose.ts";
import type { Facts } from "../diagnosis/facts.ts";
import { type Choice, choose } from "../ladder/choose.ts";
import type { Rung } from "../ladder/rungs.ts";
import { audit, noted, spawnNow, stay, to } from "./moves.ts";
import { attemptBegun, attemptEnded, planRestart, quickLeft, revise } from "./recovery.ts";
import type { WorkloadSpec } from "./spec.ts";
import type { Ask, Effect, Event, IncidentFacts, Phase, Remedy, State, Step } from "./state.ts";

/** A playbook that prepares a start has this long. */
const playbookBudgetMs = 120_000;

/** What relapses again and again, each time after its start budget's window, is not healed by one more restart. */
const relapsesPerStart = 3;

/** The facts are there. */
export function examined(spec: WorkloadSpec, state: State, facts: Facts, now: Moment): Step {
  const { phase, incident } = state;
  if (phase.at !== "deciding") return stay(state);
  // A person closed it meanwhile, or it never was: nothing is being recovered.
  if (!incident) return spawnNow(state, [], now);
  const { ask } = phase;
  if (ask.prefer?.by === "playbook" && playLeft(spec, state, incident, ask.prefer.playbook, now))
    return mend(spec, state, incident, ask.prefer, "the trigger asks for it", now);
  const tried = incident.attempts.flatMap(({ rung, ok }) => (rung && ok === false ? [rung] : []));
  const diagnosis = diagnose(
    { symptom: incident.symptom, failures: incident.failures, wasReady: ask.wasReady, tried },
    facts,
    spec.ladder.recentConfigMs,
  );
  // The list of attempts is bounded; failures are counted on. After the bootstrap it is slow, and a person's (design.md, rule 11).
  const restarts = incident.failures - new Set(tried).size;
  const atEnd = tried.includes("full_bootstrap") || restarts > relapsesPerStart * spec.starts.max;
  const left = quickLeft(spec, state, now.ms) && !atEnd;
  const choice = choose({
    diagnosis,
    facts,
    tried,
    quickLeft: left,
    // Who has climbed beyond the first rung goes on from there, and does not begin anew after each rung that fails.
    relapse: ask.relapse || tried.some((rung) => rung !== "quick_restart"),
    hasSafeMode: spec.safeMode !== undefined,
    inSafeMode: state.mode === "safe",
    ...(ask.prefer?.by === "rung" && { prefer: ask.prefer.rung }),
  });
  const root = diagnosis.root ? `, it began in ${diagnosis.root}` : "";
  const because = `${diagnosis.cause} (${diagnosis.confidence.toFixed(2)})${root}: ${diagnosis.evidence.join("; ")}`;
  // Only the newest choice keeps what it passed over: the state is written at each step.
  const explained = { ...diagnosis, rejected: [...diagnosis.rejected, ...choice.rejected] };
  return take(spec, state, revise({ ...incident, diagnosis: explained }, now, "diagnosis", because), choice, ask, now);
}

/**
 * What ends at once with its playbook too is a case for the ladder: its starts are counted as those of any quick restart. At the end
 * of the ladder it is tried with each slow retry, for its cause may go.
 */
function playLeft(spec: WorkloadSpec, state: State, incident: IncidentFacts, playbook: string, now: Moment): boolean {
  const played = incident.attempts.filter((attempt) => attempt.playbook === playbook && !attempt.rung).length;
  return incident.needsPerson || (quickLeft(spec, state, now.ms) && played < relapsesPerStart * spec.starts.max);
}

function take(
  spec: WorkloadSpec,
  state: State,
  incident: IncidentFacts,
  { rung, because }: Choice,
  ask: Ask,
  now: Moment,
): Step {
  switch (rung) {
    case "quick_restart":
    case "slow_retry":
      return retry(spec, state, incident, rung, because, ask, now);
    case "safe_mode": {
      const begun = begin(incident, { rung, because }, now);
      return spawnNow({ ...state, mode: "safe", incident: begun, because: `safe mode: ${because}` }, noted(begun), now);
    }
    default:
      return mend(spec, state, incident, { by: "rung", rung }, because, now);
  }
}

/** Another quick restart after a wait, or the end of the ladder: a slow retry, and a person is told. */
function retry(
  spec: WorkloadSpec,
  state: State,
  incident: IncidentFacts,
  rung: "quick_restart" | "slow_retry",
  because: string,
  ask: Ask,
  now: Moment,
): Step {
  const plan = planRestart(spec, state, ask.stable, now);
  const { capMs } = spec.backoff;
  const slow = rung === "slow_retry";
  const waitMs = slow && !plan.exhausted ? Math.max(plan.waitMs, capMs / 2) : plan.waitMs;
  const words = slow
    ? `slow retry in ${Math.round(waitMs)} ms, a person is needed: ${because}`
    : `${plan.because}: ${because}`;
  const begun = begin(
    {
      ...incident,
      // Once a person is needed, a verification does not send them away: what flaps is verified again and again. Probation does.
      needsPerson: slow || incident.needsPerson,
      severity: slow ? "critical" : incident.severity,
    },
    { rung: "quick_restart", because: words },
    now,
  );
  const after: State = { ...plan.state, incident: begun, because: words };
  if (waitMs > 0) return to(after, { at: "backoff", untilMs: now.ms + waitMs }, words, noted(begun));
  return spawnNow(after, noted(begun), now);
}

/** Something has to be prepared before the next start. */
function mend(
  spec: WorkloadSpec,
  before: State,
  incident: IncidentFacts,
  remedy: Remedy,
  because: string,
  now: Moment,
): Step {
  const { mode: _full, ...state } = before;
  const begun = begin(
    incident,
    remedy.by === "rung" ? { rung: remedy.rung, because } : { playbook: remedy.playbook, because },
    now,
  );
  const name = nameOf(remedy);
  // By the revision: attempts are bounded, and what has the id of an earlier one would get its answer.
  const id = `${incident.id}/${name}/${begun.revision}`;
  const budgetMs = budgetOf(spec, remedy);
  return to(
    { ...state, incident: begun },
    { at: "mending", id, untilMs: now.ms + budgetMs, remedy },
    `${name}: ${because}`,
    [audit(`remedy.${name}`, "agent", because, "success"), ...noted(begun), { do: "remedy", id, remedy, budgetMs }],
  );
}

/** The remedy has ended: start, or go on with the next rung. */
export function remedied(
  spec: WorkloadSpec,
  state: State,
  event: Extract<Event, { is: "remedied" }>,
  now: Moment,
): Step {
  const { phase, incident } = state;
  if (phase.at !== "mending" || phase.id !== event.id) return stay(state);
  if (!event.ok) return mendFailed(state, phase, event.because, [], now);
  const noticed = incident && revise(incident, now, "remedy", `${nameOf(phase.remedy)}: ${event.because}`);
  const after: State = { ...state, ...(noticed && { incident: noticed }), because: event.because };
  const effects = [audit(`remedy.${nameOf(phase.remedy)}`, "agent", event.because, "success"), ...noted(noticed)];
  if (phase.remedy.by === "rung") return spawnNow(after, effects, now);
  // Other than a rung it is not tried once: its starts wait as those of any quick restart.
  const plan = planRestart(spec, after, false, now);
  if (plan.waitMs === 0) return spawnNow(plan.state, effects, now);
  return to(plan.state, { at: "backoff", untilMs: now.ms + plan.waitMs }, event.because, effects);
}

/** Its budget is over, or it could not be done. */
export function mendFailed(
  state: State,
  phase: Extract<Phase, { at: "mending" }>,
  because: string,
  effects: readonly Effect[],
  now: Moment,
): Step {
  const name = nameOf(phase.remedy);
  const words = `${name} failed: ${because}`;
  const incident = state.incident && revise(attemptEnded(state.incident, false, because, now), now, "remedy", words);
  const after: State = { ...state, ...(incident && { incident }) };
  return decideNow(after, { stable: false, relapse: false, wasReady: false }, words, [
    ...effects,
    audit(`remedy.${name}`, "agent", because, "failure"),
    ...noted(incident),
  ]);
}

/** Asks for the facts. */
export function decideNow(state: State, ask: Ask, because: string, effects: readonly Effect[]): Step {
  return to(state, { at: "deciding", ask }, because, [...effects, { do: "examine" }]);
}

function begin(
  incident: IncidentFacts,
  attempt: { readonly rung?: Rung; readonly playbook?: string; readonly because: string },
  now: Moment,
): IncidentFacts {
  const name = attempt.rung ?? attempt.playbook ?? "";
  return revise(
    { ...attemptBegun(incident, attempt, now), at: "recovering" },
    now,
    "decision",
    `${name}: ${attempt.because}`,
  );
}

/** What this remedy may take. */
export function budgetOf(spec: WorkloadSpec, remedy: Remedy): number {
  return remedy.by === "rung" ? spec.ladder.budgetMs[remedy.rung] : playbookBudgetMs;
}

function nameOf(remedy: Remedy): string {
  return remedy.by === "rung" ? remedy.rung : remedy.playbook;
}
