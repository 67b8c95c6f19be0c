import type { Row } from "./trial.ts";

/**
 * What a trial of many cases has found: figures with their promises, and what has to hold at all. A case that fails is a row with
 * a value above its promise, so that the others still count.
 */
export class Score {
  readonly #rows = new Map<string, Row>();
  readonly #say: (line: string) => void;

  constructor(say: (line: string) => void) {
    this.#say = say;
  }

  /** `ms` may not be above `promise`. `name` begins with the row of the requirements. */
  took(name: string, measure: string, promise: number, ms: number): void {
    this.#put({ name, measure, promise, unit: "ms", values: [Math.round(ms)] });
  }
  /** `value` may not be above `promise`; `saw` is said when it is. */
  count(name: string, measure: string, promise: number, value: number, saw?: unknown): void {
    if (value > promise && saw !== undefined) this.#say(`${name}: ${value} ${measure}; saw ${JSON.stringify(saw)}`);
    this.#put({ name, measure, promise, unit: "count", values: [value] });
  }
  /** Counts how often it does not hold; `saw` is said then. */
  holds(name: string, measure: string, ok: boolean, saw?: unknown): void {
    if (!ok) this.#say(`${name}: not so: ${measure}${saw === undefined ? "" : `; saw ${JSON.stringify(saw)}`}`);
    this.count(name, `violated: ${measure}`, 0, ok ? 0 : 1);
  }
  /** Runs one case; never rejects. */
  async run(name: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.holds(name, "it came to its end", false, error instanceof Error ? error.message : String(error));
    }
  }

  rows(): Row[] {
    return [...this.#rows.values()].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  }

  #put(row: Row): void {
    const key = `${row.name}\n${row.measure}`;
    const before = this.#rows.get(key);
    this.#rows.set(key, before ? { ...before, values: [...before.values, ...row.values] } : row);
  }
}
