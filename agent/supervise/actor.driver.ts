import type { Actor, SupervisorParts } from "./parts.ts";
import { policyJson } from "./recorder.driver.ts";
import { fingerprint } from "./start-spec.ts";
import { fresh, type State } from "./state.ts";

/** A workload at the agent's start, with what is remembered of it. */
export function actorOf(parts: SupervisorParts, name: string, remembered: State | undefined): Actor {
  const spec = parts.remedies.specInUse(name);
  const kept = remembered ?? fresh(parts.bootId, Math.floor(parts.random() * 2 ** 31));
  // The switch itself counts: an agent may have died between its turn and the last workload that was told.
  const { held: _before, ...free } = kept;
  return {
    spec,
    policyJson: policyJson(spec),
    startsAs: fingerprint(spec),
    state: parts.held ? { ...free, held: true } : free,
    queue: [],
    running: false,
    told: false,
    cancelLook: undefined,
    lookAtMs: Number.POSITIVE_INFINITY,
    watched: undefined,
    waiters: [],
  };
}
