/** How a workload stands for those who wait for it. Pure. */
import type { WorkloadSpec } from "./spec.ts";
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

/**
 * Who waits at the end of its ladder for another workload, in which its failure began, and need not any more: that one is up, and
 * all that it depends on, as the diagnosis sees it, and one of them came up after its last try began. What fails beside those that are
 * up all the time waits for its slow retry: woken at once, it would fail on without a pause. Asked when a workload has come up, and of
 * one whose wait begins: its root may have been faster.
 */
export function wokenBy(
  all: Iterable<{ readonly spec: Pick<WorkloadSpec, "name" | "dependsOn">; readonly state: State }>,
): string[] {
  const actors = [...all];
  const upSince = new Map(actors.map(({ spec, state }) => [spec.name, upSinceMs(state)]));
  return actors
    .filter(({ spec, state: { phase } }) => {
      if (phase.at !== "backoff" || phase.waitsFor === undefined) return false;
      const { triedMs = Number.NEGATIVE_INFINITY } = phase;
      const since = [...spec.dependsOn, phase.waitsFor].map((need) => upSince.get(need));
      const isNew = (ms: number | undefined) => ms !== undefined && ms >= triedMs;
      // A root that is done was not when the wait began.
      return !since.includes(undefined) && (since.some(isNew) || since.at(-1) === done);
    })
    .map(({ spec }) => spec.name);
}

/** Of what has done its work. */
const done = Number.NEGATIVE_INFINITY;

/** Undefined: it is not up. */
function upSinceMs(state: State): number | undefined {
  if (!isUp(state)) return undefined;
  return state.phase.at === "running" ? state.phase.readySinceMs : done;
}

/** May this step have ended somebody's wait, or begun one? The agent's first word counts, for a root may have come up without it. */
export function maySettleWaits(before: State, after: State, event: { readonly is: string }): boolean {
  const gotUp = isUp(after) && !isUp(before);
  const waits = after.phase.at === "backoff" && after.phase.waitsFor !== undefined;
  return gotUp || (waits && (event.is === "boot" || after.phase !== before.phase));
}
