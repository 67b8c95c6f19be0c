import type { Moment } from "@blueflame/shared/time/clock.ts";
import type { Policy } from "./policy.ts";
import type { OrderPart, Phase, Place, State } from "./state.ts";
import { move } from "./step.ts";

/**
 * A state from the store after a restart of the hub. The hub was away and blames nobody: every silence counts from now.
 * A level holds until a beat; a node that was RED stays RED without a second alert. No session is open yet. A respawn
 * that ran is given time to show. `holds` of a respawn stays: give it to `restoredBudget` in `actions/budget.ts`.
 */
export function restored(policy: Policy, state: State, now: Pick<Moment, "ms">): State {
  const place = restoredPlace(policy, state, now.ms);
  const comingBack = place.at === "red" && place.phase.is === "comingBack";
  return move(state, place, {
    sinceMs: now.ms,
    heard: false,
    connected: false,
    helloUntilMs: null,
    incident: state.incident && { ...state.incident, detectedMs: null, untilMs: now.ms + policy.probationMs },
    order: restoredOrder(state.order),
    flight: null,
    holds: comingBack ? "respawn" : null,
  });
}

function restoredPlace(policy: Policy, state: State, nowMs: number): Place {
  if (state.at === "away") {
    return { at: "away", backByMs: state.backByMs === null ? null : nowMs + policy.redSilentMs };
  }
  if (state.at !== "red") return { at: state.at };
  const { attempt, told } = state;
  return { at: "red", phase: restoredPhase(policy, state.phase, nowMs), attempt, told };
}

function restoredPhase(policy: Policy, phase: Phase, nowMs: number): Phase {
  if (phase.is === "respawning" || phase.is === "comingBack") {
    return { is: "comingBack", untilMs: nowMs + policy.comeBackMs };
  }
  return { is: "waiting", atMs: nowMs + policy.redSilentMs };
}

// What was sent is either done or lost; the agent remembers its id, the hub no longer waits for it.
function restoredOrder(order: OrderPart | null): OrderPart | null {
  if (order?.is === "asking") return order.kept ? { ...order.kept, sendAtMs: null } : { is: "wanted" };
  if (order?.is === "kept") return { ...order, sendAtMs: null };
  return order?.is === "sent" ? null : order;
}
