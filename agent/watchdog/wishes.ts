/** What a person wants while the guarded one is in whichever phase: the newest word is what holds in the end. Pure, a part of `machine.ts`. */
import { end, forgiven, rest, run, stay } from "./moves.ts";
import type { GuardPolicy } from "./policy.ts";
import { type Identity, type Now, type State, type Step, same } from "./state.ts";

/** A person wants one to run. Who is on its way down is followed by the next one; who stays is left alone. */
export function wanted(policy: GuardPolicy, state: State, now: Now): Step {
  const { phase, word } = state;
  if (phase.at === "resting" || phase.at === "waiting" || phase.at === "cooldown")
    return run(policy, state, "a person wants it to run", now);
  const { word: _word, ...fresh } = { ...state, ...forgiven };
  const follows = phase.at === "leaving" || word === "going" || word === "next";
  return stay(follows ? { ...fresh, word: "next" } : fresh, { do: "clearWord" });
}

/** A person wants nobody to run, and no agent answers. One that guards goes on with what runs, for it was not asked; it is the last. */
export function unwanted(policy: GuardPolicy, state: State, now: Now): Step {
  const { phase, word } = state;
  switch (phase.at) {
    case "starting":
      return phase.process ? endEarly(state, phase.process, now) : stay({ ...state, word: "last" });
    case "guarded":
      if (!phase.guards) return endEarly(state, phase.process, now);
      return stay({ ...state, word: word === "next" ? "going" : (word ?? "last") });
    case "ending":
    case "leaving":
      return stay({ ...state, word: "going" });
    case "left":
      return stay(state);
    default:
      return rest(policy, state, "down", "a person wants nobody to run");
  }
}

/** It guards nothing yet, so nobody has to be asked, and it need not come up. */
export function endEarly(state: State, process: Identity, now: Now): Step {
  return end(
    { ...state, word: "going" },
    process,
    false,
    "a person wants nobody to run, and it does not guard yet",
    now,
  );
}

/** The start has returned, perhaps later than a person has said that nobody is wanted. */
export function spawned(state: State, process: Identity, now: Now): Step {
  return state.word ? endEarly(state, process, now) : stay(state);
}

/** It is the one that is started, guarded, ended, or leaves. */
export function isAbout({ phase }: State, process: Identity): boolean {
  return "process" in phase && same(phase.process, process);
}
