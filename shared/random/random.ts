/** Chance comes in through this door: a number in [0, 1). `Math.random` in main.ts, seeded elsewhere. */
export type Random = () => number;

/** One draw from a seed: the value in [0, 1) and the seed to store for the next draw. Pure; mulberry32 by Tommy Ettinger. */
export function draw(seed: number): { readonly value: number; readonly seed: number } {
  const next = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(next ^ (next >>> 15), 1 | next);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return { value: ((t ^ (t >>> 14)) >>> 0) / 4294967296, seed: next };
}

/** A stream of chance that a seed repeats exactly. */
export function seeded(seed: number): Random {
  let at = seed | 0;
  return () => {
    const drawn = draw(at);
    at = drawn.seed;
    return drawn.value;
  };
}

/**
 * Full-jitter backoff: a wait in [0, min(capMs, baseMs·2^attempt)). `value` is a draw in [0, 1); `attempt` counts from 0.
 * The formula is "full jitter" of Marc Brooker, Exponential Backoff And Jitter (AWS Architecture Blog, 2015).
 */
export function fullJitterMs(value: number, attempt: number, baseMs: number, capMs: number): number {
  return value * Math.min(capMs, baseMs * 2 ** Math.min(attempt, 40));
}
