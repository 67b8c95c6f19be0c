import { type Common, type Effect, levelOf, type Place, type State } from "./state.ts";

/** A decision: the next state, what to do, and why in one sentence. */
export interface Step {
  readonly state: State;
  readonly effects: readonly Effect[];
  readonly because: string;
}

/** Nothing changes. */
export function stay(state: State, because: string): Step {
  return { state, effects: [], because };
}

/** The same node at another place, with what else changes. */
export function move(state: State, place: Place, change: Partial<Common> = {}): State {
  const {
    sinceMs,
    heard,
    connected,
    helloUntilMs,
    incarnation,
    frozenBy,
    incident,
    order,
    flight,
    holds,
    count,
    seed,
  } = state;
  const common: Common = {
    sinceMs,
    heard,
    connected,
    helloUntilMs,
    incarnation,
    frozenBy,
    incident,
    order,
    flight,
    holds,
    count,
    seed,
  };
  return { ...common, ...place, ...change };
}

/** The level changes; nothing when it does not. */
export function levelChange(from: State, to: State, because: string): Effect[] {
  const [was, is] = [levelOf(from), levelOf(to)];
  return was === is ? [] : [{ do: "setLevel", from: was, to: is, because }];
}
