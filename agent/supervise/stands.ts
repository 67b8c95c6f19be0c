/** How a workload stands for those who wait for it. Pure. */
import type { State } from "./state.ts";

/** It runs, or it has ended or failed in a way that waiting does not mend. */
export function hasStarted(state: State): boolean {
  return !["waiting", "cleaning", "deciding", "mending", "spawning", "starting"].includes(state.phase.at);
}

/** It runs and is healthy, also while a playbook is at work beside it: what such a playbook waits for is not its own end. */
export function isUp({ phase }: State): boolean {
  return phase.at === "running" || phase.at === "completed";
}

/** Does its time count as up (SYN-7)? Also while a playbook is at work beside it. Undefined: stopped on purpose or done, its time counts for nothing. */
export function isAvailable(state: State): boolean | undefined {
  const { phase, incident, treatment } = state;
  if (standsOf(state) === "stopped" || phase.at === "completed") return undefined;
  return phase.at === "running" && (incident === undefined || incident.at === "probation" || treatment !== undefined);
}

/** What its dependents have to know. One that is being started or healed is recovering; slow retry is down. */
export function standsOf(state: State): "well" | "recovering" | "down" | "stopped" {
  switch (state.phase.at) {
    case "running":
      return state.incident && state.incident.at !== "probation" ? "recovering" : "well";
    case "completed":
      return "well";
    case "stopped":
      return "stopped";
    case "backoff":
      return state.incident?.needsPerson ? "down" : "recovering";
    default:
      return state.intent === "stopped" || state.held ? "stopped" : "recovering";
  }
}
