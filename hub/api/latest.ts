/**
 * A mailbox between something that changes often and a reader that may be slow: it keeps the latest of each key only, so
 * it never holds more than there are keys, and never more than `max`.
 */
export interface Latest<Value> {
  /** Replaces what waits under `key`; a key that waits keeps its place in the order. False when the bound is reached. */
  put(key: string, value: Value): boolean;
  /** What waits, oldest key first; resolves with an empty list when the signal is aborted. One reader at a time. */
  take(signal: AbortSignal): Promise<Value[]>;
}

/** An empty mailbox for at most `max` keys. */
export function latest<Value>(max: number): Latest<Value> {
  const waiting = new Map<string, Value>();
  let wake: (() => void) | undefined;
  return {
    put(key, value) {
      if (waiting.size >= max && !waiting.has(key)) return false;
      waiting.set(key, value);
      wake?.();
      return true;
    },
    async take(signal) {
      if (waiting.size === 0 && !signal.aborted) {
        await new Promise<void>((resolve) => {
          wake = resolve;
          signal.addEventListener("abort", wake, { once: true });
        });
        if (wake !== undefined) signal.removeEventListener("abort", wake);
        wake = undefined;
      }
      if (signal.aborted) return [];
      const values = [...waiting.values()];
      waiting.clear();
      return values;
    },
  };
}
