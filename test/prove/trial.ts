import { round, type Spread, spread } from "../bench/measure.ts";

/** What a trial is run with. */
export interface TrialOptions {
  /** How often each case is tried; the promise's own number in `npm run prove`, a few in the suite. */
  readonly rounds: number;
  /** The seed of all chance in the trial; printed. */
  readonly seed: number;
  readonly say: (line: string) => void;
  /** Told of each part that cannot be tried on this machine, and why: nothing is proven of it. */
  readonly skip?: (why: string) => void;
}

/** One measured promise. */
export interface Row {
  readonly name: string;
  readonly measure: string;
  /** No value may be above it; undefined: a figure that is printed and argued, and promises nothing. */
  readonly promise: number | undefined;
  /** No value may be below the promise: more is better. */
  readonly atLeast?: boolean;
  /** `times`: how many times the floor of the same run. */
  readonly unit: "ms" | "count" | "times";
  readonly values: readonly number[];
}

/** One long trial of promises on the real thing. */
export interface Trial {
  readonly name: string;
  readonly about: string;
  /** Rejects when something that is no figure does not hold: a duplicate, a loss, a changed PID. */
  run(options: TrialOptions): Promise<Row[]>;
}

/** The rows with a value on the wrong side of their promise, and those without a value. */
export function broken(rows: readonly Row[]): Row[] {
  return rows.filter(({ values, promise, atLeast }) => {
    const isWrong = (value: number) => promise !== undefined && !(atLeast ? value >= promise : value <= promise);
    return values.length === 0 || values.some(isWrong);
  });
}

/** The middle, the bad end and the worst of a row's values: the highest ones, or the lowest where more is better. */
export function spreadOf({ values, atLeast }: Row): Spread {
  if (!atLeast) return spread(values);
  const { n, median, p99, worst } = spread(values.map((value) => -value));
  return { n, median: round(-median), p99: round(-p99), worst: round(-worst) };
}

/** What became of a trial. */
export interface Outcome {
  readonly broke: boolean;
  /** What could not be tried here. */
  readonly skipped: readonly string[];
}

/** A trial that gave no figure has proven nothing, whatever it says. */
export function outcomeOf(rows: readonly Row[], skipped: readonly string[]): Outcome {
  const silent = rows.length === 0 && skipped.length === 0 ? ["it gave no figure"] : [];
  return { broke: broken(rows).length > 0, skipped: [...skipped, ...silent] };
}

/** The last line of `npm run prove`, and its exit code: 1 a promise was broken, 3 none was, but not all could be tried. */
export function verdict(outcomes: readonly Outcome[]): { readonly line: string; readonly exitCode: 0 | 1 | 3 } {
  const broke = outcomes.filter((one) => one.broke).length;
  const skipped = outcomes.filter((one) => one.skipped.length > 0).length;
  const untried = `${skipped} of ${outcomes.length} trials could not be tried, or not in full: they prove nothing here`;
  if (broke > 0) {
    const line = `${broke} of ${outcomes.length} trials broke a promise${skipped > 0 ? `; ${untried}` : ""}.`;
    return { line, exitCode: 1 };
  }
  return skipped > 0
    ? { line: `No promise was broken, but ${untried}.`, exitCode: 3 }
    : { line: "Every promise held.", exitCode: 0 };
}
