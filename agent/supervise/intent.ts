/** What a person asks of a workload, and what the agent's own end means for it. Pure, a part of `machine.ts`. */
import { unreachable } from "@blueflame/shared/errors/fault.ts";
import type { Moment } from "@blueflame/shared/time/clock.ts";
import { audit, cleanThen, leave, to } from "./moves.ts";
import type { WorkloadSpec } from "./spec.ts";
import type { State, Step } from "./state.ts";

export function started(state: State, who: string): Step {
  const effects = [audit("intent.start", who, "a person wants it to run", "success")];
  const willing: State = { ...state, intent: "run" };
  switch (state.phase.at) {
    case "stopped":
    case "waiting":
    case "completed":
    case "backoff":
      return cleanThen({ ...willing, attempt: 0, recentMs: [] }, "start", undefined, `started by ${who}`, effects);
    case "stopping":
      return to(willing, { ...state.phase, next: "start" }, `started by ${who}`, effects);
    case "cleaning":
      return to(willing, { ...state.phase, next: "start" }, `started by ${who}`, effects);
    case "spawning":
    case "starting":
    case "running":
      return { state: willing, effects };
    default:
      return unreachable(state.phase);
  }
}

export function stopped(spec: WorkloadSpec, state: State, who: string, action: string, now: Moment): Step {
  const effects = [audit(action, who, "asked to stop", "success")];
  const because = action === "intent.stop" ? `stopped by ${who}` : `the agent went down by ${who}`;
  switch (state.phase.at) {
    case "stopped":
    case "completed":
      return to(state, { at: "stopped" }, because, effects);
    case "backoff":
    case "waiting":
      return cleanThen(state, "stop", undefined, because, effects);
    case "cleaning":
      return to(state, { ...state.phase, next: "stop" }, because, effects);
    case "stopping":
      return to(state, { ...state.phase, next: "stop" }, because, effects);
    case "spawning":
      // The answer of the spawn is on its way: it is void, and the clean-up finds whatever came of it by its marker.
      return cleanThen(state, "stop", undefined, because, effects);
    case "starting":
    case "running":
      return leave(spec, state, state.phase.instance, "stop", because, effects, now);
    default:
      return unreachable(state.phase);
  }
}

export function restarted(spec: WorkloadSpec, state: State, who: string, now: Moment): Step {
  if (state.intent === "stopped") {
    return { state, effects: [audit("workload.restart", who, "refused: a person stopped it", "refused")] };
  }
  const effects = [audit("workload.restart", who, "asked to restart", "success")];
  const running = state.phase.at === "starting" || state.phase.at === "running" ? state.phase.instance : undefined;
  if (running) return leave(spec, state, running, "start", `restarted by ${who}`, effects, now);
  if (state.phase.at === "stopping")
    return to(state, { ...state.phase, next: "start" }, `restarted by ${who}`, effects);
  // It is on its way up already; but what would end or wait after its clean-up was asked for now.
  if (state.phase.at === "cleaning" && state.phase.next !== "start" && state.phase.next !== "stop")
    return to(state, { ...state.phase, next: "start" }, `restarted by ${who}`, effects);
  if (state.phase.at === "spawning" || state.phase.at === "cleaning") return { state, effects };
  return cleanThen(state, "start", undefined, `restarted by ${who}`, effects);
}
