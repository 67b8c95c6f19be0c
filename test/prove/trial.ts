/** What a trial is run with. */
export interface TrialOptions {
  /** How often each case is tried; the promise's own number in `npm run prove`, a few in the suite. */
  readonly rounds: number;
  /** The seed of all chance in the trial; printed. */
  readonly seed: number;
  readonly say: (line: string) => void;
}

/** One measured promise. */
export interface Row {
  readonly name: string;
  readonly measure: string;
  /** No value may be above it. */
  readonly promise: number;
  readonly unit: "ms" | "count";
  readonly values: readonly number[];
}

/** One long trial of promises on the real thing. */
export interface Trial {
  readonly name: string;
  readonly about: string;
  /** Rejects when something that is no figure does not hold: a duplicate, a loss, a changed PID. */
  run(options: TrialOptions): Promise<Row[]>;
}

/** The rows with a value above their promise. */
export function broken(rows: readonly Row[]): Row[] {
  return rows.filter((row) => row.values.length === 0 || row.values.some((value) => value > row.promise));
}
