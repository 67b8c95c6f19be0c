import { unreachable } from "@blueflame/shared/errors/fault.ts";
import { draw, fullJitterMs } from "@blueflame/shared/random/random.ts";
import { greet, inSession, order, settleConnected } from "./connected.ts";
import { greetAnew, lose, move, stop } from "./departures.ts";
import type { Policy } from "./policy.ts";
import { addressOf, type Effect, type Event, type State, type Step } from "./state.ts";

/** The first state; its step with a `wake` asks for the first wake. */
export function start(policy: Policy, seed: number, hubEpoch: bigint, nowMs: number): State {
  const drawn = draw(seed);
  return {
    phase: { at: "offline", retryAtMs: nowMs + fullJitterMs(drawn.value, 0, policy.baseMs, policy.capMs) },
    seed: drawn.seed,
    failures: 0,
    address: 0,
    because: policy.restarted ? "agent_restart" : "first",
    hubEpoch,
    intervalMs: policy.firstIntervalMs,
    sentEver: 0n,
    faults: {},
    guess: undefined,
    wakeAtMs: undefined,
  };
}

/**
 * One agent's end of the link. Pure: time, chance (a seed in the state) and everything that happens come in as arguments.
 *
 *                 retryAt                opened                 welcome
 *   ┌─▶ offline ───────────▶ connecting ──────────▶ greeting ───────────────▶ connected
 *   │      ▲                     │ failed, 10 s         │ failed, move, 10 s       │ failed, move
 *   │      └─────────────────────┴──────────────────────┴──────────────────────────┘
 *   │        next address, wait drawn from [0, min(cap, base·2^failures)), or what the hub asked for
 *   └ start: the first try is drawn too, so that a fleet that gets power together does not connect together
 *
 *   storeOpened: greeting, connected ──▶ offline, and at once connecting: what the hub has heard of the store was not known then
 *
 *   stopped: offline, connecting ───▶ left
 *            greeting, connected ──GoingAway──▶ leaving ──failed, 2 s──▶ left
 *
 * Deadlines are state, wakes are hints: every event first settles what is due. A deadline that judges the hub moves by the
 * time our own tick was late. While connected: the first Heartbeat and Status go before the first record.
 */
export function step(policy: Policy, state: State, event: Event, nowMs: number): Step {
  const effects: Effect[] = [];
  // What is due in the old session is not sent any more: a heartbeat would tell of the store before the new Hello does.
  const anew = event.is === "storeOpened";
  const woken = anew ? state : settle(policy, late(policy, state, nowMs), nowMs, effects);
  const decided = settle(policy, decide(policy, woken, event, nowMs, effects), nowMs, effects);
  const wakeAtMs = nextWakeMs(decided);
  if (wakeAtMs !== undefined && wakeAtMs !== state.wakeAtMs) effects.push({ do: "wakeAt", atMs: wakeAtMs });
  return { state: { ...decided, wakeAtMs }, effects };
}

/** When the state has to be looked at again. */
export function nextWakeMs(state: State): number | undefined {
  const { phase } = state;
  switch (phase.at) {
    case "offline":
      return phase.retryAtMs;
    case "connecting":
    case "greeting":
    case "leaving":
      return phase.untilMs;
    case "connected": {
      const due = [phase.nextBeatMs];
      if (phase.statusDue) due.push(phase.statusFromMs);
      if (phase.readAgainMs !== undefined) due.push(phase.readAgainMs);
      if (phase.ackByMs !== undefined) due.push(phase.ackByMs);
      return Math.min(...due);
    }
    case "left":
      return undefined;
    default:
      return unreachable(phase);
  }
}

/** Doubt ourselves first: what the hub sent while we were away has not been read yet, so it gets that time on top. */
function late(policy: Policy, state: State, nowMs: number): State {
  const lagMs = state.wakeAtMs === undefined ? 0 : nowMs - state.wakeAtMs;
  if (lagMs <= 0) return state;
  const { phase } = state;
  if (phase.at === "connected") {
    const ackByMs = phase.ackByMs !== undefined && lagMs > policy.awayMs ? phase.ackByMs + lagMs : phase.ackByMs;
    return { ...state, phase: { ...phase, lagMs: Math.max(phase.lagMs, lagMs), ackByMs } };
  }
  if (phase.at === "offline" || phase.at === "left" || lagMs <= policy.awayMs) return state;
  // `wakeAtMs` moves with it: the same lateness counts once.
  return { ...state, wakeAtMs: undefined, phase: { ...phase, untilMs: phase.untilMs + lagMs + policy.awayMs } };
}

/** Does what is due. */
function settle(policy: Policy, state: State, nowMs: number, effects: Effect[]): State {
  const { phase } = state;
  switch (phase.at) {
    case "offline": {
      if (nowMs < phase.retryAtMs) return state;
      effects.push({ do: "connect", address: addressOf(policy, state) });
      return { ...state, phase: { at: "connecting", untilMs: nowMs + policy.openWithinMs } };
    }
    case "connecting":
    case "greeting": {
      if (nowMs < phase.untilMs) return state;
      const saw =
        phase.at === "connecting"
          ? `no connection within ${policy.openWithinMs / 1000} s`
          : `connected, but no Welcome within ${policy.welcomeWithinMs / 1000} s`;
      return lose(policy, state, { code: "HUB_UNREACHABLE", saw }, nowMs, effects);
    }
    case "leaving": {
      if (nowMs < phase.untilMs) return state;
      effects.push({ do: "close" });
      return { ...state, phase: { at: "left" } };
    }
    case "connected":
      return { ...state, ...settleConnected(policy, state, phase, nowMs, effects) };
    case "left":
      return state;
    default:
      return unreachable(phase);
  }
}

function decide(policy: Policy, state: State, event: Event, nowMs: number, effects: Effect[]): State {
  const { phase } = state;
  if (phase.at === "left") return state;
  switch (event.is) {
    case "wake":
      return state;
    case "stopped":
      return stop(policy, state, event, nowMs, effects);
    case "storeOpened":
      return greetAnew(policy, state, nowMs, effects);
    case "failed":
      if (phase.at === "offline") return state;
      return lose(policy, state, event, nowMs, effects);
    case "opened":
      if (phase.at !== "connecting") return state;
      effects.push({ do: "hello", because: state.because, lastHubEpoch: state.hubEpoch });
      return { ...state, phase: { at: "greeting", untilMs: nowMs + policy.welcomeWithinMs } };
    case "welcome":
      if (phase.at !== "greeting") return state;
      return greet(policy, state, event.welcome, nowMs, effects);
    case "move":
      if (phase.at !== "greeting" && phase.at !== "connected") return state;
      return move(policy, state, event, nowMs, effects);
    case "order":
      return phase.at === "connected" ? order(policy, state, event, effects) : state;
    default:
      return phase.at === "connected" ? inSession(policy, state, phase, event, nowMs, effects) : state;
  }
}
