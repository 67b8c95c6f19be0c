import type { TimeOfDay } from "../config/sections.ts";

/** The last day of a schedule that was handled. JSON-able; survives restarts of the machine. */
export interface Handled {
  /** Days since 1970 by the machine's own clock. */
  readonly day: number;
  /** The clock stands before the handled day: since when, on the monotonic scale. */
  readonly behindSinceMs?: number;
}

const dayMs = 86_400_000;
/** A clock that has been behind for this long was wrong before, not now. */
const behindMaxMs = dayMs;

/** The day of the latest occurrence that is not in the future. `localMs` is wall time plus the local offset. */
function latestDay(at: TimeOfDay, localMs: number): number {
  const today = Math.floor(localMs / dayMs);
  const last = localMs - today * dayMs >= msOfDay(at) ? today : today - 1;
  if (at.weekday === undefined) return last;
  // 1970-01-01 was a Thursday.
  return last - ((((last + 4 - at.weekday) % 7) + 7) % 7);
}

/** How long until the next occurrence. */
export function untilNextMs(at: TimeOfDay, localMs: number): number {
  const nextDay = latestDay(at, localMs) + (at.weekday === undefined ? 1 : 7);
  return nextDay * dayMs + msOfDay(at) - localMs;
}

/**
 * Is it due? A day is handled once, whatever the clock does: put back, put forward, or changed for summer. What was missed while
 * nobody looked is due once, late. A schedule that was never seen before is not due for the past. A clock that was put back by days
 * is believed when it has stayed there for a day.
 */
export function dueNow(
  at: TimeOfDay,
  handled: Handled | undefined,
  localMs: number,
  nowMs: number,
): { readonly handled: Handled; readonly lateMs?: number } {
  const day = latestDay(at, localMs);
  if (handled === undefined) return { handled: { day } };
  // The very same object as long as nothing is new: nobody has to write it down.
  if (day === handled.day) return { handled: handled.behindSinceMs === undefined ? handled : { day } };
  if (day > handled.day) return { handled: { day }, lateMs: localMs - (day * dayMs + msOfDay(at)) };
  const behindSinceMs = Math.min(nowMs, handled.behindSinceMs ?? nowMs);
  if (nowMs >= behindSinceMs + behindMaxMs) return { handled: { day } };
  return { handled: behindSinceMs === handled.behindSinceMs ? handled : { day: handled.day, behindSinceMs } };
}

function msOfDay({ hour, minute }: TimeOfDay): number {
  return (hour * 60 + minute) * 60_000;
}

const weekdays = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/** `daily at 03:00`, `on Sunday at 03:30`. */
export function scheduleWords({ hour, minute, weekday }: TimeOfDay): string {
  const time = [hour, minute].map((part) => String(part).padStart(2, "0")).join(":");
  return `${weekday === undefined ? "daily" : `on ${weekdays[weekday] ?? "no day"}`} at ${time}`;
}
