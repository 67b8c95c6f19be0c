import { unreachable } from "@blueflame/shared/errors/fault.ts";
import type { Moment } from "@blueflame/shared/time/clock.ts";
import { dropOrder, hello, note, orderBudget, orderEnded, orderExpired, orderLook } from "./ordering.ts";
import { orangeMs, type Policy, seconds, yellowMs } from "./policy.ts";
import { recover, watchOver } from "./recovery.ts";
import {
  flightLost,
  phaseLook,
  probeAnswered,
  respawnBudget,
  respawnEnded,
  thawedPhase,
  turnRed,
} from "./resurrection.ts";
import { deadline, type Effect, type Event, type OpenIncident, type Place, type State } from "./state.ts";
import { levelChange, move, type Step, stay } from "./step.ts";

/**
 * What the hub does about one node that falls silent. Pure: the shell stores state and effects, then acts.
 *
 *              silent > 1 miss           > 3 misses               > 60 s
 *    green ───────────────────▶ yellow ──────────────▶ orange ──────────────▶ red
 *    ▲  ▲ ▲                       │                      │ incident            │ alert, then (resurrection.ts)
 *    │  │ │         beat          │         beat         │ order: restart the  │
 *    │  │ └───────────────────────┴──────────────────────┴─ agent ─────────────┘
 *    │  │   (an incident goes on: verifying ─ 2 beats ▶ probation ─ 5 min ▶ closed; silence is a relapse)
 *    │  │ said it comes back, and did not                      wherever it stands
 *    │  └──────────────────────────────── away ◀─────────────────── goingAway
 *    └─ beat or hello ─────────────────────┘
 *
 * A level goes up by one step at a time, and only here. While a group of the node is frozen (mass.ts) nothing goes beyond
 * YELLOW and nothing is begun, but who is silent and who comes back is seen; a thaw starts the silence anew. An amnesty
 * moves every deadline of judgement. Deadlines are state (`deadline` in state.ts); every branch compares `now` with them,
 * so an early, late or doubled sweep is harmless.
 */
export function step(policy: Policy, state: State, event: Event, now: Moment): Step {
  switch (event.is) {
    case "beat":
      return recover(policy, state, event.health, now);
    case "sweep":
      return look(policy, state, now);
    case "sessionOpened":
      return hello(policy, state, event.incarnation, now);
    case "sessionClosed":
      return stay(state.connected ? { ...state, connected: false } : state, "the session ended; silence will tell");
    case "goingAway":
      return leave(policy, state, event.because, event.comesBack, now);
    case "amnesty":
      return forgive(state, event.byMs, now);
    case "frozen":
      return freeze(state, event.group);
    case "thawed":
      return thaw(policy, state, event.group, now);
    case "probeAnswered":
      return probeAnswered(policy, state, event, now);
    case "respawnEnded":
      return respawnEnded(policy, state, event, now);
    case "budget":
      return event.for === "restart"
        ? orderBudget(policy, state, event.verdict, now)
        : respawnBudget(policy, state, event.verdict, now);
    case "orderEnded":
      return orderEnded(state, event);
    default:
      return unreachable(event);
  }
}

// One look does one thing, the most urgent that is due; what else is due waits for the next look.
function look(policy: Policy, state: State, now: Moment): Step {
  if (now.ms <= deadline(policy, state)) return stay(state, "nothing is due");
  if (state.flight && now.ms > state.flight.untilMs) return flightLost(policy, state, now);
  if (state.order?.is === "sent" && now.ms > state.order.untilMs) return orderExpired(state);
  if (state.frozenBy.length > 0) {
    const held = stay(state, `escalation is frozen for ${state.frozenBy.join(" and ")}`);
    return state.at === "green" ? lookGreen(policy, state, now) : held;
  }
  const ordered = orderLook(policy, state, now);
  if (ordered) return ordered;
  const silentMs = now.ms - state.sinceMs;
  switch (state.at) {
    case "green":
      return lookGreen(policy, state, now);
    case "yellow":
      return silentMs > orangeMs(policy)
        ? turnOrange(policy, state, silentMs, now)
        : stay(state, "still within YELLOW");
    case "orange":
      return silentMs > policy.redSilentMs ? turnRed(policy, state, now) : stay(state, "still within ORANGE");
    case "red":
      return phaseLook(policy, state, now);
    case "away": {
      const because = "it said that it comes back and has not; silence counts from now";
      return { state: move(state, { at: "green" }, { sinceMs: state.backByMs ?? now.ms }), effects: [], because };
    }
    default:
      return unreachable(state);
  }
}

function lookGreen(policy: Policy, state: State, now: Moment): Step {
  const silentMs = now.ms - state.sinceMs;
  return silentMs > yellowMs(policy) ? turnYellow(state, silentMs) : watchOver(state, now);
}

function turnYellow(state: State, silentMs: number): Step {
  const because = `a beat is missed: silent for ${seconds(silentMs)}`;
  const next = move(state, { at: "yellow" });
  return { state: next, effects: levelChange(state, next, because), because };
}

function turnOrange(policy: Policy, state: State, silentMs: number, now: Moment): Step {
  const because = `${policy.orangeMissed} beats in a row are missed: silent for ${seconds(silentMs)}`;
  const told = state.incident ? relapse(policy, state.incident, because) : open(silentMs, because, now);
  const next = move(state, { at: "orange" }, { incident: told.incident, order: state.order ?? { is: "wanted" } });
  return { state: next, effects: [...levelChange(state, next, because), ...told.effects], because };
}

interface Told {
  readonly incident: OpenIncident;
  readonly effects: Effect[];
}

function open(silentMs: number, because: string, now: Moment): Told {
  const incident: OpenIncident = {
    id: now.id,
    stage: "recovering",
    detectedMs: now.ms,
    beats: 0,
    untilMs: 0,
    relapses: 0,
    needsPerson: false,
  };
  const summary = "the node is silent";
  const change = {
    what: "symptom",
    because,
    stage: "recovering",
    severity: "medium",
    summary,
    faultAgoMs: silentMs,
  } as const;
  return { incident, effects: [{ do: "openIncident", id: now.id, change }] };
}

// The same incident goes on: a node that comes and goes has one trouble, not many.
function relapse(policy: Policy, incident: OpenIncident, because: string): Told {
  const relapses = incident.relapses + 1;
  const flaps = relapses % policy.personAfter === 0 && !incident.needsPerson;
  const next: OpenIncident = { ...incident, stage: "recovering", relapses, needsPerson: incident.needsPerson || flaps };
  const summary = `the node came back and is silent again, ${relapses} times by now`;
  const change = {
    what: "relapse",
    because,
    stage: "recovering",
    summary,
    ...(flaps && { needsPerson: true }),
  } as const;
  const effects: Effect[] = [{ do: "updateIncident", id: incident.id, change }];
  if (flaps) effects.push({ do: "alert", kind: "needs_person", because: summary });
  return { incident: next, effects };
}

function leave(policy: Policy, state: State, why: string, comesBack: boolean, now: Moment): Step {
  const because = `it left on purpose: ${why}`;
  const backByMs = comesBack ? now.ms + policy.redSilentMs : null;
  const dropped = dropOrder(state, because);
  const release = state.holds !== null && state.flight === null;
  const holds = release ? null : state.holds;
  // A restart is part of a recovery, often its remedy: the incident waits for the beats after it.
  const incident = state.incident && backByMs !== null ? waiting(policy, state.incident, backByMs) : null;
  const next = move(state, { at: "away", backByMs }, { order: dropped.order, holds, incident, sinceMs: now.ms });
  const effects: Effect[] = [...levelChange(state, next, because), ...dropped.effects];
  if (release) effects.push({ do: "releaseBudget", because });
  if (incident) effects.push(...note(next, "decision", because));
  else if (state.incident) {
    const change = { what: "closed", because, stage: "closed", needsPerson: false } as const;
    effects.push({ do: "closeIncident", id: state.incident.id, change });
  }
  return { state: next, effects, because };
}

/** The incident of a node that said that it comes back: verified anew, and no probation ends while it is away. */
function waiting(policy: Policy, incident: OpenIncident, backByMs: number): OpenIncident {
  return { ...incident, beats: 0, untilMs: Math.max(incident.untilMs, backByMs + yellowMs(policy)) };
}

function forgive(state: State, byMs: number, now: Moment): Step {
  if (!(byMs > 0)) return stay(state, "the hub was not away");
  const { incident, flight, order } = state;
  const common = {
    sinceMs: Math.min(now.ms, state.sinceMs + byMs),
    helloUntilMs: state.helloUntilMs === null ? null : state.helloUntilMs + byMs,
    incident: incident && { ...incident, untilMs: incident.untilMs + byMs },
    flight: flight && { ...flight, untilMs: flight.untilMs + byMs },
    // An order's expiry is no judgement: it stays where it is.
    order: order?.is === "kept" && order.sendAtMs !== null ? { ...order, sendAtMs: order.sendAtMs + byMs } : order,
  };
  const because = `the hub was away for ${seconds(byMs)}: every deadline moves by that`;
  return stay(move(state, laterPlace(state, byMs), common), because);
}

function laterPlace(state: State, byMs: number): Place {
  if (state.at === "away" && state.backByMs !== null) return { ...state, backByMs: state.backByMs + byMs };
  if (state.at !== "red") return state;
  const { phase } = state;
  if ("untilMs" in phase) return { ...state, phase: { ...phase, untilMs: phase.untilMs + byMs } };
  if (phase.is === "helpless")
    return { ...state, phase: { ...phase, atMs: phase.atMs === null ? null : phase.atMs + byMs } };
  return "atMs" in phase ? { ...state, phase: { ...phase, atMs: phase.atMs + byMs } } : state;
}

function freeze(state: State, group: string): Step {
  if (state.frozenBy.includes(group)) return stay(state, `${group} is frozen already`);
  const because = `many nodes of ${group} fell silent together: the level holds and nothing is begun`;
  const effects: Effect[] = [];
  if (state.incident && state.at !== "green") {
    effects.push({ do: "updateIncident", id: state.incident.id, change: { what: "decision", because } });
  }
  return { state: { ...state, frozenBy: [...state.frozenBy, group] }, effects, because };
}

function thaw(policy: Policy, state: State, group: string, now: Moment): Step {
  if (!state.frozenBy.includes(group)) return stay(state, `${group} is not frozen`);
  const frozenBy = state.frozenBy.filter((name) => name !== group);
  const other = frozenBy.length > 0;
  if (other) return stay({ ...state, frozenBy }, `${group} thawed; still frozen for ${frozenBy.join(" and ")}`);
  const { incident, order } = state;
  const common = {
    frozenBy,
    sinceMs: now.ms,
    // A node that fell silent while frozen must not pass its probation unseen: YELLOW comes before its end.
    incident: incident && { ...incident, untilMs: Math.max(incident.untilMs, now.ms + yellowMs(policy)) },
    order: order?.is === "kept" && order.sendAtMs !== null ? { ...order, sendAtMs: now.ms + yellowMs(policy) } : order,
  };
  const because = `${group} thawed: silence counts from now`;
  return stay(move(state, thawedPlace(policy, state, now), common), because);
}

function thawedPlace(policy: Policy, state: State, now: Moment): Place {
  if (state.at === "red") return { ...state, phase: thawedPhase(policy, state.phase, now) };
  if (state.at !== "away" || state.backByMs === null) return state;
  return { ...state, backByMs: Math.max(state.backByMs, now.ms + policy.redSilentMs) };
}
