/** The ends of the machine's decisions: starts with their budget, ends, and the words of a step. Pure, a part of `machine.ts`. */
import type { GuardPolicy } from "./policy.ts";
import type { Effect, Farewell, Identity, Now, Phase, State, Step } from "./state.ts";

/** A process that survives SIGKILL waits in the kernel: looked at ever more rarely, and told. */
export const endPoll = { firstMs: 20, lastMs: 1000, toldAfter: 10 };

/** Everything that was counted, as it is at the beginning. */
export const forgiven = { restarts: 0, failedStarts: 0, emergencyDone: false, program: "current" } as const;

/** Nobody is wanted: who stays waits for the next one, who does not is done. */
export function rest(policy: GuardPolicy, state: State, farewell: Farewell, because: string): Step {
  const { word: _word, ...rested } = state;
  if (policy.stays) return to(rested, { at: "resting", because: farewell }, because);
  return to(rested, { at: "left" }, because, { do: "leave" });
}

export function spawn(policy: GuardPolicy, state: State, because: string, now: Now): Step {
  const program = programOf(policy, state);
  const { other: _other, word: _word, ...alone } = state;
  return to(alone, { at: "starting", untilMs: now.ms + policy.startMs }, because, {
    do: "spawn",
    program,
  });
}

/** Damaged, or not damaged and yet not able to start: the good copy takes over until all is well. */
export function programOf(policy: GuardPolicy, { program, failedStarts }: State): "current" | "good" {
  return failedStarts >= policy.goodAfter ? "good" : program;
}

export function end(state: State, process: Identity, neverLived: boolean, because: string, now: Now): Step {
  const phase: Phase = {
    at: "ending",
    process,
    lookAtMs: now.ms + endPoll.firstMs,
    rounds: 0,
    failed: neverLived,
    because,
  };
  return to(state, phase, because, { do: "signal", process, signal: "SIGKILL" });
}

/** A person's newest word is that one runs: with everything forgiven, for that word may be the answer to what was wrong. */
export function run(policy: GuardPolicy, state: State, because: string, now: Now): Step {
  const { state: next, effects } = spawn(policy, { ...state, ...forgiven }, because, now);
  // Again, and not only when it was said: the one that has left meanwhile may have written down why.
  return { state: next, effects: [{ do: "clearWord" }, ...effects] };
}

/** A start came to nothing: perhaps the program is not what it was. */
export function failed(policy: GuardPolicy, state: State, because: string, now: Now): Step {
  if (state.word) return rest(policy, state, "down", `${because}; and a person wants nobody to run`);
  const { state: next, effects } = retry(policy, { ...state, failedStarts: state.failedStarts + 1 }, because, now);
  return { state: next, effects: state.program === "current" ? [{ do: "examine" }, ...effects] : effects };
}

/** Plans the next start: at once, after a backoff, after the cooldown, or slowly for ever. */
export function retry(policy: GuardPolicy, state: State, because: string, now: Now): Step {
  if (state.emergencyDone) {
    const waitMs = policy.slowRetryMs / 2 + (now.chance * policy.slowRetryMs) / 2;
    const phase: Phase = { at: "waiting", untilMs: now.ms + waitMs, slow: true, tendAtMs: now.ms };
    return to(state, phase, `${because}; slow retry in ${Math.round(waitMs)} ms, a person is needed`);
  }
  if (state.restarts >= policy.restartsMax) {
    const phase: Phase = { at: "cooldown", untilMs: now.ms + policy.cooldownMs, tendAtMs: now.ms };
    return to(state, phase, `${because}; ${state.restarts} restarts did not last, cooldown`);
  }
  const { baseMs, capMs } = policy.backoff;
  const jitterMs = state.restarts === 0 ? 0 : now.chance * Math.min(capMs, baseMs * 2 ** (state.restarts - 1));
  const next: State = { ...state, restarts: state.restarts + 1 };
  const waitMs = Math.max(policy.firstWaitMs, jitterMs);
  if (waitMs === 0) return spawn(policy, next, `${because}; restart 1, at once`, now);
  const words = `${because}; restart ${next.restarts} of ${policy.restartsMax} in ${Math.round(waitMs)} ms`;
  return to(next, waiting(now.ms + waitMs), words);
}

export function waiting(untilMs: number): Phase {
  return { at: "waiting", untilMs, slow: false, tendAtMs: Number.POSITIVE_INFINITY };
}

export function to(state: State, phase: Phase, because: string, ...effects: Effect[]): Step {
  return { state: { ...state, phase }, effects: [note(state.phase.at, phase.at, because), ...effects] };
}

export function stay(state: State, ...effects: Effect[]): Step {
  return { state, effects };
}

export function note(from: string, to: string, because: string): Effect {
  return { do: "note", from, to, because };
}
