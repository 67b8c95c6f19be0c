/** When a workload was last seen to get on. JSON-able. */
export interface Progress {
  readonly movedMs: number;
  readonly lastBeatMs?: number;
}

/** What was seen of it since the last look. CPU is not among it: what burns CPU and moves nothing is stuck. */
export interface Movement {
  readonly lastBeatMs?: number;
  readonly outputBytes: number;
  readonly ioBytes: number;
}

/**
 * So little I/O in one look is a process that wakes itself: an idle Node reads and writes 8 bytes of an eventfd every ten seconds
 * (24.21, measured), and would never be seen to stand still.
 */
const idleBytes = 64;

/**
 * The progress after a look at `nowMs`. A beat, output or I/O of more than an idle process's is progress. Time in which the agent was away counts as none: it
 * could not look.
 */
export function advance(
  before: Progress,
  { lastBeatMs, outputBytes, ioBytes }: Movement,
  nowMs: number,
  awayMs: number,
): Progress {
  const beaten = lastBeatMs !== undefined && lastBeatMs !== before.lastBeatMs;
  const beat = lastBeatMs ?? before.lastBeatMs;
  const movedMs =
    outputBytes > 0 || ioBytes > idleBytes ? nowMs : beaten ? Math.max(before.movedMs, lastBeatMs) : undefined;
  return {
    movedMs: Math.min(nowMs, movedMs ?? before.movedMs + awayMs),
    ...(beat !== undefined && { lastBeatMs: beat }),
  };
}
