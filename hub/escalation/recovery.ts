import type { Moment } from "@blueflame/shared/time/clock.ts";
import { returnOrder } from "./ordering.ts";
import { type Policy, seconds } from "./policy.ts";
import type { Effect, Health, OpenIncident, State } from "./state.ts";
import { levelChange, move, type Step, stay } from "./step.ts";

/** A beat arrived: whatever the level, the node is alive. Its incident is verified, watched, and closed in time. */
export function recover(policy: Policy, state: State, health: Health, now: Moment): Step {
  const silentMs = now.ms - state.sinceMs;
  const returns = state.at !== "green";
  const because = returns ? `it beats again after ${seconds(silentMs)} of silence` : "it beats";
  const ordered = returnOrder(policy, state, health, now);
  // What is still at work keeps its part of the budget: a respawn that runs, an order that is out.
  const atWork = state.flight !== null || (state.holds === "restart" && ordered.order?.is === "sent");
  const release = state.holds !== null && !atWork;
  const told = state.incident ? progress(policy, state.incident, returns, because, now) : undefined;
  const next = move(
    state,
    { at: "green" },
    {
      sinceMs: now.ms,
      heard: true,
      helloUntilMs: null,
      order: ordered.order,
      holds: release ? null : state.holds,
      incident: told ? told.incident : null,
    },
  );
  const effects: Effect[] = levelChange(state, next, because);
  if (release) effects.push({ do: "releaseBudget", because });
  if (told) effects.push(...told.effects);
  effects.push(...ordered.effects); // last: it may ask the budget anew
  return { state: next, effects, because };
}

function progress(policy: Policy, incident: OpenIncident, returns: boolean, because: string, now: Moment): Told {
  switch (incident.stage) {
    case "recovering": {
      const next: OpenIncident = { ...incident, stage: "verifying", beats: 1 };
      const change = { what: "remedy", because, stage: "verifying", summary: "the node beats again" } as const;
      return { incident: next, effects: [{ do: "updateIncident", id: incident.id, change }] };
    }
    case "verifying": {
      // A gap on the way begins the verification anew.
      const beats = returns ? 1 : incident.beats + 1;
      if (beats < policy.verifyBeats) return { incident: { ...incident, beats }, effects: [] };
      return verified(policy, { ...incident, beats }, now);
    }
    case "probation": {
      const untilMs = returns ? now.ms + policy.probationMs : incident.untilMs;
      return { incident: { ...incident, untilMs }, effects: [] };
    }
  }
}

interface Told {
  readonly incident: OpenIncident;
  readonly effects: Effect[];
}

function verified(policy: Policy, incident: OpenIncident, now: Moment): Told {
  const recoverMs = incident.detectedMs === null ? null : now.ms - incident.detectedMs;
  const took = recoverMs === null ? "" : `, ${seconds(recoverMs)} after the detection`;
  const change = {
    what: "verification",
    because: `${incident.beats} beats arrived in time${took}`,
    stage: "probation",
    needsPerson: false,
    recoverMs,
  } as const;
  const next: OpenIncident = {
    ...incident,
    stage: "probation",
    untilMs: now.ms + policy.probationMs,
    needsPerson: false,
  };
  return { incident: next, effects: [{ do: "updateIncident", id: incident.id, change }] };
}

/** The probation of a green node is over, and it was silent for no longer than one beat: the incident closes. */
export function watchOver(state: State, now: Moment): Step {
  const { incident } = state;
  if (incident?.stage !== "probation" || now.ms <= incident.untilMs) return stay(state, "nothing is due");
  const because = "the probation passed without a relapse";
  const change = { what: "closed", because, stage: "closed" } as const;
  return {
    state: { ...state, incident: null },
    effects: [{ do: "closeIncident", id: incident.id, change }],
    because,
  };
}
