import type { JobSpec, TimeOfDay } from "../config/sections.ts";

/** What is known of a job's runs: when it ran last by the wall clock, that it never ran, or that nobody could look. */
export type JobSeen = number | "never" | "unknown";

/** The time as it is judged by. */
export interface JobMoment {
  readonly wallMs: number;
  /** How long the agent has known its jobs. */
  readonly knownForMs: number;
  /** How long it has been awake without a break: after a sleep every schedule gets its grace to catch up. */
  readonly awakeForMs: number;
  /** How far local time is ahead of UTC at a moment of wall time. */
  readonly offsetMs: (wallMs: number) => number;
}

/** A run that begins so little before its time was meant for it: two clocks never agree to the second. */
const earlyMs = 60_000;
const dayMs = 86_400_000;

/**
 * The jobs that were not picked up in time, each with the milliseconds since it was due; a job is late when that is more than
 * its grace. One that never ran is late after its first due time since the agent knows it; one that nobody could look at is
 * not judged.
 */
export function lateJobs(
  jobs: readonly JobSpec[],
  seen: Readonly<Record<string, JobSeen>>,
  now: JobMoment,
): Record<string, number> {
  const late: Record<string, number> = {};
  for (const job of jobs) {
    const dueMs = dueOf(job, seen[job.name] ?? "unknown", now);
    if (dueMs === undefined || now.awakeForMs < job.graceMs) continue;
    const lateMs = now.wallMs - dueMs;
    if (lateMs > job.graceMs) late[job.name] = lateMs;
  }
  return late;
}

/** When the run that is missing was due; undefined: none is missing. */
function dueOf(job: JobSpec, ran: JobSeen, now: JobMoment): number | undefined {
  if (ran === "unknown") return undefined;
  const knownSinceMs = now.wallMs - now.knownForMs;
  if (job.everyMs !== undefined) return (ran === "never" ? knownSinceMs : ran) + job.everyMs;
  if (job.at === undefined) return undefined;
  const dueMs = lastTime(job.at, now);
  const missing = ran === "never" ? dueMs >= knownSinceMs : ran < dueMs - earlyMs;
  return missing ? dueMs : undefined;
}

/** The last time that it was this time of day, by local time. */
function lastTime(at: TimeOfDay, { wallMs, offsetMs }: JobMoment): number {
  const localMs = wallMs + offsetMs(wallMs);
  const midnightMs = Math.floor(localMs / dayMs) * dayMs;
  // The first of January 1970 was a Thursday, 4.
  const weekday = (midnightMs / dayMs + 4) % 7;
  const daysBack = at.weekday === undefined ? 0 : (weekday - at.weekday + 7) % 7;
  const periodMs = at.weekday === undefined ? dayMs : 7 * dayMs;
  const thatTimeMs = midnightMs - daysBack * dayMs + (at.hour * 60 + at.minute) * 60_000;
  const dueMs = utcOf(thatTimeMs, offsetMs);
  return dueMs <= wallMs ? dueMs : utcOf(thatTimeMs - periodMs, offsetMs);
}

/** Where clocks go back and a time comes twice, the first counts; where they skip it, the moment an hour later. */
function utcOf(localMs: number, offsetMs: (wallMs: number) => number): number {
  const before = offsetMs(localMs - dayMs);
  const after = offsetMs(localMs + dayMs);
  const real = [before, after].map((offset) => localMs - offset).filter((ms) => ms + offsetMs(ms) === localMs);
  return real.length > 0 ? Math.min(...real) : localMs - before;
}
