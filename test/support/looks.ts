import { setTimeout as pause } from "node:timers/promises";

const firstMs = 20;

/**
 * One turn for each look at what a test waits for, until `withinMs` are over: what comes soon is seen soon, and what takes its
 * time is asked four times a second, or every `longestMs`, as each look costs the machine that all wait for.
 */
export async function* looks(withinMs: number, longestMs = 250): AsyncGenerator<void> {
  const endMs = performance.now() + withinMs;
  for (let waitMs = firstMs; performance.now() < endMs; waitMs = Math.min(waitMs * 1.4, longestMs)) {
    yield;
    await pause(waitMs);
  }
}
