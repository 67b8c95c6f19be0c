import type { Moment } from "@blueflame/shared/time/clock.ts";
import { type Policy, yellowMs } from "./policy.ts";
import type { Effect, Health, Kept, OrderPart, State, Verdict } from "./state.ts";
import { move, type Step, stay } from "./step.ts";

/**
 * The order to restart the agent's process, which ORANGE gives.
 *
 *    wanted ── stream open ──▶ asking the budget ── granted ──▶ sent ── ended, or its time is up ──▶ none
 *      │                         ▲       │ refused: asks again
 *      └─ no stream ──▶ kept ────┘       └─ stream gone: kept again, or wanted again
 *                        │   said hello and then no beat in time, or beats and calls itself failed
 *                        └── beats: void (rule 3)
 */
export function orderLook(policy: Policy, state: State, now: Moment): Step | undefined {
  const { order } = state;
  switch (order?.is) {
    case "wanted":
      return place(policy, state, now);
    case "asking":
      if (now.ms <= order.atMs) return undefined;
      if (order.kept && !state.connected) return keepOn(state, order.kept);
      return order.kept ? ask(policy, state, order.kept, now) : place(policy, state, now);
    case "kept":
      if (order.sendAtMs === null || now.ms <= order.sendAtMs) return undefined;
      return state.connected ? ask(policy, state, order, now) : keepOn(state, order);
    default:
      return undefined;
  }
}

function place(policy: Policy, state: State, now: Moment): Step {
  if (state.at !== "orange") return stay({ ...state, order: null }, "no order is wanted any more");
  if (state.connected) return ask(policy, state, null, now);
  // A node that never said hello has no agent that could be told to restart.
  if (state.incarnation === 0) return stay({ ...state, order: null }, "it has never said hello: nobody to order");
  const because = "silent at ORANGE and no stream is open: the order waits for its return";
  const order: Kept = { is: "kept", id: now.id, incarnation: state.incarnation, sendAtMs: null };
  const effects: Effect[] = [
    { do: "order", id: now.id, incarnation: state.incarnation, how: "keep", because },
    ...note(state, "decision", because),
  ];
  return { state: { ...state, order }, effects, because };
}

function ask(policy: Policy, state: State, kept: Kept | null, now: Moment): Step {
  const order: OrderPart = { is: "asking", atMs: now.ms + policy.askAgainMs, kept };
  return {
    state: { ...state, order },
    effects: [{ do: "askBudget", for: "restart" }],
    because: "an order wants to go out",
  };
}

function keepOn(state: State, kept: Kept): Step {
  return stay({ ...state, order: { ...kept, sendAtMs: null } }, "the stream is gone again: the order goes on waiting");
}

/** The budget answered an order that wants to go out. */
export function orderBudget(policy: Policy, state: State, verdict: Verdict, now: Moment): Step {
  const { order } = state;
  const awaited = order?.is === "asking" && state.holds === null && state.connected && state.frozenBy.length === 0;
  if (!awaited) return unwanted(state, verdict);
  if (!verdict.granted) {
    const because = `the budget refuses the restart: ${verdict.because}`;
    return stay({ ...state, order: { ...order, atMs: Math.max(now.ms, verdict.againAtMs) } }, because);
  }
  const untilMs = now.ms + policy.orderValidMs;
  const id = order.kept?.id ?? now.id;
  const because = order.kept
    ? "it is back and not well: the order that waited goes out"
    : "silent at ORANGE with an open stream: the agent is to restart";
  const out: Effect = order.kept
    ? { do: "sendOrder", id, because }
    : { do: "order", id, incarnation: state.incarnation, how: "send", because };
  return {
    state: { ...state, holds: "restart", order: { is: "sent", id, untilMs } },
    effects: [out, ...note(state, "remedy", because)],
    because,
  };
}

/** A grant that nobody waits for any more goes back. */
export function unwanted(state: State, verdict: Verdict): Step {
  const because = "the budget answered what is no longer asked";
  const back = verdict.granted && state.holds === null;
  return { state, effects: back ? [{ do: "releaseBudget", because }] : [], because };
}

/** The order's time is up without an answer. */
export function orderExpired(state: State): Step {
  return endOrder(state, "the order's time is up without an answer");
}

/** The node answered the order, or its life ended otherwise. */
export function orderEnded(state: State, end: { id: string; ok: boolean; because: string }): Step {
  const { order } = state;
  const mine = (order?.is === "sent" || order?.is === "kept") && order.id === end.id;
  if (!mine) return stay(state, "the order that ended is not awaited");
  return endOrder(state, `the order ${end.ok ? "is done" : "was not carried out"}: ${end.because}`);
}

function endOrder(state: State, because: string): Step {
  const release = state.holds === "restart";
  const effects: Effect[] = release ? [{ do: "releaseBudget", because }] : [];
  return {
    state: { ...state, order: null, holds: release ? null : state.holds },
    effects: [...effects, ...note(state, "remedy", because)],
    because,
  };
}

/** What becomes of an order that has not gone out, when the node leaves or lives anew: void. */
export function dropOrder(state: State, because: string): { order: OrderPart | null; effects: Effect[] } {
  const { order } = state;
  if (order?.is === "sent") return { order, effects: [] };
  const kept = order?.is === "asking" ? order.kept : order;
  return { order: null, effects: kept?.is === "kept" ? [{ do: "voidOrder", id: kept.id, because }] : [] };
}

/** What becomes of it at RED: a kept one goes on waiting, one that was only wanted is too late. */
export function shelveOrder(order: OrderPart | null): OrderPart | null {
  if (order?.is === "asking") return order.kept && { ...order.kept, sendAtMs: null };
  return order?.is === "wanted" ? null : order;
}

/**
 * What becomes of it at a beat. Rule 3: an order that waited is void once the node has beaten healthily since. A degraded
 * node heals itself and its agent works, so that counts as well; only one that calls itself failed gets the order.
 */
export function returnOrder(policy: Policy, state: State, health: Health, now: Moment): ReturnType<typeof dropOrder> {
  const { order } = state;
  const kept = order?.is === "asking" ? order.kept : order;
  if (health === "failed" && kept?.is === "kept") {
    if (order?.is === "asking") return { order, effects: [] };
    const asking: OrderPart = { is: "asking", atMs: now.ms + policy.askAgainMs, kept };
    const frozen = state.frozenBy.length > 0;
    if (frozen || !state.connected) return { order: { ...kept, sendAtMs: now.ms }, effects: [] };
    return { order: asking, effects: [{ do: "askBudget", for: "restart" }] };
  }
  return dropOrder(state, "the node has beaten since the order was given");
}

/** The node said hello. That is no beat, but it is worth a moment's patience before anything is done to it. */
export function hello(policy: Policy, state: State, incarnation: number, now: Moment): Step {
  const reborn = incarnation > state.incarnation;
  const dropped = reborn ? dropOrder(state, `it is a new life, ${incarnation}`) : { order: state.order, effects: [] };
  // Granted once a silence: an agent that only ever says hello must not put everything off for ever.
  const helloUntilMs = state.helloUntilMs ?? now.ms + yellowMs(policy);
  const kept = dropped.order?.is === "kept" && dropped.order.sendAtMs === null ? dropped.order : undefined;
  const order = kept ? { ...kept, sendAtMs: helloUntilMs } : dropped.order;
  const common = { connected: true, helloUntilMs, incarnation: Math.max(incarnation, state.incarnation), order };
  const because = reborn ? `hello of life ${incarnation}` : "hello";
  const { effects } = dropped;
  if (state.at === "away") {
    return { state: move(state, { at: "green" }, { ...common, sinceMs: now.ms }), effects, because };
  }
  const begins = state.at === "red" && ["asking", "budgeting", "waiting"].includes(state.phase.is);
  if (!begins || now.ms > helloUntilMs) return { state: { ...state, ...common }, effects, because };
  const phase = { is: "waiting", atMs: helloUntilMs } as const;
  return { state: { ...state, ...common, phase }, effects, because: `${because}: a beat may follow` };
}

/** A line in the timeline of the node's incident, where there is one. */
export function note(state: State, what: string, because: string): Effect[] {
  return state.incident ? [{ do: "updateIncident", id: state.incident.id, change: { what, because } }] : [];
}
