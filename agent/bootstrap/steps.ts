/** One deed of the emergency. Each may be done again without harm. */
export type Step =
  | { readonly do: "makeFolder"; readonly path: string }
  /** Out of the way, under another name. */
  | { readonly do: "moveAside"; readonly path: string }
  /** Everything below `path` gets the owner that it should have. Links are not followed. */
  | { readonly do: "takeOver"; readonly path: string }
  /** `from`: the mode that it had, where that matters. */
  | { readonly do: "setMode"; readonly path: string; readonly mode: number; readonly from?: number }
  /** Files of ours below `path` get what their owner needs to read and write them. */
  | { readonly do: "openFiles"; readonly path: string }
  /** From the good copy; what lay there is kept as `<target>.damaged`. */
  | { readonly do: "reinstall"; readonly name: string }
  /** Both are ended so that nobody opens the store; the workloads go on. */
  | { readonly do: "endGuards" }
  | { readonly do: "endAgent" }
  | { readonly do: "mendStore" }
  /** Until an agent that guards from memory has its store again, at most so long. */
  | { readonly do: "awaitStore"; readonly forMs: number }
  /** A person takes back a person's `down`. */
  | { readonly do: "takeBackDown" }
  /** Init's unit, or the watchdog, which starts the agent, which starts the workloads. */
  | { readonly do: "startAll"; readonly by: "init" | "watchdog" }
  | { readonly do: "startAgent" }
  | { readonly do: "restart"; readonly workload: string }
  /** Until agent and workloads answer, at most so long. */
  | { readonly do: "wait"; readonly forMs: number };

/** A step that was done, and what came of it. */
export interface Done {
  readonly step: Step;
  readonly ok: boolean;
  readonly because: string;
}

/** What is thought of one part of the node. */
export interface Verdict {
  readonly part: string;
  /** `mended`: it was broken, and is no more. `rests`: a person wants it so. */
  readonly state: "well" | "mended" | "rests" | "warning" | "broken";
  readonly saw: string;
}

/** What only a person can mend: an error code of the catalogue, and what to type, in this order. */
export interface Trouble {
  readonly code: string;
  readonly because: string;
  readonly commands: readonly string[];
  /** Nothing is started before it is mended: it would fail, or do harm. */
  readonly stops?: boolean;
}

/** What one part is judged to be and to need. Steps are those that were not tried yet. */
export interface Judgement {
  readonly verdicts: readonly Verdict[];
  readonly steps: readonly Step[];
  readonly troubles: readonly Trouble[];
}

export const nothing: Judgement = { verdicts: [], steps: [], troubles: [] };

/** Has this very step been tried? */
export function tried(done: readonly Done[], step: Step): Done | undefined {
  const key = JSON.stringify(step);
  return done.find((one) => JSON.stringify(one.step) === key);
}

/** Verdict of something sound: `mended` when a step for it was done, with what that step said. */
export function sound(part: string, saw: string, done: readonly Done[], mends: (step: Step) => boolean): Verdict {
  const helped = done.filter((one) => one.ok && mends(one.step));
  if (helped.length === 0) return { part, state: "well", saw };
  return { part, state: "mended", saw: helped.map(({ because }) => because).join("; ") };
}

/**
 * Something broken: the steps that may mend it, in order, and once all of them were tried the trouble that is left. Only the
 * first step that was not tried yet is given, for the next may not be needed then.
 */
export function broken(
  part: string,
  saw: string,
  done: readonly Done[],
  steps: readonly Step[],
  trouble: Trouble | undefined,
): Judgement {
  const next = steps.find((step) => !tried(done, step));
  if (next) return { verdicts: [{ part, state: "broken", saw }], steps: [next], troubles: [] };
  const failed = steps.map((step) => tried(done, step)).filter((one) => one?.ok === false);
  const why = [saw, ...failed.map((one) => one?.because ?? "")].filter((one) => one !== "").join("; ");
  if (!trouble) return { verdicts: [{ part, state: "warning", saw: why }], steps: [], troubles: [] };
  return { verdicts: [{ part, state: "broken", saw: why }], steps: [], troubles: [{ ...trouble, because: why }] };
}

export function joined(judgements: readonly Judgement[]): Judgement {
  return {
    verdicts: judgements.flatMap(({ verdicts }) => verdicts),
    steps: judgements.flatMap(({ steps }) => steps),
    troubles: judgements.flatMap(({ troubles }) => troubles),
  };
}

/** As a person types it into a shell. */
export function typed(words: readonly string[]): string {
  return words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(" ");
}

/** What was seen, of an error line of ours, `[CODE] SAW. REMEDY`: what a person is to do is said by the emergency. */
export function sawIn(line: string): string {
  return /^\[[A-Z_]+\] (.*?)(?:\. [A-Z].*)?$/s.exec(line)?.[1] ?? line;
}

/** A step in words, a mode as `chmod` has it. */
export function wordsOf(step: Step): string {
  if (step.do === "setMode") return `${step.do} ${step.path} ${step.mode.toString(8)}`;
  const { do: deed, ...rest } = step;
  return [deed, ...Object.values(rest)].join(" ");
}
