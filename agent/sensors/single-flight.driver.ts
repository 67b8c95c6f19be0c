/** What a question that may hang has come to. */
export type Flight<T> =
  | { readonly is: "answered"; readonly value: T }
  | { readonly is: "failed"; readonly error: unknown }
  /**
   * Not answered within the wait. `sinceMs` counts from when it was asked. `unasked`: it was not even asked, for want of a
   * thread of our own, and says nothing.
   */
  | { readonly is: "silent"; readonly sinceMs: number; readonly unasked?: true };

/**
 * Asks a question that may hang, such as of a dead network disk, for at most `waitMs`. While an earlier one is under way
 * no second one is started: its answer is awaited instead. Never rejects.
 */
export function singleFlight<T>(ask: () => Promise<T>, waitMs: number): () => Promise<Flight<T>> {
  let flight: { readonly done: Promise<Flight<T>>; readonly startedMs: number } | undefined;
  return () => {
    if (!flight) {
      const done = ask().then(
        (value): Flight<T> => ({ is: "answered", value }),
        (error: unknown): Flight<T> => ({ is: "failed", error }),
      );
      const mine = { done, startedMs: performance.now() };
      flight = mine;
      void done.then(() => {
        flight = undefined;
      });
    }
    const { done, startedMs } = flight;
    const silence = Promise.withResolvers<Flight<T>>();
    const timer = setTimeout(() => silence.resolve({ is: "silent", sinceMs: performance.now() - startedMs }), waitMs);
    return Promise.race([done, silence.promise]).finally(() => clearTimeout(timer));
  };
}
