/** The agent has started: what of a workload is alive, and what comes next for it. Pure, a part of `machine.ts`. */
import type { Moment } from "@blueflame/shared/time/clock.ts";
import { budgetOf, decideNow } from "./decide.ts";
import { selfEvident, settleMs } from "./evidence.ts";
import { gone } from "./failure.ts";
import { hasEnded } from "./intent.ts";
import { audit, cleanThen, closing, leave, noted, stay, to, withoutIncident } from "./moves.ts";
import { cleanedUp, inThisBoot } from "./recovery.ts";
import type { WorkloadSpec } from "./spec.ts";
import {
  type Effect,
  type Event,
  type Instance,
  lastOf,
  mayRun,
  type Remedy,
  type State,
  type Step,
  type Treatment,
} from "./state.ts";
import { verifyMs } from "./treatment.ts";

/** What an agent's death has interrupted has at least this long after it, however long that lasted. */
const resumedMs = 30_000;

/** The first word of each agent process to a workload. */
export function booted(spec: WorkloadSpec, before: State, event: Extract<Event, { is: "boot" }>, now: Moment): Step {
  const { state, effects } = takenUp(spec, before, event, now);
  // Also while it starts: a step of the playbook may just have restarted it, and nobody else asks for the rest.
  if (!state.treatment || !mayRun(state)) return { state, effects };
  const treatment = goesOn(state.treatment, now);
  const plays = treatment.at === "playing" ? [playAgain(treatment, now)] : [];
  return { state: { ...state, treatment }, effects: [...effects, ...plays] };
}

function takenUp(spec: WorkloadSpec, before: State, event: Extract<Event, { is: "boot" }>, now: Moment): Step {
  const rebooted = before.bootId !== event.bootId;
  // Monotonic values of another boot mean nothing. A reboot is no failure of the workload: the attempts are kept, not raised.
  const state: State = rebooted ? rebootedFrom(before, event.bootId, now) : before;
  if (event.found) return adopt(spec, state, event.found, now);
  const { phase } = state;
  // Of another boot: its PID, and the session of that number, may be a stranger's by now.
  const last = rebooted ? undefined : lastOf(phase);
  if (!mayRun(state)) {
    const ended = hasEnded(state) && state.intent === "run" && !rebooted;
    const done = phase.at === "completed" && ended;
    // Open, where what a person has stopped was put to rest again in a store that had forgotten it.
    if (phase.at === "stopped" || done) return { state: withoutIncident(state), effects: closing(state, now) };
    return cleanThen(state, ended ? "complete" : "stop", last, atRestBecause(state), []);
  }
  // The agent died while it cleaned up: what was to come after that still is. Only its own going down is over.
  if (phase.at === "cleaning" && phase.next !== "stop" && !rebooted)
    return cleanThen(state, phase.next, phase.last, state.because, [], phase);
  if (phase.at === "stopping" && phase.next !== "stop" && !rebooted)
    return cleanThen(state, phase.next, phase.instance, state.because, [], phase);
  // A choice or a remedy that the agent's death, or a reboot, has interrupted goes on where it was.
  if (phase.at === "deciding") {
    const { triedMs: _otherBoot, ...ask } = phase.ask;
    return decideNow(state, rebooted ? ask : phase.ask, state.because, []);
  }
  if (phase.at === "mending") {
    const budgetMs = budgetOf(spec, phase.remedy);
    const untilMs = rebooted ? now.ms + budgetMs : Math.max(phase.untilMs, now.ms + Math.min(budgetMs, resumedMs));
    const { id, remedy } = phase;
    return to(state, { ...phase, untilMs }, state.because, [{ do: "remedy", id, remedy, budgetMs }]);
  }
  if (last && (phase.at === "starting" || phase.at === "running")) {
    const { needsDown, guardedUntilWallMs: livedUntilWallMs = last.sinceWallMs } = event;
    const vanished = { is: "vanished", id: last.id, livedUntilWallMs, ...(needsDown && { needsDown }) } as const;
    return gone(spec, state, vanished, "it ended while no agent was there to see how", now);
  }
  if ((phase.at === "completed" || phase.at === "backoff") && !rebooted) return stay(state);
  // What is left of an earlier life goes first, and at once: while it waits nobody would remember whose it was.
  if (event.waitFor?.length && !last) return to(state, { at: "waiting" }, `waits for ${event.waitFor.join(", ")}`, []);
  const because = rebooted && state.starts > 0 ? "the machine was rebooted" : "the agent has started";
  return cleanThen(state, "start", last, because, []);
}

function rebootedFrom(before: State, bootId: string, now: Moment): State {
  const { incident, treatment: _over, awaited: _ended, ...rest } = before;
  return { ...rest, bootId, recentMs: [], ...(incident && { incident: inThisBoot(incident, now) }) };
}

function adopt(spec: WorkloadSpec, before: State, found: Instance, now: Moment): Step {
  const instance: Instance = { ...found, adopted: true };
  // Nobody listened while no agent was there: every sign of life starts anew from here.
  const evidence = { probes: {}, ...(spec.beat && { lastBeatMs: now.ms }) };
  // Who was called because it could not be cleaned away is not needed for what lives on.
  const incident = cleanedUp(before.incident, now);
  const state: State = { ...before, evidence, ...(incident && { incident }) };
  const effects: Effect[] = [
    audit("workload.adopt", "agent", `pid ${found.pid} is alive and its identity is right`, "success"),
    ...noted(incident),
  ];
  const because = `adopted pid ${found.pid}`;
  if (!mayRun(state)) return leave(spec, state, instance, "stop", atRestBecause(state), effects, now);
  if (before.phase.at === "stopping") {
    // It went down with everything, or was held, and that is over: somebody wants it now.
    const next = before.phase.next === "stop" ? "start" : before.phase.next;
    return leave(spec, state, instance, next, "it was being stopped", effects, now, before.phase);
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

/** Nobody played or watched while no agent was there: that is not held against it. */
function goesOn(treatment: Treatment, now: Moment): Treatment {
  if (treatment.at === "resting") return treatment;
  const leastMs = treatment.at === "playing" ? resumedMs : verifyMs;
  return { ...treatment, untilMs: Math.max(treatment.untilMs, now.ms + leastMs) };
}

/** The playbook that an agent's death has interrupted goes on at its step. */
function playAgain({ id, playbook, untilMs }: Treatment, now: Moment): Effect {
  const remedy: Remedy = { by: "playbook", playbook };
  return { do: "remedy", id, remedy, budgetMs: Math.max(0, untilMs - now.ms) };
}

function atRestBecause(state: State): string {
  return state.held ? "the kill switch is on" : "a person stopped it";
}

/** Until when a new instance is not judged. */
export function graceEnd(spec: WorkloadSpec, instance: Instance, now: Moment): number {
  const graceMs = now.ms + spec.startGraceMs;
  return selfEvident(spec) ? graceMs : Math.max(graceMs, instance.sinceMs + settleMs);
}
