/**
 * Two machines with one identity take the session from each other again and again. One that restarted, or came back over
 * another line, does so once, and its old stream is dead by then. So a takeover counts as contested only when the older
 * stream turned out to be alive: its peer answered after it was told to leave.
 */
export interface Contest {
  /** Monotonic milliseconds of the contested takeovers within the last minute, oldest first. */
  readonly contestedMs: readonly number[];
  /** True from the report until a minute has passed without one. */
  readonly reported: boolean;
}

/** More than this many contested takeovers within `contestWithinMs` are a clone. */
export const contestsMax = 3;
export const contestWithinMs = 60_000;

/** No takeover was ever contested. */
export const calm: Contest = { contestedMs: [], reported: false };

/** Counts a contested takeover. `report` is true once for each clone, not for each takeover. */
export function contested(contest: Contest, nowMs: number): { readonly contest: Contest; readonly report: boolean } {
  const kept = contest.contestedMs.filter((at) => at > nowMs - contestWithinMs);
  const reported = contest.reported && kept.length > 0;
  const contestedMs = [...kept, nowMs].slice(-(contestsMax + 1));
  const isClone = contestedMs.length > contestsMax;
  return { contest: { contestedMs, reported: reported || isClone }, report: isClone && !reported };
}
