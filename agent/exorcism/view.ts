import type { WorkloadSpec } from "../supervise/spec.ts";
import type { State } from "../supervise/state.ts";
import type { WorkloadView } from "./sight.ts";

/**
 * A workload as an exorcism sees it. `progressMs` is its last output or I/O by the monotonic clock; when none was seen, its start, or
 * the first look of this agent at one that it has adopted; undefined where nobody looks, and then nobody of it is judged as stuck.
 * Beats are taken from the state. Everything but running and at rest is `moving`: what is new in the machine is doubt, never a kill.
 */
export function viewOf(
  spec: Pick<WorkloadSpec, "name" | "beat" | "progressMs">,
  state: Pick<State, "phase" | "evidence">,
  progressMs: number | undefined,
): WorkloadView {
  const { phase, evidence } = state;
  const signs = [evidence.lastBeatMs, progressMs].filter((one) => one !== undefined);
  const rest = {
    name: spec.name,
    signsKnown: progressMs !== undefined,
    owesSigns: spec.beat !== undefined || spec.progressMs !== undefined,
    ...(signs.length > 0 && { lastSignMs: Math.max(...signs) }),
  };
  if (phase.at === "running") {
    const { id, pid, startTicks, adopted } = phase.instance;
    return { ...rest, phase: "alive", main: { id, pid, startTicks, adopted } };
  }
  const down = phase.at === "stopped" || phase.at === "completed" || phase.at === "backoff";
  return { ...rest, phase: down ? "down" : "moving" };
}
