/** How what is seen of a workload becomes evidence. Pure, a part of `machine.ts`. */
import type { Moment } from "@blueflame/shared/time/clock.ts";
import { amnesty } from "./evidence.ts";
import type { Event, IncidentFacts, Phase, State } from "./state.ts";

/** Does it tell of one life only? What was seen of a process says nothing of the one after it. */
export function isOfLife({ is }: Event): boolean {
  return is === "beat" || is === "probed" || is === "seen" || is === "unwell";
}

export function probed(state: State, event: Extract<Event, { is: "probed" }>): State {
  const before = state.evidence.probes[event.probe];
  const facts = {
    passed: (before?.passed ?? false) || event.ok,
    failures: event.ok ? 0 : (before?.failures ?? 0) + 1,
    because: event.because,
  };
  return { ...state, evidence: { ...state.evidence, probes: { ...state.evidence.probes, [event.probe]: facts } } };
}

export function seen(state: State, isStopped: boolean, now: Moment): State {
  if (isStopped === (state.evidence.stoppedSinceMs !== undefined)) return state;
  const { stoppedSinceMs: _before, ...rest } = state.evidence;
  return { ...state, evidence: isStopped ? { ...rest, stoppedSinceMs: now.ms } : rest };
}

/** The best guess at when a frozen process froze: right after its last sign of life. */
export function faultWall(state: State, now: Moment): number {
  const signs = [state.evidence.lastBeatMs, state.evidence.stoppedSinceMs].filter((at) => at !== undefined);
  return signs.length > 0 ? now.wallMs - (now.ms - Math.min(...signs)) : now.wallMs;
}

/** What started, left or prepared a start may have been away as long as the agent. */
function lateIn(phase: Phase, byMs: number): Phase {
  switch (phase.at) {
    case "starting":
      return { ...phase, graceUntilMs: phase.graceUntilMs + byMs };
    case "stopping":
      return { ...phase, killAtMs: phase.killAtMs + byMs };
    case "mending":
      return { ...phase, untilMs: phase.untilMs + byMs };
    default:
      return phase;
  }
}

/** Nobody watched it in that time: its probation is as long as ever. */
function forgiven(facts: IncidentFacts, byMs: number): IncidentFacts {
  const { probationUntilMs } = facts;
  return probationUntilMs === undefined ? facts : { ...facts, probationUntilMs: probationUntilMs + byMs };
}

export function late(state: State, byMs: number): State {
  const evidence = amnesty(state.evidence, byMs);
  const phase = lateIn(state.phase, byMs);
  const treatment = state.treatment && { ...state.treatment, untilMs: state.treatment.untilMs + byMs };
  const incident = state.incident && forgiven(state.incident, byMs);
  return { ...state, evidence, phase, ...(treatment && { treatment }), ...(incident && { incident }) };
}
