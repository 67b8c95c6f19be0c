import { catalogue, type FaultCode } from "@blueflame/shared/errors/fault.ts";
import { draw, fullJitterMs } from "@blueflame/shared/random/random.ts";
import { bounds, type Policy } from "./policy.ts";
import { addressOf, type Effect, report, type State, type Trouble } from "./state.ts";

/** The stream is over, or never came about: close what is left of it and wait for the next try. */
export function lose(
  policy: Policy,
  state: State,
  failed: { readonly code: FaultCode; readonly saw: string; readonly guess?: true },
  nowMs: number,
  effects: Effect[],
): State {
  effects.push({ do: "close" });
  if (state.phase.at === "leaving") return { ...state, phase: { at: "left" } };
  const believed = failed.guess === undefined || state.guess === failed.code;
  const trouble: Trouble = { code: believed ? failed.code : "HUB_UNREACHABLE", saw: failed.saw };
  const address = addressOf(policy, state);
  const wasOpen = state.phase.at === "connected";
  effects.push(report(policy, state, "connecting", trouble, "", wasOpen || state.faults[address] !== trouble.code));
  const hopeless = catalogue[trouble.code].retry === "never";
  const next = retry(policy, state, nowMs, hopeless, 0);
  return {
    ...next,
    because: wasOpen ? "lost" : state.because,
    faults: { ...state.faults, [address]: trouble.code },
    guess: failed.guess === undefined ? undefined : failed.code,
  };
}

/** The hub sends us away: it stops, is too busy, or has a newer session of this identity. */
export function move(
  policy: Policy,
  state: State,
  event: { readonly withinMs: number; readonly because: string },
  nowMs: number,
  effects: Effect[],
): State {
  effects.push({ do: "close" });
  const withinMs = Math.min(event.withinMs, bounds.comeBackMs);
  const code = movedBecause[event.because];
  const said = `the hub sent us away (${event.because}) and asked to come back within ${withinMs / 1000} s`;
  const trouble = code ? { code, saw: said } : undefined;
  const address = addressOf(policy, state);
  const known = code ? state.faults[address] === code : state.because === "moved";
  const news = state.phase.at === "connected" || !known;
  effects.push(report(policy, state, "connecting", trouble, said, news));
  // The hub knows best when to come back, so an outage before does not stretch its word; a hub that sends us away time and
  // again is still not asked faster than every few seconds.
  const patient = code ? state : { ...state, failures: Math.min(state.failures, 3 * policy.addresses.length) };
  const next = retry(policy, patient, nowMs, false, withinMs);
  return { ...next, because: "moved", faults: code ? { ...state.faults, [address]: code } : state.faults };
}

/** The store has opened late: a session whose Hello could not tell of it ends, and the next one begins at once, at the same hub. */
export function greetAnew(policy: Policy, state: State, nowMs: number, effects: Effect[]): State {
  if (state.phase.at !== "greeting" && state.phase.at !== "connected") return state;
  const because = state.phase.at === "connected" ? "lost" : state.because;
  effects.push({ do: "close" });
  effects.push(report(policy, state, "connecting", undefined, "the store has opened: the session begins anew", true));
  return { ...state, phase: { at: "offline", retryAtMs: nowMs }, because };
}

/** Move's words that mean a fault of ours. */
const movedBecause: Readonly<Record<string, FaultCode>> = { newer_session: "NODE_ID_TAKEN", revoked: "CERT_REFUSED" };

/** A wait between tries is at most this many intervals: one less than what the hub's ORANGE takes. */
const beatsAway = 2;

/** The next address, after a wait that is drawn: over what the hub asked for, else over the backoff. */
function retry(policy: Policy, state: State, nowMs: number, hopeless: boolean, withinMs: number): State {
  const lasted = state.phase.at === "connected" && nowMs - state.phase.sinceMs >= policy.lastedMs;
  const failures = lasted ? 0 : state.failures;
  const drawn = draw(state.seed);
  // All addresses are tried before the wait grows.
  const round = Math.floor(failures / policy.addresses.length);
  // A hub that was away blames silence by the interval: who waited longer than that for its return would be called lost.
  const hopefulMs = Math.min(policy.capMs, Math.max(policy.baseMs, beatsAway * state.intervalMs));
  const backoffMs = fullJitterMs(
    drawn.value,
    hopeless ? 40 : round,
    policy.baseMs,
    hopeless ? policy.slowCapMs : hopefulMs,
  );
  const waitMs = Math.max(drawn.value * withinMs, lasted && withinMs > 0 ? 0 : backoffMs);
  return {
    ...state,
    phase: { at: "offline", retryAtMs: nowMs + waitMs },
    seed: drawn.seed,
    failures: failures + 1,
    address: (state.address + 1) % policy.addresses.length,
  };
}

/** The agent leaves: says so where there is somebody to hear it. */
export function stop(
  policy: Policy,
  state: State,
  event: { readonly because: string; readonly workloadsContinue: boolean },
  nowMs: number,
  effects: Effect[],
): State {
  if (state.phase.at === "leaving") return state;
  effects.push(report(policy, state, "none", undefined, `the agent leaves: ${event.because}`, true));
  // A hub that has our Hello may have opened the session already, and would take the silence for a symptom.
  if (state.phase.at !== "connected" && state.phase.at !== "greeting") {
    if (state.phase.at !== "offline") effects.push({ do: "close" });
    return { ...state, phase: { at: "left" } };
  }
  effects.push({ do: "goingAway", because: event.because, workloadsContinue: event.workloadsContinue });
  return { ...state, phase: { at: "leaving", untilMs: nowMs + policy.leaveWithinMs } };
}
