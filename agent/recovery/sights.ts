import type { Sights } from "../sensors/workload-sight.ts";
import { standsOf } from "../supervise/stands.ts";
import { instanceOf, type State } from "../supervise/state.ts";

/** Whoever knows the states of the workloads. */
export interface Supervised {
  names(): string[];
  state(workload: string): State;
}

/** The workloads as the sensors see them: whose process lives since when, and whether anything is expected of it. */
export function sightsOf(supervised: Supervised): Sights {
  return Object.fromEntries(
    supervised.names().map((name) => {
      const state = supervised.state(name);
      const instance = instanceOf(state.phase);
      return [
        name,
        {
          ...(instance && { pid: instance.pid, sinceMs: instance.sinceMs }),
          starting: state.phase.at === "starting",
          stopped: standsOf(state) === "stopped" || state.phase.at === "completed",
          ...(state.evidence.lastBeatMs !== undefined && { lastBeatMs: state.evidence.lastBeatMs }),
        },
      ];
    }),
  );
}
