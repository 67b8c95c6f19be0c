/** Nothing may be started any more: the kill switch is on, or the agent goes down. Pure; the supervisor asks before each event. */
import type { Moment } from "@blueflame/shared/time/clock.ts";
import { step } from "./machine.ts";
import type { WorkloadSpec } from "./spec.ts";
import type { Event, State } from "./state.ts";

/** What a workload is told before it could start. */
export type Halt = Extract<Event, { is: "hold" | "down" }>;

/** Would this event start it, or is it a person's word that would, once it is heard? Then the halt goes before it. */
export function haltsBefore(halt: Halt, spec: WorkloadSpec, state: State, event: Event, now: Moment): boolean {
  if (event.is === halt.is || event.is === "release") return false;
  if (halt.is === "hold" && (event.is === "start" || event.is === "restart")) return !state.held;
  return step(spec, state, event, now).effects.some((effect) => effect.do === "spawn");
}

/** Going down is for good in this agent's life: who asks for a start then is told so. */
export function isRefused(halt: Halt | undefined, event: Event): boolean {
  return halt?.is === "down" && (event.is === "start" || event.is === "restart" || event.is === "release");
}

/** It has no process and is on its way to one, or waits for one: it need not wait for its turn to be stopped. */
export function isComing({ phase }: State): boolean {
  return ["waiting", "cleaning", "deciding", "mending", "backoff", "spawning"].includes(phase.at);
}
