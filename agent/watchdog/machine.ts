/**
 * The decision of one process that guards another, pure: what happened goes in, the next state and what to do come out.
 *
 * Deadlines lie in the state, and a wake is only a hint to compare them: early, late and doubled wakes are harmless. Nobody is
 * ended on silence alone: silence leads to a look, and the look tells hung from stopped, from dead, and from a process that would
 * speak if others left it a processor. Limits: a process that beats and does nothing else counts as alive here; what the agent does
 * with its workloads is the business of its own tests, and of the hub.
 */
import {
  end,
  endPoll,
  failed,
  forgiven,
  note,
  programOf,
  rest,
  retry,
  run,
  spawn,
  stay,
  to,
  waiting,
} from "./moves.ts";
import type { GuardPolicy } from "./policy.ts";
import {
  type Effect,
  type Event,
  type Farewell,
  type Identity,
  type Now,
  type Phase,
  type State,
  type Step,
  same,
} from "./state.ts";
import { endEarly, isAbout, spawned, unwanted, wanted } from "./wishes.ts";

type Guarded = Phase & { readonly at: "guarded" };

/** A start that ended with code 0: somebody else guards, whom we cannot hear. Looked for again after this time. */
const elsewhereMs = 10_000;
/** The emergency has started what it could; an agent of its making shows itself within this time. */
const afterEmergencyMs = 2000;
/** One that is silent and was not ended is looked at again after this time. */
const lookAgainMs = 500;

/** The first state. `rests`: a person's word says that nobody is wanted. */
export function begin(policy: GuardPolicy, rests: Farewell | undefined, now: Now): State {
  if (rests) return { ...forgiven, phase: { at: "resting", because: rests } };
  return { ...forgiven, phase: waiting(now.ms + policy.firstWaitMs) };
}

/** When the state has to be looked at again at the latest, by the clock of `now`. */
export function wakeMs({ phase }: State): number {
  switch (phase.at) {
    case "waiting":
      return phase.slow ? Math.min(phase.untilMs, phase.tendAtMs) : phase.untilMs;
    case "starting":
    case "emergency":
      return phase.untilMs;
    case "guarded":
      return Math.min(phase.lookAtMs, phase.wellAtMs);
    case "ending":
      return phase.lookAtMs;
    case "leaving":
      return Math.min(phase.untilMs, phase.lookAtMs);
    case "cooldown":
      return Math.min(phase.untilMs, phase.tendAtMs);
    case "resting":
    case "left":
      return Number.POSITIVE_INFINITY;
  }
}

export function step(policy: GuardPolicy, state: State, event: Event, now: Now): Step {
  switch (event.is) {
    case "woke":
      return woke(policy, state, now);
    case "late":
      return stay({ ...state, phase: excused(state.phase, event.ms) });
    case "seen":
      return seen(policy, state, event, now);
    case "looked":
      return looked(policy, state, event, now);
    case "spawned":
      if (state.phase.at !== "starting" || state.phase.process) return stay(state);
      return spawned({ ...state, phase: { ...state.phase, process: event.process } }, event.process, now);
    case "spawnFailed":
      if (state.phase.at !== "starting") return stay(state);
      return failed(policy, state, `it cannot be started: ${event.because}`, now);
    case "told":
      return told(policy, state, event.process, event.farewell, now);
    case "word":
      return stay(isAbout(state, event.process) ? { ...state, word: "going" } : state);
    case "ordered":
      return ordered(policy, state, event.to, now);
    case "damaged":
      // One that lives shows that it can be started all the same; should it end, this is asked again.
      if (state.program === "good" || state.phase.at === "guarded") return stay(state);
      return stay({ ...state, program: "good" }, note("current", "good", "the program is not what was installed"));
    case "emergencyEnded": {
      if (state.phase.at !== "emergency") return stay(state);
      const came = event.ok ? "has brought back what it could" : "did not help";
      // It still has to come: after the next cooldown, until its hour is over.
      const how = event.later ? "has run within the hour already, and is tried again" : came;
      const next: State = { ...state, failedStarts: 0, program: "current", emergencyDone: event.later !== true };
      return to(next, waiting(now.ms + afterEmergencyMs), `the emergency ${how}: ${event.because}`);
    }
  }
}

// ── deadlines ────────────────────────────────────────────────────────────────────────────────────────────────────────

function woke(policy: GuardPolicy, state: State, now: Now): Step {
  const { phase } = state;
  switch (phase.at) {
    case "waiting":
      if (now.ms >= phase.untilMs) return spawn(policy, state, "it is time", now);
      return phase.slow ? tended(policy, state, phase, now) : stay(state);
    case "starting":
      if (now.ms < phase.untilMs) return stay(state);
      if (!phase.process) return failed(policy, state, "the start did not return", now);
      return end(state, phase.process, true, `no sign of life in ${policy.startMs} ms`, now);
    case "guarded":
      return wokeGuarding(policy, state, phase, now);
    case "ending": {
      if (now.ms < phase.lookAtMs) return stay(state);
      const waitMs = Math.min(endPoll.firstMs * 2 ** Math.min(phase.rounds, 10), endPoll.lastMs);
      const next: Phase = { ...phase, lookAtMs: now.ms + waitMs, rounds: phase.rounds + 1 };
      const look: Effect = { do: "look", process: phase.process };
      if (phase.rounds !== endPoll.toldAfter) return stay({ ...state, phase: next }, look);
      return stay(
        { ...state, phase: next },
        note("ending", "ending", "it survives SIGKILL: it waits in the kernel"),
        look,
      );
    }
    case "leaving":
      if (now.ms >= phase.untilMs) {
        const next: Phase = { ...phase, untilMs: now.ms + policy.leaveMs, lookAtMs: now.ms + endPoll.firstMs };
        const because = "it said that it leaves, and did not";
        return stay(
          { ...state, phase: next },
          { do: "signal", process: phase.process, signal: "SIGKILL" },
          note("leaving", "leaving", because),
        );
      }
      if (now.ms < phase.lookAtMs) return stay(state);
      return stay(
        { ...state, phase: { ...phase, lookAtMs: now.ms + policy.checkEveryMs } },
        { do: "look", process: phase.process },
      );
    case "cooldown":
      if (now.ms < phase.untilMs) return tended(policy, state, phase, now);
      if (policy.emergencyMs === undefined) return spawn(policy, state, "the cooldown is over", now);
      return to(
        { ...state, emergencyDone: true },
        { at: "emergency", untilMs: now.ms + policy.emergencyMs },
        "the cooldown is over, and restarting alone does not help",
        { do: "emergency", program: programOf(policy, state) },
      );
    case "emergency":
      if (now.ms < phase.untilMs) return stay(state);
      return to(state, waiting(now.ms + afterEmergencyMs), "the emergency has not ended in its time");
    case "resting":
    case "left":
      return stay(state);
  }
}

function wokeGuarding(policy: GuardPolicy, state: State, phase: Guarded, now: Now): Step {
  const effects: Effect[] = [];
  let next: State = state;
  let after = phase;
  if (now.ms >= phase.wellAtMs) {
    next = { ...next, ...forgiven };
    after = { ...after, wellAtMs: Number.POSITIVE_INFINITY };
    effects.push(note("guarded", "guarded", `well for ${policy.wellAfterMs} ms: everything is forgiven`));
  }
  if (now.ms >= phase.lookAtMs) {
    const silentAtMs = phase.seenMs + patienceMs(policy, phase);
    const againMs = now.ms + policy.checkEveryMs + policy.withBeatMs;
    const lookAtMs = now.ms < silentAtMs ? Math.min(againMs, silentAtMs) : now.ms + lookAgainMs;
    after = { ...after, lookAtMs };
    effects.push({ do: "look", process: phase.process });
  }
  return stay({ ...next, phase: after }, ...effects);
}

/** How long it may be silent. */
function patienceMs(policy: GuardPolicy, { guards }: { readonly guards: boolean }): number {
  return guards ? policy.silentMs : policy.wakingMs;
}

function tended<P extends Extract<Phase, { tendAtMs: number }>>(
  policy: GuardPolicy,
  state: State,
  phase: P,
  now: Now,
): Step {
  if (now.ms < phase.tendAtMs) return stay(state);
  const next: P = { ...phase, tendAtMs: now.ms + policy.tendEveryMs };
  return stay({ ...state, phase: next }, { do: "tend" });
}

/** We were away for `ms`: what is judged by deadlines is given that time. A wait is no judgement. */
function excused(phase: Phase, ms: number): Phase {
  switch (phase.at) {
    case "guarded":
      return { ...phase, seenMs: phase.seenMs + ms, wellAtMs: phase.wellAtMs + ms };
    case "starting":
    case "leaving":
    case "emergency":
      return { ...phase, untilMs: phase.untilMs + ms };
    default:
      return phase;
  }
}

// ── what is seen of the guarded one ──────────────────────────────────────────────────────────────────────────────────

function seen(policy: GuardPolicy, state: State, event: Event & { is: "seen" }, now: Now): Step {
  const { phase } = state;
  switch (phase.at) {
    case "guarded": {
      if (!same(phase.process, event.process)) return stay(beside(state, event.process, now));
      const { guards } = event;
      const wellAtMs = guards && !phase.guards ? now.ms + policy.wellAfterMs : phase.wellAtMs;
      // It has woken us anyway.
      const looks = now.ms >= phase.lookAtMs - 2 * policy.withBeatMs;
      const atMs = looks ? now.ms + policy.checkEveryMs + policy.withBeatMs : phase.lookAtMs;
      const lookAtMs = Math.min(atMs, now.ms + patienceMs(policy, { guards }));
      // The look that comes with it says how long it had waited by now.
      const { waited, ...before } = phase;
      const until = !looks && waited && { waited: { ...waited, seenMs: waited.lookMs } };
      const watched: Phase = { ...before, guards, seenMs: now.ms, lookAtMs, wellAtMs, ...until };
      // It was taken for one that guards, and need not come up.
      if (!guards && state.word === "last") return endEarly(state, phase.process, now);
      return stay({ ...state, phase: watched }, ...(looks ? [{ do: "look", process: phase.process } as const] : []));
    }
    case "leaving":
    case "ending":
      // One that was sent SIGKILL, or takes its leave, is not taken back.
      return stay(same(phase.process, event.process) ? state : beside(state, event.process, now));
    case "left":
      return stay(state);
    default:
      return guard(policy, state, event.process, event.guards, `process ${event.process.pid} shows signs of life`, now);
  }
}

function beside(state: State, process: Identity, now: Now): State {
  return { ...state, other: { process, seenMs: now.ms } };
}

function guard(policy: GuardPolicy, state: State, process: Identity, guards: boolean, because: string, now: Now): Step {
  const { other: _other, word, ...alone } = state;
  const phase: Phase = {
    at: "guarded",
    process,
    guards,
    sinceMs: now.ms,
    seenMs: now.ms,
    lookAtMs: now.ms + Math.min(policy.checkEveryMs, patienceMs(policy, { guards })),
    wellAtMs: guards ? now.ms + policy.wellAfterMs : Number.POSITIVE_INFINITY,
  };
  // What was said of this very one while it started holds; of another one nothing has been said.
  return to(word && isAbout(state, process) ? { ...alone, word } : alone, phase, because);
}

function looked(policy: GuardPolicy, state: State, event: Event & { is: "looked" }, now: Now): Step {
  const { phase } = state;
  if (!("process" in phase) || !same(phase.process, event.process)) return stay(state);
  if (event.sight === "gone") return gone(policy, state, event.quiet ?? false, now);
  if (phase.at === "ending") {
    // Once more, should it have been reborn in a debugger's hands; it waits in the kernel, most likely.
    return stay(state, { do: "signal", process: phase.process, signal: "SIGKILL" });
  }
  if (phase.at !== "guarded") return stay(state);
  if (!phase.guards && now.ms - phase.sinceMs > policy.wakesMaxMs) {
    return end(state, phase.process, true, `it has been starting for ${policy.wakesMaxMs} ms`, now);
  }
  const { waitedMs } = event;
  const waited = waitedMs === undefined ? phase.waited : { lookMs: waitedMs, seenMs: phase.waited?.seenMs ?? waitedMs };
  const watched = { ...state, phase: { ...phase, ...(waited && { waited }) } };
  const silentForMs = now.ms - phase.seenMs;
  // Silence counts as long as it could have spoken: what waits for a processor cannot, a busy loop and a deadlock could.
  const heldMs = event.sight === "running" && waited ? Math.min(waited.lookMs - waited.seenMs, policy.starvedMs) : 0;
  if (silentForMs - heldMs < patienceMs(policy, phase)) return stay(watched);
  const how = event.sight === "stopped" ? "stopped" : "its process runs: hung";
  const held = heldMs < 1 ? "" : `; ${Math.round(heldMs)} ms of them it waited for a processor`;
  return end(watched, phase.process, false, `silent for ${Math.round(silentForMs)} ms, ${how}${held}`, now);
}

function gone(policy: GuardPolicy, state: State, quiet: boolean, now: Now): Step {
  const { phase, other } = state;
  const ended = "process" in phase && phase.process ? `process ${phase.process.pid} is gone` : "it is gone";
  if (phase.at === "leaving" && phase.thenLeave) return to(state, { at: "left" }, ended, { do: "leave" });
  if (other && now.ms - other.seenMs <= policy.silentMs) {
    return guard(policy, state, other.process, false, `${ended}, and process ${other.process.pid} lives`, now);
  }
  if (state.word === "next") return run(policy, state, `${ended}, and a person wants it to run`, now);
  if (state.word) return rest(policy, state, "down", `${ended}, and a person wants nobody to run`);
  switch (phase.at) {
    case "leaving": {
      const because = `${ended}, as it said: ${phase.farewell}`;
      if (phase.farewell === "agent_restart") {
        return policy.firstWaitMs > 0
          ? to(state, waiting(now.ms + policy.firstWaitMs), because)
          : spawn(policy, state, because, now);
      }
      return rest(policy, state, phase.farewell, because);
    }
    case "starting":
      if (quiet) return to(state, waiting(now.ms + elsewhereMs), `${ended} quietly: another one guards`);
      return failed(policy, state, `${ended} before it showed a sign of life`, now);
    case "ending":
      return phase.failed
        ? failed(policy, state, phase.because, now)
        : retry(policy, state, `${phase.because}; ${ended}`, now);
    case "guarded":
      if (phase.guards) return retry(policy, state, `${ended}, and nobody asked for it: a crash`, now);
      if (quiet) return to(state, waiting(now.ms + elsewhereMs), `${ended} quietly: another one guards`);
      return failed(policy, state, `${ended} while it still started`, now);
    default:
      return stay(state);
  }
}

// ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────────

function told(policy: GuardPolicy, state: State, process: Identity, farewell: Farewell, now: Now): Step {
  const { phase } = state;
  if (!isAbout(state, process) || phase.at === "ending") return stay(state);
  const thenLeave = phase.at === "leaving" && phase.thenLeave;
  const { word, ...wordless } = state;
  // A signal is a word of its own, and the newest. `down` is the end of what was said before.
  const newest = word === "next" && farewell === "stop" ? wordless : state;
  return to(newest, leaving(policy, process, farewell, thenLeave, now), `it says that it leaves: ${farewell}`);
}

function ordered(policy: GuardPolicy, state: State, order: "leave" | "rest" | "run", now: Now): Step {
  const { phase } = state;
  if (order === "run") return wanted(policy, state, now);
  if (order === "rest") return unwanted(policy, state, now);
  const process = "process" in phase ? phase.process : undefined;
  if (!process || phase.at === "left") return to(state, { at: "left" }, "asked to leave", { do: "leave" });
  const farewell = phase.at === "leaving" ? phase.farewell : "stop";
  return to(state, leaving(policy, process, farewell, true, now), "asked to leave, and the guarded one with us", {
    do: "signal",
    process,
    signal: "SIGTERM",
  });
}

function leaving(policy: GuardPolicy, process: Identity, farewell: Farewell, thenLeave: boolean, now: Now): Phase {
  const lookAtMs = now.ms + policy.checkEveryMs;
  return { at: "leaving", process, farewell, untilMs: now.ms + policy.leaveMs, lookAtMs, thenLeave };
}
