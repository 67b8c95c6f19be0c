/** The leaves of the machine: they build steps and effects and decide nothing. */
import type { Moment } from "@blueflame/shared/time/clock.ts";
import { revise } from "./recovery.ts";
import type { WorkloadSpec } from "./spec.ts";
import type { Ask, Effect, IncidentFacts, Instance, Phase, State, Step } from "./state.ts";

export function cleanThen(
  state: State,
  next: "start" | "wait" | "stop" | "complete" | "decide",
  last: Instance | undefined,
  because: string,
  effects: readonly Effect[],
  more: { readonly waitMs?: number; readonly ask?: Ask } = {},
): Step {
  const { waitMs, ask } = more;
  const phase: Phase = {
    at: "cleaning",
    next,
    ...(last && { last }),
    ...(waitMs !== undefined && { waitMs }),
    ...(ask && { ask }),
  };
  return to(state, phase, because, [...effects, { do: "clean", ...(last && { last }) }]);
}

export function leave(
  spec: WorkloadSpec,
  state: State,
  instance: Instance,
  next: "start" | "wait" | "stop" | "decide",
  because: string,
  effects: readonly Effect[],
  now: Moment,
  more: { readonly waitMs?: number; readonly ask?: Ask } = {},
): Step {
  const { waitMs, ask } = more;
  const phase: Phase = {
    at: "stopping",
    instance,
    killAtMs: now.ms + spec.stop.graceMs,
    next,
    ...(waitMs !== undefined && { waitMs }),
    ...(ask && { ask }),
  };
  return to(state, phase, because, [...effects, { do: "signal", instance, signal: spec.stop.signal }]);
}

export function stay(state: State): Step {
  return { state, effects: [] };
}

export function to(state: State, phase: Phase, because: string, effects: readonly Effect[]): Step {
  return { state: { ...state, phase, because }, effects };
}

export function audit(
  action: string,
  actor: string,
  because: string,
  outcome: "success" | "failure" | "refused",
  tookMs?: number,
): Effect {
  return { do: "audit", action, actor, because, outcome, ...(tookMs !== undefined && { tookMs }) };
}

export function noted(facts: IncidentFacts | undefined): Effect[] {
  return facts ? [{ do: "incident", facts }] : [];
}

/** A stop on purpose ends the incident: nothing is to be recovered any more. */
export function closing(state: State, now: Moment): Effect[] {
  if (!state.incident) return [];
  const facts = { ...state.incident, at: "closed" as const, closedWallMs: now.wallMs, needsPerson: false };
  return noted(revise(facts, now, "closed", state.because));
}

/** Nothing is being recovered any more: no incident, and no playbook at work. */
export function withoutIncident(state: State): State {
  const { incident: _closed, treatment: _over, awaited: _ended, ...rest } = state;
  return rest;
}

/** What of a playbook that is at work has to be called off. */
export function callingOff(state: State): Effect[] {
  if (state.phase.at === "mending") return [{ do: "cancelRemedy", id: state.phase.id }];
  return state.treatment?.at === "playing" ? [{ do: "cancelRemedy", id: state.treatment.id }] : [];
}

export function spawnNow(state: State, effects: readonly Effect[], now: Moment): Step {
  const spawn: Effect = { do: "spawn", id: now.id, ...(state.mode === "safe" && { safe: true }) };
  return to(state, { at: "spawning", id: now.id }, state.because, [...effects, spawn]);
}
