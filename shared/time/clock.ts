/** Cancels a wake; harmless when it has already run. */
export type Cancel = () => void;

/** Time comes in through this door. Deciders never hold one: they are given a {@link Moment}. */
export interface Clock {
  /**
   * Milliseconds since the machine's boot without suspend; never goes back. The only scale machines compare.
   * On Linux it is CLOCK_MONOTONIC, so values of two processes of one boot compare; across boots they mean nothing.
   */
  monotonicMs(): number;
  /** Milliseconds since boot with suspend, to notice that the machine slept. Leases and expiry count on this scale. */
  bootMs(): number;
  /** For people and logs. May jump either way: never subtract two of these. */
  wallMs(): number;
  /** Runs `wake` once, at `atMs` on the monotonic scale or as soon after it as it can. A wake is a hint to look again. */
  wakeAt(atMs: number, wake: () => void): Cancel;
}

/**
 * The next moment that is a whole multiple of `everyMs`, at most a tenth more than that from now. Whatever is done again and again at such
 * moments wakes the process once for all of it. A wake may come a little early: the moment it was meant for is not taken twice.
 */
export function nextRound(nowMs: number, everyMs: number): number {
  return (Math.floor(nowMs / everyMs + earlyShare) + 1) * everyMs;
}
const earlyShare = 0.1;

/** What a decision is given of time and chance; stored with it, so that it can be replayed. */
export interface Moment {
  /** Monotonic milliseconds, see {@link Clock.monotonicMs}. */
  readonly ms: number;
  /** Wall milliseconds, for records that people read. */
  readonly wallMs: number;
  /** A fresh UUIDv7: the decision's id, and the id of the one thing that the decision may create. */
  readonly id: string;
}
