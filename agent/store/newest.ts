/** Something of which only the newest value counts, on its way to a disk that writes in the order in which it is asked. Pure. */
export class Newest<T> {
  #value: T | undefined;
  #owed = false;

  /** The newest value, on its way from now on. */
  give(value: T): void {
    this.#value = value;
    this.#owed = false;
  }
  /** What is owed, on its way again from now on; undefined when nothing is. */
  take(): T | undefined {
    if (!this.#owed) return undefined;
    this.#owed = false;
    return this.#value;
  }
  /** A value that was on its way has landed, or was refused. Of an older one nothing follows. */
  settle(value: T, landed: boolean): void {
    if (this.#value !== value) return;
    this.#value = landed ? undefined : value;
    this.#owed = !landed;
  }
  /** The newest value, owed from now on. */
  owe(value: T): void {
    this.#value = value;
    this.#owed = true;
  }
  get isOwed(): boolean {
    return this.#owed;
  }
  /** Nothing is on its way, and nothing owed. */
  get isKept(): boolean {
    return this.#value === undefined;
  }
}
