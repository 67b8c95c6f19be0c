/** What a person asks of a workload, and what the agent's own end means for it. Pure, a part of `machine.ts`. */
import { unreachable } from "@blueflame/shared/errors/fault.ts";
import type { Moment } from "@blueflame/shared/time/clock.ts";
import { audit, callingOff, cleanThen, leave, stay, to } from "./moves.ts";
import { countedStart } from "./recovery.ts";
import type { WorkloadSpec } from "./spec.ts";
import { type Event, mayRun, type Phase, type State, type Step } from "./state.ts";

export function started(state: State, who: string): Step {
  const effects = [audit("intent.start", who, "a person wants it to run", "success")];
  const { mode: _full, ...rest } = state;
  const willing: State = { ...rest, intent: "run" };
  // What had ended is started once more when the switch goes off, for now somebody wants it.
  if (state.held) return { state: hasEnded(state) ? unended(willing) : willing, effects };
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
    case "deciding":
    case "mending":
      return cleanThen(willing, "start", undefined, `started by ${who}`, [...callingOff(state), ...effects]);
    case "spawning":
    case "starting":
    case "running":
      return { state: willing, effects };
    default:
      return unreachable(state.phase);
  }
}

export function stopped(spec: WorkloadSpec, before: State, who: string, action: string, now: Moment): Step {
  const { treatment: _over, awaited: _ended, ...state } = before;
  const effects = [...callingOff(before), audit(action, who, "asked to stop", "success")];
  const because = becauseOf(action, who);
  switch (state.phase.at) {
    case "stopped":
    case "completed":
      return to(state, { at: "stopped" }, because, effects);
    case "backoff":
    case "waiting":
    case "deciding":
    case "mending":
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

export function restarted(
  spec: WorkloadSpec,
  before: State,
  { who, safe }: Extract<Event, { is: "restart" }>,
  now: Moment,
): Step {
  if (!mayRun(before)) {
    const refused = before.held ? "the kill switch is on" : "a person stopped it";
    return { state: before, effects: [audit("workload.restart", who, refused, "refused")] };
  }
  // Whoever asks for a restart asks for the whole config; a playbook's own step goes on with the mode that was chosen.
  const { mode: _full, ...full } = before;
  const reduced: State = safe && spec.safeMode ? { ...full, mode: "safe" } : full;
  const byHealer = who.startsWith("playbook:");
  const asked: State = byHealer && !safe ? before : reduced;
  const state = byHealer ? countedStart(spec, asked, now.ms) : asked;
  const effects = [audit("workload.restart", who, "asked to restart", "success")];
  const running = state.phase.at === "starting" || state.phase.at === "running" ? state.phase.instance : undefined;
  if (running) return leave(spec, state, running, "start", `restarted by ${who}`, effects, now);
  if (state.phase.at === "stopping")
    return to(state, { ...state.phase, next: "start" }, `restarted by ${who}`, effects);
  // It is on its way up already; but what would end or wait after its clean-up was asked for now.
  if (state.phase.at === "cleaning" && state.phase.next !== "start" && state.phase.next !== "stop")
    return to(state, { ...state.phase, next: "start" }, `restarted by ${who}`, effects);
  if (state.phase.at === "spawning" || state.phase.at === "cleaning") return { state, effects };
  if (state.phase.at === "deciding" || state.phase.at === "mending") {
    // The ladder is at work on its next start: only a person goes before it.
    if (!who.startsWith("person:")) return { state: before, effects };
    return cleanThen(state, "start", undefined, `restarted by ${who}`, [...callingOff(before), ...effects]);
  }
  return cleanThen(state, "start", undefined, `restarted by ${who}`, effects);
}

/** The kill switch goes on: as a stop, but the intent stays what it was, for the day when it goes off. */
export function held(spec: WorkloadSpec, state: State, who: string, now: Moment): Step {
  if (state.held) return stay(state);
  // What has done its work is not done once more because a switch went on and off.
  if (hasEnded(state))
    return {
      state: { ...state, held: true },
      effects: [audit("kill-switch.on", who, "it had ended already", "success")],
    };
  return stopped(spec, { ...state, held: true }, who, "kill-switch.on", now);
}

/** The kill switch goes off: what a person did not stop by itself starts, after what it depends on. */
export function released(before: State, { who, waitFor }: Extract<Event, { is: "release" }>): Step {
  if (!before.held) return stay(before);
  const { held: _over, ...state } = before;
  const effects = [audit("kill-switch.off", who, "the kill switch is off", "success")];
  const { phase } = state;
  if (state.intent === "stopped" || hasEnded(state)) return { state, effects };
  if (phase.at === "stopping" || phase.at === "cleaning")
    return to(state, { ...phase, next: "start" }, `let go by ${who}`, effects);
  const anew: State = { ...state, attempt: 0, recentMs: [] };
  // What it left behind was cleaned away when it was stopped: nothing of it has to be remembered while it waits.
  if (waitFor?.length) return to(anew, { at: "waiting" }, `waits for ${waitFor.join(", ")}`, effects);
  return cleanThen(anew, "start", undefined, `let go by ${who}`, effects);
}

/** It has ended by itself, for good: only what it left behind may still have to be cleaned away. */
export function hasEnded({ phase }: State): boolean {
  return phase.at === "completed" || (phase.at === "cleaning" && phase.next === "complete");
}

function unended(state: State): State {
  const phase: Phase = state.phase.at === "cleaning" ? { ...state.phase, next: "stop" } : { at: "stopped" };
  return { ...state, phase, because: "the kill switch is on" };
}

function becauseOf(action: string, who: string): string {
  if (action === "intent.stop") return `stopped by ${who}`;
  return action === "kill-switch.on" ? `the kill switch was turned on by ${who}` : `the agent went down by ${who}`;
}
