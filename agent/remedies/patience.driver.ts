import type { Clock } from "@blueflame/shared/time/clock.ts";

/** What a wait has come to. */
export type Waited<T> =
  | { readonly is: "done"; readonly value: T }
  | { readonly is: "failed"; readonly error: unknown }
  | { readonly is: "late" };

/** Waits for `work` for at most `ms`, or until `signal` aborts. What is late goes on by itself, and its answer is dropped. Never rejects. */
export function inTime<T>(clock: Clock, ms: number, work: Promise<T>, signal?: AbortSignal): Promise<Waited<T>> {
  return new Promise((resolve) => {
    const settle = (waited: Waited<T>) => {
      cancel();
      signal?.removeEventListener("abort", late);
      resolve(waited);
    };
    const late = () => settle({ is: "late" });
    const cancel = clock.wakeAt(clock.monotonicMs() + Math.max(0, ms), late);
    signal?.addEventListener("abort", late, { once: true });
    if (signal?.aborted) late();
    work.then(
      (value) => settle({ is: "done", value }),
      (error: unknown) => settle({ is: "failed", error }),
    );
  });
}

/** Resolves after `ms`, or when `signal` aborts: true when the time has passed. */
export async function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<boolean> {
  const never = new Promise<never>(() => undefined);
  await inTime(clock, ms, never, signal);
  return !signal.aborted;
}

/** The message of whatever was thrown. */
export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
