/** What of a workload at rest may stand outside the sealed store. Pure. */
import type { Instance, Phase, State } from "./state.ts";

/** It does not run because a person or its own end said so; a start of the agent without its memory must not undo that. */
export function isAtRest(state: State): boolean {
  return state.intent === "stopped" || state.held === true || state.phase.at === "completed";
}

/** As the store asks it of a state that it has stored. */
export const rests = {
  isAtRest: (state: unknown): boolean => isAtRest(state as State),
  restOf: (state: unknown): State => restOf(state as State),
};

/**
 * What a start without the store must know of a workload at rest: that it rests, why in the agent's own words, and which process has to go.
 * It is written in plain text, so nothing passes that a workload, a probe or a person has said: no evidence, reason or incident. It is as
 * much at rest as the state that it was made of, and starts again by the same counts.
 */
function restOf(state: State): State {
  const { intent, bootId, phase, seed, starts, recentMs, attempt, mode, held } = state;
  return {
    ...{ intent, bootId, phase: bare(phase), evidence: { probes: {} }, seed, starts, recentMs, attempt },
    ...(mode && { mode }),
    ...(held && { held }),
    because: held ? "the kill switch is on" : intent === "stopped" ? "a person stopped it" : "its job was done",
  };
}

/** What is to come after it was for one that runs; what has ended for good stays so. */
function bare(phase: Phase): Phase {
  switch (phase.at) {
    case "stopping":
      return { at: "stopping", instance: process(phase.instance), killAtMs: phase.killAtMs, next: "stop" };
    case "cleaning":
      return {
        at: "cleaning",
        ...(phase.last && { last: process(phase.last) }),
        next: phase.next === "complete" ? "complete" : "stop",
      };
    default:
      return phase;
  }
}

/** Not what it was started as: that is made from its environment. */
function process({ id, pid, startTicks, sinceMs, sinceWallMs, adopted }: Instance): Instance {
  return { id, pid, startTicks, sinceMs, sinceWallMs, adopted };
}
