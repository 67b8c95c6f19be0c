import { unreachable } from "@blueflame/shared/errors/fault.ts";
import { draw, fullJitterMs } from "@blueflame/shared/random/random.ts";
import type { Moment } from "@blueflame/shared/time/clock.ts";
import type { Change } from "../incidents/change.ts";
import { note, shelveOrder, unwanted } from "./ordering.ts";
import { type Policy, seconds } from "./policy.ts";
import type { Common, Effect, Phase, State, Verdict } from "./state.ts";
import { levelChange, move, type Step, stay } from "./step.ts";

type Refusal = Extract<Verdict, { granted: false }>;

/**
 * What is done about a RED node. A beat ends it from anywhere (recovery.ts).
 *
 *    alert ──▶ asking ── alive ──▶ unreachable ── askAgainMs ──▶ asking
 *              ▲   │ dead
 *              │   ├─ no driver ──▶ helpless: a person was called ── askAgainMs, if there is a path ──▶ asking
 *              │   ▼
 *              │  budgeting ── granted ──▶ respawning ── started ──▶ comingBack
 *              │   │ refused: when to ask again      │ failed             │ no beat in time
 *              │   ▼                                 ▼                    │
 *              └─ waiting ◀── full jitter, capped; after three a person ──┘
 *
 * It never gives up: what failed is tried again, slower, until a beat. Without a second path it starts at budgeting.
 */
export type Red = Extract<State, { at: "red" }>;

/** The silence passed the limit: alert first, whatever becomes of the rest. */
export function turnRed(policy: Policy, state: State, now: Moment): Step {
  const because = `silent for longer than ${seconds(policy.redSilentMs)}`;
  const release = state.holds === "restart";
  const red: Red = {
    ...move(state, redPlace, { order: shelveOrder(state.order), holds: release ? null : state.holds }),
    ...redPlace,
  };
  const begun = begin(policy, red, now);
  const told = tell(begun.state, {
    what: "decision",
    because: `${because}; ${begun.because}`,
    stage: "recovering",
    severity: "high",
    summary: "the node is silent beyond the limit",
  });
  const effects: Effect[] = levelChange(state, red, because);
  if (release) effects.push({ do: "releaseBudget", because });
  effects.push({ do: "alert", kind: "red", because: `${because}; ${begun.because}` }, ...told, ...begun.effects);
  return { state: begun.state, effects, because: `${because}; ${begun.because}` };
}

const redPlace: Omit<Red, keyof Common> = {
  at: "red",
  phase: { is: "respawning" },
  attempt: 0,
  told: null,
};

// The next attempt: the second path first, then the budget, then the driver.
function begin(policy: Policy, red: Red, now: Moment): Step & { state: Red } {
  if (red.flight) return { ...stayRed(red, { is: "respawning" }), because: "an earlier respawn still runs" };
  if (red.helloUntilMs !== null && now.ms <= red.helloUntilMs) {
    return { ...stayRed(red, { is: "waiting", atMs: red.helloUntilMs }), because: "it said hello: a beat may follow" };
  }
  if (policy.secondPath) return ask(policy, red, now);
  if (policy.respawn) return wantBudget(policy, red, "no second path is configured", now);
  return helpless(red, null, "neither a second path nor a respawn driver is configured: a person is needed");
}

function ask(policy: Policy, red: Red, now: Moment): Step & { state: Red } {
  const count = red.count + 1;
  const phase: Phase = { is: "asking", ask: count, untilMs: now.ms + policy.askLimitMs };
  return {
    state: { ...red, count, phase },
    effects: [{ do: "askSecondPath", ask: count }],
    because: "the second path is asked first",
  };
}

function wantBudget(policy: Policy, red: Red, because: string, now: Moment): Step & { state: Red } {
  const phase: Phase = { is: "budgeting", atMs: now.ms + policy.askAgainMs };
  return { state: { ...red, phase }, effects: [{ do: "askBudget", for: "respawn" }], because };
}

function helpless(red: Red, atMs: number | null, because: string): Step & { state: Red } {
  const incident = red.incident && { ...red.incident, needsPerson: true };
  const state: Red = { ...red, phase: { is: "helpless", atMs }, told: "dead", incident };
  const news = red.told === "dead" ? [] : tell(red, { what: "decision", because, needsPerson: true });
  return { state, effects: news, because };
}

/** Something of the phase is due. */
export function phaseLook(policy: Policy, red: Red, now: Moment): Step {
  const { phase } = red;
  switch (phase.is) {
    case "asking":
      return failed(policy, red, "the second path gave no answer in time", now);
    case "comingBack":
      return failed(policy, red, `it was started and has not beaten within ${seconds(policy.comeBackMs)}`, now);
    case "unreachable":
    case "waiting":
    case "budgeting":
    case "helpless":
      return begin(policy, red, now);
    case "respawning":
      // The flight's deadline is looked at before; without a flight the end was lost.
      return red.flight ? stay(red, "the respawn runs") : failed(policy, red, "the respawn's end is unknown", now);
    default:
      return unreachable(phase);
  }
}

/** The second path answered. */
export function probeAnswered(
  policy: Policy,
  state: State,
  answer: { ask: number; alive: boolean; because: string },
  now: Moment,
): Step {
  const awaited = state.at === "red" && state.phase.is === "asking" && state.phase.ask === answer.ask;
  if (!awaited) return stay(state, "the answer of the second path is not awaited");
  return answer.alive ? unreachableAlive(policy, state, answer.because, now) : dead(policy, state, answer.because, now);
}

function unreachableAlive(policy: Policy, red: Red, why: string, now: Moment): Step {
  const because = `unreachable but alive: ${why}`;
  const next: Red = { ...red, phase: { is: "unreachable", atMs: now.ms + policy.askAgainMs }, told: "alive" };
  const news = red.told === "alive" ? [] : tell(red, { what: "diagnosis", because, summary: because });
  return { state: next, effects: news, because };
}

function dead(policy: Policy, red: Red, why: string, now: Moment): Step {
  const because = `dead by the second path: ${why}`;
  // Held: the thaw sets the time of the next attempt.
  if (red.frozenBy.length > 0) return stay({ ...red, phase: { is: "waiting", atMs: now.ms } }, because);
  if (!policy.respawn) {
    return helpless(red, now.ms + policy.askAgainMs, `${because}; no respawn driver is configured: a person is needed`);
  }
  const wanted = wantBudget(policy, red, because, now);
  const news = red.told === "dead" ? [] : tell(red, { what: "diagnosis", because });
  return { state: { ...wanted.state, told: "dead" }, effects: [...news, ...wanted.effects], because };
}

/** The budget answered a wanted resurrection. */
export function respawnBudget(policy: Policy, state: State, verdict: Verdict, now: Moment): Step {
  const free = state.holds === null && state.flight === null && state.frozenBy.length === 0;
  if (!(state.at === "red" && state.phase.is === "budgeting" && free)) return unwanted(state, verdict);
  if (!verdict.granted) return refused(policy, state, verdict, now);
  const count = state.count + 1;
  const because = `resurrection, attempt ${state.attempt + 1}`;
  const next: Red = {
    ...state,
    count,
    holds: "respawn",
    flight: { attempt: count, untilMs: now.ms + policy.respawnLimitMs },
    phase: { is: "respawning" },
  };
  return {
    state: next,
    effects: [...note(state, "remedy", because), { do: "respawn", attempt: count, because }],
    because,
  };
}

// A short refusal paces; a long one is a standstill, and a person may raise the budget or act.
function refused(policy: Policy, red: Red, verdict: Refusal, now: Moment): Step {
  const waitMs = Math.max(0, verdict.againAtMs - now.ms);
  const because = `the budget refuses the respawn: ${verdict.because}; asked again in ${seconds(waitMs)}`;
  const call = waitMs > policy.retryCapMs && red.incident?.needsPerson === false;
  const next: Red = {
    ...red,
    phase: { is: "waiting", atMs: now.ms + waitMs },
    told: "refused",
    incident: call && red.incident ? { ...red.incident, needsPerson: true } : red.incident,
  };
  const news = call || red.told !== "refused";
  const effects = news ? tell(red, { what: "decision", because, ...(call && { needsPerson: true }) }) : [];
  if (call) effects.push({ do: "alert", kind: "needs_person", because });
  return { state: next, effects, because };
}

/** The respawn driver ended. */
export function respawnEnded(
  policy: Policy,
  state: State,
  end: { attempt: number; ok: boolean; because: string },
  now: Moment,
): Step {
  if (state.flight?.attempt !== end.attempt) return stay(state, "the respawn that ended is not awaited");
  return landed(policy, state, end.ok, end.because, now);
}

/** The respawn has not ended in time: whatever it did, it is not waited for. */
export function flightLost(policy: Policy, state: State, now: Moment): Step {
  return landed(policy, state, false, `no end within ${seconds(policy.respawnLimitMs)}`, now);
}

function landed(policy: Policy, state: State, ok: boolean, why: string, now: Moment): Step {
  const free: State = { ...state, flight: null };
  if (free.at !== "red" || free.phase.is !== "respawning") {
    const because = `the respawn ended (${why}), and the node is back by itself`;
    const release = free.holds === "respawn";
    return {
      state: release ? { ...free, holds: null } : free,
      effects: release ? [{ do: "releaseBudget", because }] : [],
      because,
    };
  }
  if (!ok) return failed(policy, free, `the respawn failed: ${why}`, now);
  const because = `it was started: ${why}; it has ${seconds(policy.comeBackMs)} to beat`;
  const phase: Phase = { is: "comingBack", untilMs: now.ms + policy.comeBackMs };
  return { state: { ...free, phase }, effects: note(free, "remedy", because), because };
}

function failed(policy: Policy, red: Red, why: string, now: Moment): Step {
  const chance = draw(red.seed);
  const waitMs = fullJitterMs(chance.value, red.attempt, policy.retryBaseMs, policy.retryCapMs);
  const attempt = red.attempt + 1;
  const because = `attempt ${attempt}: ${why}; tried again in ${seconds(waitMs)}`;
  const call = attempt >= policy.personAfter && red.incident?.needsPerson === false;
  const incident = call && red.incident ? { ...red.incident, needsPerson: true } : red.incident;
  const next: Red = {
    ...red,
    attempt,
    incident,
    seed: chance.seed,
    phase: { is: "waiting", atMs: now.ms + waitMs },
    holds: red.holds === "respawn" ? null : red.holds,
    told: null,
  };
  const effects: Effect[] = red.holds === "respawn" ? [{ do: "releaseBudget", because }] : [];
  effects.push(...tell(red, { what: "remedy", because, ...(call && { needsPerson: true }) }));
  if (call)
    effects.push({ do: "alert", kind: "needs_person", because: `${attempt} attempts failed, the last: ${why}` });
  return { state: next, effects, because };
}

/** What a phase becomes at a thaw: its time starts anew. */
export function thawedPhase(policy: Policy, phase: Phase, now: Moment): Phase {
  switch (phase.is) {
    case "respawning":
    case "asking": // its answer is on the way
      return phase;
    case "comingBack":
      return { is: "comingBack", untilMs: Math.max(phase.untilMs, now.ms + policy.redSilentMs) };
    case "helpless":
      return phase.atMs === null ? phase : { is: "helpless", atMs: now.ms + policy.redSilentMs };
    default:
      return { is: "waiting", atMs: now.ms + policy.redSilentMs };
  }
}

function stayRed(red: Red, phase: Phase): { state: Red; effects: Effect[] } {
  return { state: { ...red, phase }, effects: [] };
}

function tell(red: Red, change: Change): Effect[] {
  return red.incident ? [{ do: "updateIncident", id: red.incident.id, change }] : [];
}
