/** A record that a step may change: copied when it is written to for the first time, so that the state before stays as it was. */
export class Kept<T> {
  readonly #max: number;
  #record: Readonly<Record<string, T>>;
  #copy: Record<string, T> | undefined;
  #size: number;

  /** At most `max` keys: when there is no room for a new one, the oldest goes. */
  constructor(record: Readonly<Record<string, T>>, max: number) {
    this.#record = record;
    this.#max = max;
    this.#size = Object.keys(record).length;
  }

  /** As it is now. */
  get all(): Readonly<Record<string, T>> {
    return this.#record;
  }

  get isEmpty(): boolean {
    return this.#size === 0;
  }

  get isFull(): boolean {
    return this.#size >= this.#max;
  }

  at(key: string): T | undefined {
    return Object.hasOwn(this.#record, key) ? this.#record[key] : undefined;
  }

  /** Writes one key; undefined forgets it. */
  put(key: string, value: T | undefined): void {
    const before = this.at(key);
    if (before === value) return;
    this.#copy ??= { ...this.#record };
    this.#record = this.#copy;
    if (value === undefined) {
      delete this.#copy[key];
      this.#size--;
      return;
    }
    if (before === undefined) {
      if (this.isFull) this.#dropOldest(this.#copy);
      this.#size++;
    }
    this.#copy[key] = value;
  }

  #dropOldest(copy: Record<string, T>): void {
    const [oldest] = Object.keys(copy);
    if (oldest === undefined) return;
    delete copy[oldest];
    this.#size--;
  }
}
