/**
 * What the agent does about one workload. Pure: the driver stores the state, then runs the effects. The drawing and one
 * sentence per phase stand in `state.ts`; what counts as alive and ready in `evidence.ts`; waits and budgets in
 * `recovery.ts`. Deadlines are state, a wake is a hint: an early, late or doubled `look` changes nothing.
 */
import { unreachable } from "@blueflame/shared/errors/fault.ts";
import type { Moment } from "@blueflame/shared/time/clock.ts";
import {
  alive,
  aliveDeadlineMs,
  firstReady,
  selfEvident,
  settleMs,
  startedAtAll,
  stoppedDeadlineMs,
  stoppedTooLong,
} from "./evidence.ts";
import { restarted, started, stopped } from "./intent.ts";
import { audit, cleanThen, closing, leave, noted, stay, to, withoutIncident } from "./moves.ts";
import { planRestart, revise, struck } from "./recovery.ts";
import { faultWall, late, probed, seen } from "./signs.ts";
import type { WorkloadSpec } from "./spec.ts";
import {
  type Effect,
  type Event,
  type IncidentFacts,
  type Instance,
  instanceOf,
  lastOf,
  type Phase,
  type State,
  type Step,
  type Symptom,
} from "./state.ts";

/** A clean-up that failed is tried again after this long: what cannot be killed (state D) does not get better by hurry. */
const cleanRetryMs = 2000;

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
    case "spawned":
      return spawned(spec, state, event.instance, now);
    case "spawnFailed":
      return state.phase.at === "spawning"
        ? failed(spec, state, undefined, "spawn_failed", event.because, now.wallMs, now)
        : stay(state);
    case "exited":
      return gone(spec, state, event.id, exitWords(event.code, event.signal), event.code === 0, now);
    case "vanished":
      return gone(spec, state, event.id, "it is gone; it was adopted, so its exit status is unknown", false, now);
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
    case "restart":
      return restarted(spec, state, event.who, now);
    default:
      return unreachable(event);
  }
}

// ── the agent has started ────────────────────────────────────────────────────────────────────────────────────────────

function booted(spec: WorkloadSpec, before: State, event: Extract<Event, { is: "boot" }>, now: Moment): Step {
  const rebooted = before.bootId !== event.bootId;
  // Monotonic values of another boot mean nothing. A reboot is no failure of the workload: the attempts are kept, not raised.
  const state: State = rebooted ? rebootedFrom(before, event.bootId, now) : before;
  if (event.found) return adopt(spec, state, event.found, now);
  const { phase } = state;
  // Of another boot: its PID, and the session of that number, may be a stranger's by now.
  const last = rebooted ? undefined : lastOf(phase);
  if (state.intent === "stopped") {
    if (phase.at === "stopped") return stay(state);
    return cleanThen(state, "stop", last, "a person stopped it", []);
  }
  // The agent died while it cleaned up: what was to come after that still is. Only its own going down is over.
  if (phase.at === "cleaning" && phase.next !== "stop" && !rebooted)
    return cleanThen(state, phase.next, phase.last, state.because, [], phase.waitMs);
  if (last && (phase.at === "starting" || phase.at === "running"))
    return gone(spec, state, last.id, "it ended while no agent was there to see how", false, now);
  if ((phase.at === "completed" || phase.at === "backoff") && !rebooted) return stay(state);
  // What is left of an earlier life goes first, and at once: while it waits nobody would remember whose it was.
  if (event.waitFor?.length && !last) return to(state, { at: "waiting" }, `waits for ${event.waitFor.join(", ")}`, []);
  const because = rebooted && state.starts > 0 ? "the machine was rebooted" : "the agent has started";
  return cleanThen(state, "start", last, because, []);
}

function rebootedFrom(before: State, bootId: string, now: Moment): State {
  const { incident: open, ...rest } = before;
  // The wall clock is the only one that knows how long ago it was detected.
  const incident = open && { ...open, detectedMs: now.ms - Math.max(0, now.wallMs - open.detectedWallMs) };
  return { ...rest, bootId, recentMs: [], ...(incident && { incident }) };
}

function adopt(spec: WorkloadSpec, before: State, found: Instance, now: Moment): Step {
  const instance: Instance = { ...found, adopted: true };
  // Nobody listened while no agent was there: every sign of life starts anew from here.
  const state: State = { ...before, evidence: { probes: {}, lastBeatMs: now.ms } };
  const effects: Effect[] = [
    audit("workload.adopt", "agent", `pid ${found.pid} is alive and its identity is right`, "success"),
  ];
  const because = `adopted pid ${found.pid}`;
  if (state.intent === "stopped") return leave(spec, state, instance, "stop", "a person stopped it", effects, now);
  if (before.phase.at === "stopping") {
    return leave(spec, state, instance, before.phase.next, "it was being stopped", effects, now);
  }
  // What was ready stays ready, and as old as it is: the agent's own death says nothing about the workload.
  if (before.phase.at === "running") {
    return to(
      state,
      { at: "running", instance, readySinceMs: Math.min(before.phase.readySinceMs, now.ms) },
      because,
      effects,
    );
  }
  const starting: State = { ...state, evidence: { probes: {} } };
  return to(starting, { at: "starting", instance, graceUntilMs: graceEnd(spec, instance, now) }, because, effects);
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
  if (stopped.is === "unwell")
    return failed(spec, state, phase.instance, stopped.symptom, stopped.because, now.wallMs, now);
  const ready = firstReady(spec, state.evidence, phase.instance, now.ms);
  if (!ready.ready) {
    if (now.ms < phase.graceUntilMs) return stay(state);
    const atAll = startedAtAll(spec, state.evidence);
    if (atAll.is === "unwell")
      return failed(spec, state, phase.instance, atAll.symptom, atAll.because, now.wallMs, now);
  }
  return nowRuns(spec, state, phase.instance, ready.because, now);
}

function nowRuns(spec: WorkloadSpec, state: State, instance: Instance, because: string, now: Moment): Step {
  const incident =
    state.incident && state.incident.at !== "closed" ? verified(spec, state.incident, because, now) : undefined;
  const running: State = { ...state, ...(incident && { incident }) };
  return to(running, { at: "running", instance, readySinceMs: now.ms }, because, [...noted(incident)]);
}

function verified(spec: WorkloadSpec, facts: IncidentFacts, because: string, now: Moment): IncidentFacts {
  const probation = {
    ...facts,
    at: "probation",
    probationUntilMs: now.ms + spec.probationMs,
  } as const;
  // A person or a reboot restarted it on probation: it had recovered before, and how long that took stays what it was.
  if (facts.at === "probation") return revise(probation, now, "verification", `${because}; probation begins anew`);
  const recoverTookMs = Math.max(0, now.ms - facts.detectedMs);
  return revise(
    { ...probation, recoveredWallMs: now.wallMs, recoverTookMs },
    now,
    "verification",
    `${because}; recovered in ${Math.round(recoverTookMs)} ms`,
  );
}

function judgeRun(spec: WorkloadSpec, state: State, phase: Extract<Phase, { at: "running" }>, now: Moment): Step {
  const verdict = alive(spec, state.evidence, now.ms);
  if (verdict.is === "unwell")
    return failed(spec, state, phase.instance, verdict.symptom, verdict.because, faultWall(state, now), now);
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

// ── a life ends ──────────────────────────────────────────────────────────────────────────────────────────────────────

function gone(spec: WorkloadSpec, state: State, id: string, how: string, success: boolean, now: Moment): Step {
  const instance = instanceOf(state.phase);
  if (!instance || instance.id !== id) return stay(state);
  if (state.phase.at === "stopping") return cleanThen(state, state.phase.next, instance, state.because, []);
  const enough = spec.restart === "never" || (spec.restart === "onFailure" && success);
  if (enough) {
    const effects = [
      audit(
        "workload.complete",
        "agent",
        `${how}; its restart policy is ${spec.restart}`,
        success ? "success" : "failure",
      ),
    ];
    return cleanThen(state, "complete", instance, how, effects);
  }
  return failed(spec, state, instance, "crash", how, now.wallMs, now);
}

/** One failure: the incident, the plan, and the clean-up that comes before any start. */
function failed(
  spec: WorkloadSpec,
  before: State,
  instance: Instance | undefined,
  symptom: Symptom,
  because: string,
  faultWallMs: number,
  now: Moment,
): Step {
  if (spec.restart === "never" && instance) {
    // It may have done half of its work: twice is worse than not.
    const ended = audit(`workload.${symptom}`, "agent", `${because}; it runs once, so it is ended`, "failure");
    return cleanThen(before, "complete", instance, because, [ended]);
  }
  const stable = before.phase.at === "running" && now.ms >= before.phase.readySinceMs + spec.backoff.resetAfterMs;
  const plan = planRestart(spec, before, stable || before.starts === 0, now);
  const opened = struck(before, symptom, because, faultWallMs, now);
  const incident = revise(
    {
      ...opened,
      at: "recovering",
      // Once a person is needed, a verification does not send them away: what flaps is verified again and again. Probation does.
      needsPerson: plan.exhausted || opened.needsPerson,
      severity: plan.exhausted ? "critical" : opened.severity,
    },
    now,
    "decision",
    plan.because,
  );
  const effects = [audit(`workload.${symptom}`, "agent", because, "failure"), ...noted(incident)];
  const state: State = { ...plan.state, incident };
  return cleanThen(
    state,
    plan.waitMs > 0 ? "wait" : "start",
    instance,
    `${because}; ${plan.because}`,
    effects,
    plan.waitMs,
  );
}

function cleaned(state: State, event: Extract<Event, { is: "cleaned" }>, now: Moment): Step {
  if (state.phase.at !== "cleaning") return stay(state);
  const freed = event.killed > 0 || event.removed.length > 0;
  const words = `killed ${event.killed} left-over processes, removed ${event.removed.length > 0 ? event.removed.join(", ") : "nothing"}`;
  const effects: Effect[] = freed ? [audit("workload.clean", "agent", words, "success", event.tookMs)] : [];
  switch (state.phase.next) {
    case "stop":
      return to(withoutIncident(state), { at: "stopped" }, state.because, [...effects, ...closing(state, now)]);
    case "complete":
      return to(withoutIncident(state), { at: "completed" }, state.because, [...effects, ...closing(state, now)]);
    case "wait": {
      const untilMs = now.ms + (state.phase.waitMs ?? 0);
      return to(state, { at: "backoff", untilMs }, state.because, effects);
    }
    case "start":
      return spawnNow(state, effects, now);
    default:
      return unreachable(state.phase);
  }
}

function spawnNow(state: State, effects: readonly Effect[], now: Moment): Step {
  return to(state, { at: "spawning", id: now.id }, state.because, [...effects, { do: "spawn", id: now.id }]);
}

function cleanFailed(state: State, because: string, now: Moment): Step {
  if (state.phase.at !== "cleaning") return stay(state);
  const retryAtMs = now.ms + cleanRetryMs;
  const incident = state.incident
    ? revise(
        { ...state.incident, needsPerson: true, severity: "critical" },
        now,
        "remedy",
        `clean-up failed: ${because}`,
      )
    : undefined;
  return to(incident ? { ...state, incident } : state, { ...state.phase, retryAtMs }, `clean-up failed: ${because}`, [
    audit("workload.clean", "agent", because, "failure"),
    ...noted(incident),
  ]);
}

// ── time passes ──────────────────────────────────────────────────────────────────────────────────────────────────────

function look(spec: WorkloadSpec, state: State, now: Moment): Step {
  const phase = state.phase;
  if (phase.at === "backoff" && now.ms >= phase.untilMs) return spawnNow(state, [], now);
  if (phase.at === "stopping" && now.ms >= phase.killAtMs) {
    const because = `it did not leave within ${spec.stop.graceMs} ms`;
    return cleanThen(state, phase.next, phase.instance, state.because, [
      audit("workload.kill", "agent", because, "success"),
    ]);
  }
  if (phase.at === "cleaning" && phase.retryAtMs !== undefined && now.ms >= phase.retryAtMs) {
    const { retryAtMs: _due, ...again } = phase;
    return to(state, again, state.because, [{ do: "clean", ...(phase.last && { last: phase.last }) }]);
  }
  return judge(spec, state, now);
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
    case "starting": {
      const settledMs = selfEvident(spec) ? phase.graceUntilMs : phase.instance.sinceMs + settleMs;
      return earliest(settledMs, stoppedDeadlineMs(state.evidence));
    }
    case "running": {
      const probation = state.incident?.at === "probation" ? state.incident.probationUntilMs : undefined;
      return earliest(probation, aliveDeadlineMs(spec, state.evidence));
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

function graceEnd(spec: WorkloadSpec, instance: Instance, now: Moment): number {
  const graceMs = now.ms + spec.startGraceMs;
  return selfEvident(spec) ? graceMs : Math.max(graceMs, instance.sinceMs + settleMs);
}

function exitWords(code: number | null, signal: string | null): string {
  return signal ? `ended by ${signal}` : `ended with exit code ${code}`;
}
