/**
 * What the agent does about one workload. Pure: the driver stores the state, then runs the effects. The drawing and one
 * sentence per phase stand in `state.ts`; what counts as alive and ready in `evidence.ts`; waits and budgets in
 * `recovery.ts`. Deadlines are state, a wake is a hint: an early, late or doubled `look` changes nothing.
 */
import { unreachable } from "@blueflame/shared/errors/fault.ts";
import type { Moment } from "@blueflame/shared/time/clock.ts";
import { booted, graceEnd } from "./boot.ts";
import { decideNow, examined, mendFailed, remedied } from "./decide.ts";
import {
  alive,
  aliveDeadlineMs,
  countedAnew,
  firstReady,
  selfEvident,
  settleMs,
  startedAtAll,
  stoppedDeadlineMs,
  stoppedTooLong,
} from "./evidence.ts";
import { failed, gone } from "./failure.ts";
import { held, released, restarted, started, stopped } from "./intent.ts";
import { audit, cleanThen, closing, noted, spawnNow, stay, to, withoutIncident } from "./moves.ts";
import { actedOn, attemptEnded, cleanedUp, recovered, revise, struck } from "./recovery.ts";
import { faultWall, late, probed, seen } from "./signs.ts";
import type { WorkloadSpec } from "./spec.ts";
import {
  type Effect,
  type Event,
  type IncidentFacts,
  type Instance,
  mayRun,
  type Phase,
  type State,
  type Step,
} from "./state.ts";
import { cleared, holding, lapsed, overdue, played, symptom, watched } from "./treatment.ts";

/** A clean-up that failed is tried again after this long: what cannot be killed (state D) does not get better by hurry. */
const cleanRetryMs = 2000;
/** Who was called for a clean-up is called for a later one in the same incident only when that fails so often. */
const cleanFailuresMax = 8;
/** What is asked when nobody remembers the moment of the failure. */
const unknownAsk = { stable: false, relapse: false, wasReady: false } as const;

/** What happens to the workload now. Throws only on broken invariants. */
export function step(spec: WorkloadSpec, state: State, event: Event, now: Moment): Step {
  switch (event.is) {
    case "boot":
      return booted(spec, state, event, now);
    case "needsMet":
      // A person or a crash may have moved it on meanwhile: then there is nothing to wait for.
      return state.phase.at === "waiting"
        ? cleanThen(state, "start", undefined, "what it depends on has started", [])
        : stay(state);
    case "rootWell":
      return rootWell(state, now);
    case "spawned":
      return spawned(spec, state, event.instance, now);
    case "spawnFailed":
      return state.phase.at === "spawning"
        ? fail(spec, state, undefined, "spawn_failed", event.because, now)
        : stay(state);
    case "exited":
      return gone(spec, state, event, exitWords(event.code, event.signal), now);
    case "vanished":
      return gone(spec, state, event, "it is gone; it was adopted, so its exit status is unknown", now);
    case "unwell":
      return state.phase.at === "running" || state.phase.at === "starting"
        ? fail(spec, state, state.phase.instance, event.symptom, event.because, now)
        : stay(state);
    case "symptom":
      return symptom(spec, state, event.symptom, now);
    case "cleared":
      return cleared(spec, state, event.trigger, now);
    case "lapsed":
      return lapsed(spec, state, event.trigger, now);
    case "holding":
      return holding(state, event.trigger);
    case "examined":
      return examined(spec, state, event.facts, now);
    case "remedied":
      return state.phase.at === "mending" ? remedied(spec, state, event, now) : played(spec, state, event, now);
    case "cleaned":
      return cleaned(state, event, now);
    case "cleanFailed":
      return cleanFailed(state, event.because, now);
    case "beat":
      return judge(
        spec,
        {
          ...state,
          evidence: { ...state.evidence, lastBeatMs: now.ms, beatReady: event.ready, beatStatus: event.status },
        },
        now,
      );
    case "probed":
      return judge(spec, probed(state, event), now);
    case "seen":
      return judge(spec, seen(state, event.stopped, now), now);
    case "acted":
      return acted(state, now);
    case "late":
      return stay(late(state, event.byMs));
    case "look":
      return look(spec, state, now);
    case "start":
      return started(state, event.who);
    case "stop":
      return stopped(spec, { ...state, intent: "stopped" }, event.who, "intent.stop", now);
    case "down":
      return stopped(spec, state, event.who, "workload.down", now);
    case "hold":
      return held(spec, state, event.who, now);
    case "release":
      return released(state, event);
    case "restart":
      return restarted(spec, state, event, now);
    default:
      return unreachable(event);
  }
}

// ── a life begins ────────────────────────────────────────────────────────────────────────────────────────────────────

function spawned(spec: WorkloadSpec, state: State, instance: Instance, now: Moment): Step {
  if (state.phase.at !== "spawning" || state.phase.id !== instance.id) return stay(state);
  const graceUntilMs = graceEnd(spec, instance, now);
  const begun: State = { ...state, starts: state.starts + 1, evidence: { probes: {} } };
  const incident =
    state.incident && state.incident.at === "recovering"
      ? revise({ ...state.incident, at: "verifying" }, now, "remedy", `started pid ${instance.pid}`)
      : undefined;
  return to(
    incident ? { ...begun, incident } : begun,
    { at: "starting", instance, graceUntilMs },
    `started pid ${instance.pid}`,
    [audit("workload.spawn", "agent", `${state.because}; pid ${instance.pid}`, "success"), ...noted(incident)],
  );
}

/** Judges what starts and what runs by its evidence. */
function judge(spec: WorkloadSpec, state: State, now: Moment): Step {
  if (state.phase.at === "starting") return judgeStart(spec, state, state.phase, now);
  if (state.phase.at === "running") return judgeRun(spec, state, state.phase, now);
  return stay(state);
}

function judgeStart(spec: WorkloadSpec, state: State, phase: Extract<Phase, { at: "starting" }>, now: Moment): Step {
  const stopped = stoppedTooLong(state.evidence, now.ms);
  if (stopped.is === "unwell") return fail(spec, state, phase.instance, stopped.symptom, stopped.because, now);
  const ready = firstReady(spec, state.evidence, phase.instance, now.ms);
  if (!ready.ready) {
    if (now.ms < phase.graceUntilMs) return stay(state);
    const atAll = startedAtAll(spec, state.evidence, phase.instance);
    if (atAll.is === "unwell") return fail(spec, state, phase.instance, atAll.symptom, atAll.because, now);
    // Asked each second while it started, a probe that means minutes would have failed often enough by now.
    return nowRuns(spec, { ...state, evidence: countedAnew(spec, state.evidence) }, phase.instance, ready.because, now);
  }
  return nowRuns(spec, state, phase.instance, ready.because, now);
}

function nowRuns(spec: WorkloadSpec, before: State, instance: Instance, because: string, now: Moment): Step {
  const phase: Phase = { at: "running", instance, readySinceMs: now.ms };
  // What a trigger has asked for has helped when that is over, not when the process is up.
  const waits = watched(spec, before, because, now);
  if (waits) return to(waits.state, phase, because, waits.effects);
  const { awaited: _known, ...state } = before;
  const incident =
    state.incident && state.incident.at !== "closed" ? verified(spec, state.incident, because, now) : undefined;
  const running: State = { ...state, ...(incident && { incident }) };
  return to(running, phase, because, [...noted(incident)]);
}

function verified(spec: WorkloadSpec, facts: IncidentFacts, because: string, now: Moment): IncidentFacts {
  const ended = attemptEnded(facts, true, because, now);
  if (facts.at !== "probation") return recovered(ended, spec.probationMs, because, now);
  // A person or a reboot restarted it on probation: it had recovered before, and how long that took stays what it was.
  const anew = { ...ended, probationUntilMs: now.ms + spec.probationMs };
  return revise(anew, now, "verification", `${because}; probation begins anew`);
}

function judgeRun(spec: WorkloadSpec, state: State, phase: Extract<Phase, { at: "running" }>, now: Moment): Step {
  const verdict = alive(spec, state.evidence, now.ms);
  if (verdict.is === "unwell") {
    const { instance } = phase;
    return failed(spec, state, { instance, ...verdict, faultWallMs: faultWall(state, now) }, now);
  }
  const open = state.incident;
  if (open?.at === "probation" && now.ms >= (open.probationUntilMs ?? 0)) {
    const incident = revise(
      { ...open, at: "closed", closedWallMs: now.wallMs, needsPerson: false },
      now,
      "closed",
      `well through a probation of ${spec.probationMs} ms`,
    );
    // Success on probation resets the backoff, and what is closed needs no place in the state.
    const { incident: _closed, ...rest } = state;
    return { state: { ...rest, attempt: 0 }, effects: [...noted(incident)] };
  }
  return stay(state);
}

// ── between two lives ──────────────────────────────────────────────────────────────────────────────────────────────

function cleaned(before: State, event: Extract<Event, { is: "cleaned" }>, now: Moment): Step {
  if (before.phase.at !== "cleaning") return stay(before);
  const { next, failures, ask, waitMs = 0 } = before.phase;
  const incident = cleanedUp(before.incident, now);
  const hadFailed = failures !== undefined;
  const because = hadFailed ? "what it had left behind is gone" : before.because;
  const state: State = { ...before, ...(incident && { incident }), because };
  const freed = event.killed > 0 || event.removed.length > 0 || hadFailed;
  const words = `killed ${event.killed} left-over processes, removed ${event.removed.length > 0 ? event.removed.join(", ") : "nothing"}`;
  const audited = freed ? [audit("workload.clean", "agent", words, "success", event.tookMs)] : [];
  const effects: Effect[] = [...audited, ...noted(incident)];
  switch (next) {
    case "stop":
      return to(withoutIncident(state), { at: "stopped" }, state.because, [...effects, ...closing(state, now)]);
    case "complete":
      return to(withoutIncident(state), { at: "completed" }, state.because, [...effects, ...closing(state, now)]);
    case "decide":
      return decideNow(state, ask ?? unknownAsk, state.because, effects);
    case "wait":
      return to(state, { at: "backoff", untilMs: now.ms + waitMs }, state.because, effects);
    case "start":
      return spawnNow(state, effects, now);
    default:
      return unreachable(next);
  }
}

/** Nothing is started beside what is left, so a person is told, also where nothing else is wrong: of a stop, or a restart that was asked for. */
function cleanFailed(state: State, because: string, now: Moment): Step {
  if (state.phase.at !== "cleaning") return stay(state);
  const failures = (state.phase.failures ?? 0) + 1;
  const phase: Phase = { ...state.phase, failures, retryAtMs: now.ms + cleanRetryMs };
  const words = `clean-up failed: ${because}`;
  // Told after 1, 2, 4, 8 … failures: it may go on for days.
  if (!Number.isInteger(Math.log2(failures))) return to(state, phase, words, []);
  const before = state.incident?.at === "closed" ? undefined : state.incident;
  const open = before ?? { ...struck({}, "not_cleaned", words, now.wallMs, now), at: "recovering" };
  const calls = !open.needsPerson && (!open.personCalled || failures >= cleanFailuresMax);
  const called = calls && ({ needsPerson: true, neededToClean: true, severity: "critical" } as const);
  const incident = calls || failures === 1 ? revise({ ...open, ...called }, now, "remedy", words) : undefined;
  return to(incident ? { ...state, incident } : state, phase, words, [
    audit("workload.clean", "agent", because, "failure"),
    ...noted(incident),
  ]);
}

function acted(state: State, now: Moment): Step {
  const incident = state.incident && actedOn(state.incident, now);
  return stay(incident && incident !== state.incident ? { ...state, incident } : state);
}

/** It has waited at the end of its ladder for another one, whose failure was its own: it need not wait any longer. */
function rootWell(state: State, now: Moment): Step {
  const { phase } = state;
  if (phase.at !== "backoff" || phase.waitsFor === undefined || !mayRun(state)) return stay(state);
  return spawnNow({ ...state, because: `${phase.waitsFor}, for which it waited, is well again` }, [], now);
}

// ── time passes ──────────────────────────────────────────────────────────────────────────────────────────────────────

function look(spec: WorkloadSpec, state: State, now: Moment): Step {
  const phase = state.phase;
  if (phase.at === "backoff" && now.ms >= phase.untilMs) return spawnNow(state, [], now);
  if (phase.at === "stopping" && now.ms >= phase.killAtMs) {
    const because = `it did not leave within ${spec.stop.graceMs} ms`;
    const killed = audit("workload.kill", "agent", because, "success");
    return cleanThen(state, phase.next, phase.instance, state.because, [killed], phase);
  }
  if (phase.at === "cleaning" && phase.retryAtMs !== undefined && now.ms >= phase.retryAtMs) {
    const { retryAtMs: _due, ...again } = phase;
    return to(state, again, state.because, [{ do: "clean", ...(phase.last && { last: phase.last }) }]);
  }
  if (phase.at === "mending" && now.ms >= phase.untilMs) {
    const cancel: Effect = { do: "cancelRemedy", id: phase.id };
    return mendFailed(state, phase, "it did not end within its budget", [cancel], now);
  }
  return overdue(spec, state, now) ?? judge(spec, state, now);
}

/** The next moment at which time alone may change something; undefined when none. The driver sets its timer by it. */
export function nextLookMs(spec: WorkloadSpec, state: State): number | undefined {
  const phase = state.phase;
  switch (phase.at) {
    case "backoff":
      return phase.untilMs;
    case "stopping":
      return phase.killAtMs;
    case "cleaning":
      return phase.retryAtMs;
    case "mending":
      return phase.untilMs;
    case "starting": {
      const settledMs = selfEvident(spec) ? phase.graceUntilMs : phase.instance.sinceMs + settleMs;
      return earliest(settledMs, stoppedDeadlineMs(state.evidence));
    }
    case "running": {
      const probation = state.incident?.at === "probation" ? state.incident.probationUntilMs : undefined;
      const { treatment } = state;
      const treated = treatment && treatment.at !== "resting" ? treatment.untilMs : undefined;
      return earliest(probation, treated, aliveDeadlineMs(spec, state.evidence));
    }
    default:
      return undefined;
  }
}

function earliest(...times: (number | undefined)[]): number | undefined {
  const known = times.filter((time) => time !== undefined);
  return known.length > 0 ? Math.min(...known) : undefined;
}

// ── leaves: they only build values ───────────────────────────────────────────────────────────────────────────────────

/** A failure that was seen now. */
function fail(
  spec: WorkloadSpec,
  state: State,
  instance: Instance | undefined,
  symptom: string,
  because: string,
  now: Moment,
): Step {
  return failed(spec, state, { instance, symptom, because, faultWallMs: now.wallMs }, now);
}

function exitWords(code: number | null, signal: string | null): string {
  return signal ? `ended by ${signal}` : `ended with exit code ${code}`;
}
