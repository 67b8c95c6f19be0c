import type { Moment } from "@blueflame/shared/time/clock.ts";
import type { Change } from "../incidents/change.ts";
import { orangeMs, type Policy, yellowMs } from "./policy.ts";

const never = Number.POSITIVE_INFINITY;

/** The hub's escalation of a node. */
export type Level = "GREEN" | "YELLOW" | "ORANGE" | "RED";
/** What people see: GONE left on purpose, UNKNOWN has not been heard since the hub's start. */
export type Presence = "UNKNOWN" | "ALIVE" | "SILENT" | "GONE";

/**
 * One node as the escalation machine knows it. Plain JSON. Times are monotonic milliseconds and mean nothing after a
 * restart of the hub: {@link restored} turns them into new ones.
 */
export type State = Common & Place;

/** Where the node stands; drawn in `machine.ts`. */
export type Place =
  | { readonly at: "green" }
  /** Left on purpose. `backByMs` is set when it said that it comes back: then silence after it is a symptom again. */
  | { readonly at: "away"; readonly backByMs: number | null }
  | { readonly at: "yellow" }
  | { readonly at: "orange" }
  | {
      readonly at: "red";
      readonly phase: Phase;
      /** Failed attempts so far; the backoff grows with it. */
      readonly attempt: number;
      /** What the incident was told last, so that the same news does not make a revision every minute. */
      readonly told: "alive" | "dead" | "refused" | null;
    };

/** What is being done about a RED node. */
export type Phase =
  /** The second path was asked; no answer by `untilMs` is a failed attempt. */
  | { readonly is: "asking"; readonly ask: number; readonly untilMs: number }
  /** The second path says that it lives: nothing is respawned, asked again at `atMs`. */
  | { readonly is: "unreachable"; readonly atMs: number }
  /** Wants a respawn; the budget has not answered. Asked again at `atMs`. */
  | { readonly is: "budgeting"; readonly atMs: number }
  /** A respawn runs; see `flight`. */
  | { readonly is: "respawning" }
  /** It was started; it has until `untilMs` to beat. */
  | { readonly is: "comingBack"; readonly untilMs: number }
  /** Backs off, or waits for the budget, or gives a hello time to become a beat. The second path is next, at `atMs`. */
  | { readonly is: "waiting"; readonly atMs: number }
  /** Nothing can be done from here: no respawn driver. A person was called; asked again at `atMs` where there is a path. */
  | { readonly is: "helpless"; readonly atMs: number | null };

/** What holds wherever the node stands. */
export interface Common {
  /** Silence counts from here: the last beat, or a later moment from which the node may be judged. */
  readonly sinceMs: number;
  /** True when it has beaten since the hub's start. */
  readonly heard: boolean;
  /** True while a session is open. */
  readonly connected: boolean;
  /** It said hello and has until then to beat before anything is begun. Once a silence: it may say hello for ever. */
  readonly helloUntilMs: number | null;
  /** Life of the identity, as its latest session said. */
  readonly incarnation: number;
  /** The groups for which escalation is frozen; empty: none. */
  readonly frozenBy: readonly string[];
  /** The one incident of this node's silence. */
  readonly incident: OpenIncident | null;
  /** The order to restart the agent. */
  readonly order: OrderPart | null;
  /** A respawn that was started and has not ended, wherever the node stands by now. Never two. */
  readonly flight: { readonly attempt: number; readonly untilMs: number } | null;
  /** What of the budget is held. */
  readonly holds: Spending | null;
  /** Counts questions and respawns, so that a late answer is told from the one awaited. */
  readonly count: number;
  /** Chance for the backoff, one draw at a time. */
  readonly seed: number;
}

/** What costs a part of the recovery budget. */
export type Spending = "restart" | "respawn";

/** What the machine remembers of its incident; the rest is in the incident itself. */
export interface OpenIncident {
  readonly id: string;
  readonly stage: "recovering" | "verifying" | "probation";
  /** Null after a restart of the hub: the time to recover is then unknown. */
  readonly detectedMs: number | null;
  /** Beats since the return. */
  readonly beats: number;
  /** End of the probation. */
  readonly untilMs: number;
  readonly relapses: number;
  readonly needsPerson: boolean;
}

/** The order to restart the agent: wanted, then sent on the stream, or kept for the node's return. */
export type OrderPart =
  | { readonly is: "wanted" }
  /** The budget was asked; asked again at `atMs`. `kept` when it is a kept order that wants to go out. */
  | { readonly is: "asking"; readonly atMs: number; readonly kept: Kept | null }
  | Kept
  | { readonly is: "sent"; readonly id: string; readonly untilMs: number };

/** No stream was open. `sendAtMs`: the node said hello; without a beat by then the order goes out. */
export interface Kept {
  readonly is: "kept";
  readonly id: string;
  readonly incarnation: number;
  readonly sendAtMs: number | null;
}

/** What the machine is told. */
export type Event =
  | { readonly is: "beat"; readonly health: Health }
  /** Look again: a deadline may have passed. Early, late and doubled ones are harmless. */
  | { readonly is: "sweep" }
  | { readonly is: "sessionOpened"; readonly incarnation: number }
  | { readonly is: "sessionClosed" }
  /** A clean leave. `comesBack` for an upgrade or a restart of the agent, false for a stop. */
  | { readonly is: "goingAway"; readonly because: string; readonly comesBack: boolean }
  /** The hub itself was late or away: every deadline of judgement moves. */
  | { readonly is: "amnesty"; readonly byMs: number }
  /** Mass silence in a group of this node; see `mass.ts`. Doubled ones are harmless. */
  | { readonly is: "frozen"; readonly group: string }
  | { readonly is: "thawed"; readonly group: string }
  /** `ask` as in the effect; an answer to another question is ignored. */
  | { readonly is: "probeAnswered"; readonly ask: number; readonly alive: boolean; readonly because: string }
  /** `attempt` as in the effect. */
  | { readonly is: "respawnEnded"; readonly attempt: number; readonly ok: boolean; readonly because: string }
  /** The answer to `askBudget`; `againAtMs` is when a refused one may ask again. */
  | { readonly is: "budget"; readonly for: Spending; readonly verdict: Verdict }
  /** The node answered the order, or its life ended otherwise. */
  | { readonly is: "orderEnded"; readonly id: string; readonly ok: boolean; readonly because: string };

/** The budget's answer. */
export type Verdict =
  | { readonly granted: true }
  | { readonly granted: false; readonly because: string; readonly againAtMs: number };

/** The node's view of itself at a beat. */
export type Health = "unspecified" | "healthy" | "degraded" | "failed";

/** What is to be done, in this order, after the state is stored. */
export type Effect =
  | { readonly do: "setLevel"; readonly from: Level; readonly to: Level; readonly because: string }
  /** The three build one incident; see `incidents/incident.ts`. */
  | { readonly do: "openIncident"; readonly id: string; readonly change: Change }
  | { readonly do: "updateIncident"; readonly id: string; readonly change: Change }
  | { readonly do: "closeIncident"; readonly id: string; readonly change: Change }
  /** Ask `actions/budget.ts` and answer with a `budget` event at once. Always the last effect of its step. */
  | { readonly do: "askBudget"; readonly for: Spending }
  | { readonly do: "releaseBudget"; readonly because: string }
  /** Make the order to restart the agent: on the stream now, or kept. See `actions/order.ts`. */
  | {
      readonly do: "order";
      readonly id: string;
      readonly incarnation: number;
      readonly how: "send" | "keep";
      readonly because: string;
    }
  /** A kept order goes out on the stream. */
  | { readonly do: "sendOrder"; readonly id: string; readonly because: string }
  | { readonly do: "voidOrder"; readonly id: string; readonly because: string }
  /** Ask the second path and answer with `probeAnswered`. */
  | { readonly do: "askSecondPath"; readonly ask: number }
  /** Start the respawn driver and answer with `respawnEnded`. */
  | { readonly do: "respawn"; readonly attempt: number; readonly because: string }
  /** Never held back by a freeze, a budget or an approval. */
  | { readonly do: "alert"; readonly kind: "red" | "needs_person"; readonly because: string };

/** A node that the hub has never heard of before. `seed`: any integer, its own for each node. */
export function newNode(seed: number, now: Pick<Moment, "ms">): State {
  return {
    at: "green",
    sinceMs: now.ms,
    heard: false,
    connected: false,
    helloUntilMs: null,
    incarnation: 0,
    frozenBy: [],
    incident: null,
    order: null,
    flight: null,
    holds: null,
    count: 0,
    seed,
  };
}

export function levelOf(state: State): Level {
  if (state.at === "yellow") return "YELLOW";
  if (state.at === "orange") return "ORANGE";
  return state.at === "red" ? "RED" : "GREEN";
}

export function presenceOf(state: State): Presence {
  if (state.at === "away") return "GONE";
  if (state.at !== "green") return "SILENT";
  return state.heard ? "ALIVE" : "UNKNOWN";
}

/** The node in the fleet's words. */
export function fleetStateOf(state: State, health: Health): "Healthy" | "Degraded" | "Failed" | "Unknown" {
  const presence = presenceOf(state);
  if (presence === "GONE" || presence === "UNKNOWN") return "Unknown";
  if (state.at === "red" || health === "failed") return "Failed";
  return state.at === "green" && health !== "degraded" ? "Healthy" : "Degraded";
}

/**
 * True while a beat changes nothing but the time of the last beat. The shell may then keep that time itself, in an array
 * of numbers, and hand it in with {@link heardAt} before the next step: a beat in the steady state costs a comparison.
 */
export function quiet(state: State): boolean {
  return (
    state.at === "green" &&
    state.heard &&
    state.helloUntilMs === null &&
    state.order === null &&
    state.flight === null &&
    state.holds === null &&
    (state.incident === null || state.incident.stage === "probation")
  );
}

/** True when `event` must go through `step`; false when remembering the time of a beat is enough. */
export function needsStep(state: State, event: Event): boolean {
  return event.is !== "beat" || !quiet(state);
}

/** The state with a beat that arrived at `ms` and did not go through `step`. An older one changes nothing. */
export function heardAt(state: State, ms: number): State {
  return ms > state.sinceMs ? { ...state, sinceMs: ms } : state;
}

/**
 * When a `sweep` will have something to do; Infinity: not before something else happens. Up to `deadline` included,
 * nothing is due. For a quiet node whose beats the shell remembers it is `deadline(policy, heardAt(state, lastBeatMs))`.
 */
export function deadline(policy: Policy, state: State): number {
  const flight = state.flight ? state.flight.untilMs : never;
  const order = orderDeadline(state);
  if (state.frozenBy.length === 0) return Math.min(flight, order, placeDeadline(policy, state));
  return Math.min(flight, state.order?.is === "sent" ? order : never, frozenDeadline(policy, state));
}

// A freeze holds what acts. That a node is silent is still seen, or nobody could tell who is missing.
function frozenDeadline(policy: Policy, state: State): number {
  return state.at === "green" ? placeDeadline(policy, state) : never;
}

function placeDeadline(policy: Policy, state: State): number {
  switch (state.at) {
    case "green": {
      const incident = state.incident;
      const ends = incident?.stage === "probation" ? incident.untilMs : never;
      return Math.min(ends, state.sinceMs + yellowMs(policy));
    }
    case "away":
      return state.backByMs ?? never;
    case "yellow":
      return state.sinceMs + orangeMs(policy);
    case "orange":
      return state.sinceMs + policy.redSilentMs;
    case "red":
      return phaseDeadline(state.phase);
  }
}

function phaseDeadline(phase: Phase): number {
  switch (phase.is) {
    case "asking":
    case "comingBack":
      return phase.untilMs;
    case "unreachable":
    case "budgeting":
    case "waiting":
      return phase.atMs;
    case "helpless":
      return phase.atMs ?? never;
    case "respawning":
      return never; // the flight's own
  }
}

function orderDeadline(state: State): number {
  switch (state.order?.is) {
    case "wanted":
      return Number.NEGATIVE_INFINITY; // due at the next look: one decision makes at most one thing with an id
    case "asking":
      return state.order.atMs;
    case "kept":
      return state.order.sendAtMs ?? never;
    case "sent":
      return state.order.untilMs;
    default:
      return never;
  }
}
