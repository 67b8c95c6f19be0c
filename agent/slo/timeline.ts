import type { Moment } from "@blueflame/shared/time/clock.ts";

/** What a timeline needs to know of a moment. */
export type Instant = Pick<Moment, "ms" | "wallMs">;

/**
 * Time as a memory counts it: it only grows, goes on over restarts and reboots, and is not fooled by a wall clock that
 * somebody sets. JSON-able; lies beside what it dates, and every date there is an `ageMs`.
 */
export interface Timeline {
  /** Milliseconds since this memory began. */
  readonly ageMs: number;
  /** The last instant seen, on both scales. */
  readonly ms: number;
  readonly wallMs: number;
}

/** A wall clock that says that more than this has passed unseen was wrong before (a node without a battery starts in 1970). */
const unseenMaxMs = 30 * 86_400_000;

/** A timeline that begins now. */
export function startTimeline(now: Instant): Timeline {
  return { ageMs: 0, ms: now.ms, wallMs: now.wallMs };
}

/**
 * The timeline at `now`. The monotonic scale gives the least that has passed: its own difference within a boot, and all of
 * it when it is smaller than it was, for then the machine has booted since. What the wall says beyond that (suspend, power
 * off) is believed up to 30 days; a wall that fell behind is not believed at all.
 */
export function passTo(line: Timeline, now: Instant): Timeline {
  const leastMs = now.ms >= line.ms ? now.ms - line.ms : Math.max(0, now.ms);
  const wallMs = now.wallMs - line.wallMs;
  const passedMs = wallMs > leastMs && wallMs <= leastMs + unseenMaxMs ? wallMs : leastMs;
  return { ageMs: line.ageMs + passedMs, ms: now.ms, wallMs: now.wallMs };
}
