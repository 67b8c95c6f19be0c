import { unreachable } from "@blueflame/shared/errors/fault.ts";
import * as outbox from "./backlog.ts";
import { accept, judge } from "./order.ts";
import { bounds, type Policy } from "./policy.ts";
import {
  type Connected,
  type Effect,
  type Event,
  type InSession,
  report,
  type State,
  type Trouble,
  type Welcome,
} from "./state.ts";

/** Does what is due in an open session: the heartbeat first, then the status, then one chunk of the backlog. */
export function settleConnected(policy: Policy, state: State, was: Connected, nowMs: number, effects: Effect[]) {
  let phase = was;
  if (nowMs >= phase.nextBeatMs) {
    effects.push({ do: "heartbeat", count: phase.beats + 1, worstLagMs: Math.round(phase.lagMs) });
    // On the beat while we are in time; after a stall from now on, without a burst of what was missed.
    const onTime = phase.nextBeatMs + phase.intervalMs;
    const nextBeatMs = onTime > nowMs ? onTime : nowMs + phase.intervalMs;
    phase = { ...phase, beats: phase.beats + 1, lagMs: 0, nextBeatMs };
  }
  if (phase.statusDue && nowMs >= phase.statusFromMs) {
    effects.push({ do: "status" });
    phase = { ...phase, statusDue: false, statusFromMs: nowMs + policy.statusEveryMs };
  }
  if (phase.readAgainMs !== undefined && nowMs >= phase.readAgainMs) phase = { ...phase, readAgainMs: undefined };
  if (phase.ackByMs !== undefined && nowMs >= phase.ackByMs) {
    const saw = `the hub has acknowledged nothing for ${policy.ackWithinMs / 1000} s`;
    phase = { ...phase, ackByMs: undefined };
    phase = troubled(policy, state, phase, { code: "TIMED_OUT", saw }, effects);
  }
  if (phase.readAgainMs === undefined) {
    const { backlog, fetch } = outbox.pump(phase.backlog, policy.chunkRecords);
    phase = { ...phase, backlog };
    if (fetch) effects.push({ do: "records", ...fetch, maxBytes: policy.chunkBytes });
  }
  return { phase };
}

export function inSession(
  policy: Policy,
  state: State,
  phase: Connected,
  event: InSession,
  nowMs: number,
  effects: Effect[],
) {
  const keep = (next: Partial<Connected>): State => ({ ...state, phase: { ...phase, ...next } });
  switch (event.is) {
    case "statusChanged":
      return keep({ statusDue: true });
    case "appended":
      return keep({ backlog: outbox.appended(phase.backlog) });
    case "written":
      return keep({ backlog: outbox.written(phase.backlog) });
    case "unread":
      return keep({ backlog: outbox.unread(phase.backlog), readAgainMs: nowMs + policy.rereadMs });
    case "sent": {
      const backlog = outbox.sent(phase.backlog, event);
      const waits = phase.ackByMs === undefined && backlog.flight.length > 0 && phase.trouble === undefined;
      const sentEver = event.count > 0 && event.through > state.sentEver ? event.through : state.sentEver;
      // Paced: a fleet that comes back with a week behind it must not be a storm.
      const readAgainMs = event.count > 0 ? nowMs + (event.count * 1000) / phase.recordsPerSecond : phase.readAgainMs;
      return {
        ...keep({ backlog, readAgainMs, ackByMs: waits ? nowMs + policy.ackWithinMs : phase.ackByMs }),
        sentEver,
      };
    }
    case "ack":
      return acknowledge(policy, state, phase, event, nowMs, effects);
    default:
      return unreachable(event);
  }
}

function acknowledge(
  policy: Policy,
  state: State,
  phase: Connected,
  ack: { readonly through: bigint; readonly lastSeq: bigint },
  nowMs: number,
  effects: Effect[],
): State {
  if (ack.through > ack.lastSeq) {
    const saw = `the hub acknowledged record ${ack.through}, but there are only ${ack.lastSeq}`;
    return { ...state, phase: troubled(policy, state, phase, { code: "LINK_PROTOCOL", saw }, effects) };
  }
  // Nothing is forgotten that this process did not send: at worst it is sent again, and the hub knows it by its seq.
  const through = ack.through > state.sentEver ? state.sentEver : ack.through;
  if (phase.backlog.held || through <= phase.backlog.acked) return state;
  effects.push({ do: "acknowledge", through });
  const backlog = outbox.acked(phase.backlog, through);
  const ackByMs = backlog.flight.length > 0 ? nowMs + policy.ackWithinMs : undefined;
  const mended = phase.trouble?.code === "TIMED_OUT" ? troubled(policy, state, phase, undefined, effects) : phase;
  return { ...state, phase: { ...mended, backlog, ackByMs } };
}

/** The session opens. */
export function greet(policy: Policy, state: State, welcome: Welcome, nowMs: number, effects: Effect[]): State {
  const epoch = welcome.epoch > state.hubEpoch ? welcome.epoch : state.hubEpoch;
  if (epoch > state.hubEpoch) effects.push({ do: "setHubEpoch", epoch });
  // The hub holds more of this store than the store itself: an older copy was put back under the same generation. What we
  // number now, the hub would take for what it has and drop; so it stays here until the store has begun a new life.
  const fewer = welcome.durable > welcome.lastSeq;
  const restored = fewer || welcome.behind;
  const trouble: Trouble | undefined = restored
    ? {
        code: "STORE_RESTORED",
        saw: fewer
          ? `the hub has records up to ${welcome.durable} of this store, the store itself only up to ${welcome.lastSeq}`
          : "the hub remembers a later state of this store",
      }
    : undefined;
  if (trouble) effects.push({ do: "storeRolledBack", because: trouble.saw });
  if (!restored && welcome.durable > 0n) effects.push({ do: "acknowledge", through: welcome.durable });
  const asked = welcome.intervalMs > 0 ? welcome.intervalMs : policy.firstIntervalMs;
  const intervalMs = Math.min(Math.max(asked, bounds.intervalMs.min), bounds.intervalMs.max);
  const window = welcome.window > 0 ? Math.min(welcome.window, bounds.window.max) : bounds.window.otherwise;
  const phase: Connected = {
    at: "connected",
    sinceMs: nowMs,
    intervalMs,
    nextBeatMs: nowMs,
    beats: 0,
    lagMs: 0,
    statusDue: true,
    statusFromMs: nowMs,
    backlog: outbox.openBacklog(window, restored ? welcome.lastSeq : welcome.durable, restored),
    readAgainMs: undefined,
    recordsPerSecond: Math.min(policy.recordsPerSecond, welcome.recordsPerSecond || policy.recordsPerSecond),
    ackByMs: undefined,
    trouble,
  };
  effects.push(report(policy, state, "connected", trouble, trouble?.saw ?? "the hub said Welcome", true));
  const sentEver = !restored && welcome.durable > state.sentEver ? welcome.durable : state.sentEver;
  return { ...state, phase, because: "lost", hubEpoch: epoch, intervalMs, sentEver, faults: {}, guess: undefined };
}

/** Takes or refuses an order. */
export function order(policy: Policy, state: State, event: Extract<Event, { is: "order" }>, effects: Effect[]): State {
  const accepted = accept(event.order, event.bootMs);
  const refusal = judge(accepted, { incarnation: policy.incarnation, hubEpoch: state.hubEpoch }, event.bootMs);
  if (refusal) {
    effects.push({ do: "refuse", order: event.order, because: refusal });
    return state;
  }
  if (event.order.hubEpoch > state.hubEpoch) effects.push({ do: "setHubEpoch", epoch: event.order.hubEpoch });
  effects.push({ do: "execute", accepted });
  return { ...state, hubEpoch: event.order.hubEpoch };
}

/** Sets a session's trouble and says so once. */
function troubled(
  policy: Policy,
  state: State,
  phase: Connected,
  next: Trouble | undefined,
  effects: Effect[],
): Connected {
  if (phase.trouble?.code === next?.code) return phase;
  effects.push(report(policy, state, "connected", next, next?.saw ?? "the hub acknowledges again", true));
  return { ...phase, trouble: next };
}
