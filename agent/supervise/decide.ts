/** The ladder's turn: a workload is down and clean, the facts are known, and one strategy is chosen. Pure, a part of `machine.ts`. */
import type { Moment } from "@blueflame/shared/time/clock.ts";
import { type Diagnosis, diagnose } from "../diagnosis/diagnose.ts";
import type { Facts } from "../diagnosis/facts.ts";
import { type Choice, choose } from "../ladder/choose.ts";
import type { Rung } from "../ladder/rungs.ts";
import { audit, noted, spawnNow, stay, to } from "./moves.ts";
import { attemptBegun, attemptEnded, planRestart, quickLeft, revise, workedMs } from "./recovery.ts";
import type { WorkloadSpec } from "./spec.ts";
import type { Ask, AttemptFacts, Effect, Event, IncidentFacts, Phase, Remedy, State, Step } from "./state.ts";

/** A playbook that prepares a start has this long. */
const playbookBudgetMs = 120_000;

/** What relapses again and again, each time after its start budget's window, is not healed by one more restart. */
const relapsesPerStart = 3;
/** Each of its restarts has had a minute and a half to end its trigger (treatment.ts), and none has. */
const vainPerStart = 1;

/** The facts are there. */
export function examined(spec: WorkloadSpec, state: State, facts: Facts, now: Moment): Step {
  const { phase, incident } = state;
  if (phase.at !== "deciding") return stay(state);
  // A person closed it meanwhile, or it never was: nothing is being recovered.
  if (!incident) return spawnNow(state, [], now);
  const { ask } = phase;
  const prefer = ask.prefer?.by === "playbook" ? ask.prefer : undefined;
  const plays = prefer && playLeft(spec, state, incident, prefer.playbook, now);
  const low = facts.demoted?.find(({ playbook }) => playbook === prefer?.playbook)?.because ?? ask.demoted?.because;
  if (plays && low === undefined) return mend(spec, state, incident, prefer, "the trigger asks for it", now);
  const tried = incident.attempts.flatMap(({ rung, ok }) => (rung && ok === false ? [rung] : []));
  const relapsed = incident.attempts.flatMap(({ rung, relapsed }) => (rung && relapsed ? [rung] : []));
  const diagnosis = diagnose(
    { symptom: incident.symptom, failures: incident.failures, wasReady: ask.wasReady, tried },
    facts,
    spec.ladder.recentConfigMs,
  );
  // The list of attempts is bounded; failures are counted on. After the bootstrap it is slow, and a person's (design.md, rule 11).
  const restarts = incident.failures - new Set(tried).size;
  const atEnd =
    tried.includes("full_bootstrap") || restarts > (state.awaited ? vainPerStart : relapsesPerStart) * spec.starts.max;
  const left = quickLeft(spec, state, now.ms) && !atEnd && !incident.needsPerson;
  const prepared = diagnosis.playbook;
  if (prepared !== undefined && !incident.attempts.some(({ playbook }) => playbook === prepared)) {
    const told = revise({ ...incident, diagnosis }, now, "diagnosis", wordsOf(diagnosis));
    return mend(spec, state, told, { by: "playbook", playbook: prepared }, diagnosis.evidence.join("; "), now);
  }
  // Where a playbook is demoted every rung goes before it once, before any comes again; where that is the quick restart, before it too.
  const waits = low !== undefined || state.awaited?.turn === "last";
  const isRestart = ask.demoted?.restart !== undefined;
  const choice = choose({
    diagnosis,
    facts,
    tried,
    quickLeft: left,
    // Who has climbed beyond the first rung goes on from there, and does not begin anew after each rung that fails.
    relapse: ask.relapse || relapsed.length > 0 || tried.some((rung) => rung !== "quick_restart" || waits) || isRestart,
    relapsed,
    timeGiven: atEnd || timeLeftMs(spec, incident, ask, now) === 0,
    hasSafeMode: spec.safeMode !== undefined,
    inSafeMode: state.mode === "safe",
    ...(ask.prefer?.by === "rung" && { prefer: ask.prefer.rung }),
  });
  // Only the newest choice keeps what it passed over: the state is written at each step.
  const explained = { ...diagnosis, rejected: [...diagnosis.rejected, ...choice.rejected] };
  const told = revise({ ...incident, diagnosis: explained }, now, "diagnosis", wordsOf(diagnosis));
  if (isLeft(choice, tried)) {
    const begins = incident.attempts.length === 0 && low !== undefined;
    const explains = begins ? { ...choice, because: `${choice.because} (${low})` } : choice;
    return take(spec, state, told, explains, ask, facts.dependents ?? [], now);
  }
  if (plays) return mend(spec, state, told, prefer, `nothing else is left (${low})`, now);
  return (
    lastTurn(spec, state, told, choice, ask, now) ?? take(spec, state, told, choice, ask, facts.dependents ?? [], now)
  );
}

/** A rung that was not tried in this incident: it goes before a playbook that is demoted. Below is the end of the ladder. */
function isLeft({ rung }: Choice, tried: readonly Rung[]): boolean {
  return rung !== "slow_retry" && rung !== "full_bootstrap" && !tried.includes(rung);
}

/** It is played beside the workload, so that is started once more; if the trigger still holds then, the playbook has its turn. */
function lastTurn(
  spec: WorkloadSpec,
  state: State,
  incident: IncidentFacts,
  choice: Choice,
  ask: Ask,
  now: Moment,
): Step | undefined {
  const { awaited } = state;
  if (awaited?.turn !== "last" || incident.diagnosis?.root !== undefined) return undefined;
  const { playbook } = awaited;
  if (incident.attempts.some((attempt) => attempt.playbook === playbook && !attempt.rung)) return undefined;
  const because = `no other rung is left; if this does not help either, ${playbook} has its turn`;
  const next: State = { ...state, awaited: { ...awaited, turn: "next" } };
  return take(spec, next, incident, { ...choice, rung: "quick_restart", because }, ask, [], now);
}

/**
 * Three starts may be over in two seconds, and what fills a disk or restarts a network in thirty: before the end of the ladder its
 * quick restarts have the budget of their rung. A program that cannot be started at all is damage, which time does not mend; and
 * whoever was called is not sent away.
 */
function timeLeftMs(
  spec: WorkloadSpec,
  { attempts, detectedMs, symptom, needsPerson }: IncidentFacts,
  { relapse }: Ask,
  now: Moment,
): number {
  if (needsPerson || symptom === "spawn_failed") return 0;
  // The time in which it was well until it relapsed was time, too; what ends at once has none but that since its newest failure.
  const sinceMs = relapse ? Math.min(detectedMs, attempts[0]?.ms ?? detectedMs) : detectedMs;
  return Math.max(0, sinceMs + spec.ladder.budgetMs.quick_restart - now.ms);
}

function wordsOf({ cause, confidence, evidence, root }: Diagnosis): string {
  return `${cause} (${confidence.toFixed(2)})${root ? `, it began in ${root}` : ""}: ${evidence.join("; ")}`;
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
  choice: Choice,
  ask: Ask,
  dependents: readonly string[],
  now: Moment,
): Step {
  const { rung, because } = choice;
  switch (rung) {
    case "quick_restart":
      return retry(spec, state, incident, choice, ask, now);
    case "slow_retry": {
      const wait = dependents.length > 0 ? `; ${named(dependents)} for it` : "";
      return retry(spec, state, incident, { ...choice, because: `${because}${wait}` }, ask, now);
    }
    case "safe_mode": {
      const begun = begin(incident, { rung, because }, now);
      return spawnNow({ ...state, mode: "safe", incident: begun, because: `safe mode: ${because}` }, noted(begun), now);
    }
    default:
      return mend(spec, state, incident, { by: "rung", rung }, because, now);
  }
}

function named(names: readonly string[]): string {
  const [first = "", ...others] = names;
  return others.length === 0
    ? `${first} waits`
    : `${[first, ...others.slice(0, -1)].join(", ")} and ${others.at(-1)} wait`;
}

/** Another quick restart after a wait, or the end of the ladder: a slow retry, and a person is told, once for each root. */
function retry(
  spec: WorkloadSpec,
  state: State,
  incident: IncidentFacts,
  { rung, because, root }: Choice,
  ask: Ask,
  now: Moment,
): Step {
  const slow = rung === "slow_retry";
  const atMostMs = slow ? undefined : Math.max(spec.backoff.baseMs, timeLeftMs(spec, incident, ask, now));
  const plan = planRestart(spec, state, ask.stable, now, atMostMs);
  const { capMs } = spec.backoff;
  const calls = slow && root === undefined;
  const waitMs = slow && !plan.exhausted ? Math.max(plan.waitMs, capMs / 2) : plan.waitMs;
  const retried = `slow retry in ${Math.round(waitMs)} ms`;
  const words = `${slow ? (calls ? `${retried}, a person is needed` : retried) : plan.because}: ${because}`;
  const begun = begin(
    {
      ...incident,
      // Once a person is needed, a verification does not send them away: what flaps is verified again and again. Probation does.
      needsPerson: calls || incident.needsPerson,
      severity: calls ? "critical" : incident.severity,
    },
    { rung: "quick_restart", because: words, ...(ask.demoted?.restart && { playbook: ask.demoted.restart }) },
    now,
  );
  const after: State = { ...plan.state, incident: begun, because: words };
  const waitsFor =
    root === undefined ? {} : { waitsFor: root, ...(ask.triedMs !== undefined && { triedMs: ask.triedMs }) };
  if (waitMs > 0) return to(after, waiting(waitMs, slow || plan.exhausted, now, waitsFor), words, noted(begun));
  return spawnNow(after, noted(begun), now);
}

function waiting(
  waitMs: number,
  slow: boolean,
  now: Moment,
  waitsFor: { readonly waitsFor?: string; readonly triedMs?: number } = {},
): Phase {
  return { at: "backoff", untilMs: now.ms + waitMs, ...(slow && { slow }), ...waitsFor };
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
  // A rung begins with the full config again; what a playbook does beside it changes nothing about its mode.
  const { mode: _full, ...full } = before;
  const state = remedy.by === "playbook" ? before : full;
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
  if (!event.ok && !event.through) return mendFailed(state, phase, event.because, [], now);
  const words = event.ok ? event.because : `a step was passed over: ${event.because}`;
  const noticed = incident && revise(incident, now, "remedy", `${nameOf(phase.remedy)}: ${words}`);
  const after: State = { ...state, ...(noticed && { incident: noticed }), because: event.because };
  const outcome = event.ok ? "success" : "failure";
  const done = audit(`remedy.${nameOf(phase.remedy)}`, "agent", words, outcome, workedMs(incident, now));
  const effects = [done, ...noted(noticed)];
  if (phase.remedy.by === "rung") return spawnNow(after, effects, now);
  // Other than a rung it is not tried once: its starts wait as those of any quick restart.
  const plan = planRestart(spec, after, false, now);
  if (plan.waitMs === 0) return spawnNow(plan.state, effects, now);
  return to(plan.state, waiting(plan.waitMs, plan.exhausted, now), event.because, effects);
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
  return decideNow(after, { stable: false, relapse: false, wasReady: false, triedMs: now.ms }, words, [
    ...effects,
    audit(`remedy.${name}`, "agent", because, "failure", workedMs(state.incident, now)),
    ...noted(incident),
  ]);
}

/** Asks for the facts. */
export function decideNow(state: State, ask: Ask, because: string, effects: readonly Effect[]): Step {
  return to(state, { at: "deciding", ask }, because, [...effects, { do: "examine" }]);
}

function begin(
  incident: IncidentFacts,
  attempt: Pick<AttemptFacts, "rung" | "playbook" | "because">,
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
