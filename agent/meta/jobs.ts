import type { JobSpec, TimeOfDay } from "../config/sections.ts";

/** What is known of a job's runs: how many milliseconds ago it ran last, that it never ran, or that nobody could look. */
export type JobSeen = number | "never" | "unknown";

/** The time as it is judged by. */
export interface JobMoment {
  readonly wallMs: number;
  /** How long the agent has known its jobs. */
  readonly knownForMs: number;
  /** How long it has been awake without a break: after a sleep every schedule gets its grace to catch up. */
  readonly awakeForMs: number;
  /** How long the wall clock has gone as time does: once it was set, every time of day gets its grace. */
  readonly steadyForMs: number;
  /** How far local time is ahead of UTC at a moment of wall time. */
  readonly offsetMs: (wallMs: number) => number;
}

/** The newest run of a job that was seen; its times are on a scale that goes on as time does, also where somebody sets the clock. */
export interface JobRun {
  /** When its file says that it was written, by the wall clock. */
  readonly stampMs: number;
  /** When it ran; may be negative. */
  readonly ranMs: number;
  readonly lookedMs: number;
  /** The first look found a stamp that was still to come: the wall clock is behind, and may say later how old it is. */
  readonly ahead?: true;
}

/**
 * The newest run after a look at the job's file. The first look believes the stamp, for nothing else is known; from then on a run is
 * older by the time that has passed, and a stamp that has moved, either way, was made since the look before.
 */
export function jobRun(
  before: JobRun | undefined,
  stampMs: number,
  now: { readonly wallMs: number; readonly steadyMs: number },
): JobRun {
  const lookedMs = now.steadyMs;
  const saidMs = Math.max(0, now.wallMs - stampMs);
  const ahead = now.wallMs < stampMs;
  if (!before) return { stampMs, ranMs: lookedMs - saidMs, lookedMs, ...(ahead && { ahead: true as const }) };
  if (before.stampMs !== stampMs)
    return { stampMs, ranMs: lookedMs - Math.min(saidMs, lookedMs - before.lookedMs), lookedMs };
  if (!before.ahead || ahead) return { ...before, lookedMs };
  return { stampMs, ranMs: Math.min(before.ranMs, lookedMs - saidMs), lookedMs };
}

/** A run that begins so little before its time was meant for it: two clocks never agree to the second. */
const earlyMs = 60_000;
const dayMs = 86_400_000;

/**
 * The jobs that were not picked up in time, each with the milliseconds since it was due; a job is late when that is more than
 * its grace. One that never ran is late after its first due time since the agent knows it; one that nobody could look at is
 * not judged. The wall clock says only what time of day it is.
 */
export function lateJobs(
  jobs: readonly JobSpec[],
  seen: Readonly<Record<string, JobSeen>>,
  now: JobMoment,
): Record<string, number> {
  const late: Record<string, number> = {};
  for (const job of jobs) {
    const overdueMs = overdueOf(job, seen[job.name] ?? "unknown", now);
    if (overdueMs === undefined || now.awakeForMs < job.graceMs) continue;
    if (overdueMs > job.graceMs) late[job.name] = overdueMs;
  }
  return late;
}

/** How long ago the run that is missing was due; undefined: none is missing. */
function overdueOf(job: JobSpec, ranAgo: JobSeen, now: JobMoment): number | undefined {
  if (ranAgo === "unknown") return undefined;
  const ranAgoMs = ranAgo === "never" ? now.knownForMs : ranAgo;
  if (job.everyMs !== undefined) return ranAgoMs - job.everyMs;
  if (job.at === undefined || now.steadyForMs < job.graceMs) return undefined;
  const dueAgoMs = now.wallMs - lastTime(job.at, now);
  const missing = ranAgo === "never" ? dueAgoMs <= ranAgoMs : dueAgoMs < ranAgoMs - earlyMs;
  return missing ? dueAgoMs : undefined;
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
