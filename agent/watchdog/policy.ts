import { silentMs } from "../constants.ts";

/** How one process guards another. The same machine runs by any of these; all times in milliseconds. */
export interface GuardPolicy {
  /** Its process is looked at this often, whatever it says. */
  readonly checkEveryMs: number;
  /** A look may come so much earlier or later than that, to come with a beat: each wakes the process. */
  readonly withBeatMs: number;
  /** Silent for longer, it is looked at: a process that runs and says nothing is hung. */
  readonly silentMs: number;
  /** As `silentMs`, while it says that it is still starting: it opens a store, and may be busy with that. */
  readonly wakingMs: number;
  /** It says so for longer than this: it will never be done. */
  readonly wakesMaxMs: number;
  /** What was started and shows no sign of life for so long has failed. */
  readonly startMs: number;
  /** The time in which it waits for a processor that others hold is no silence, up to so much of it. */
  readonly starvedMs: number;
  /** Before each start somebody else may be faster: init, which guards the watchdog too. */
  readonly firstWaitMs: number;
  /** The first start after a good time is immediate, each further one waits a random time up to min(cap, base·2^n). */
  readonly backoff: { readonly baseMs: number; readonly capMs: number };
  /** So many restarts without a good time between them, then the cooldown. */
  readonly restartsMax: number;
  readonly cooldownMs: number;
  /** After the cooldown the emergency bootstrap runs, once, for so long at most; absent: there is none, one start follows each cooldown. */
  readonly emergencyMs?: number;
  /** After the emergency: one start in each such time (the upper half of it is random), for ever. */
  readonly slowRetryMs: number;
  /** So long without a fault, and everything that was counted is forgiven. */
  readonly wellAfterMs: number;
  /** Who said that it leaves and still runs after this time is ended. */
  readonly leaveMs: number;
  /** So many starts in a row have failed: the good copy is run instead. */
  readonly goodAfter: number;
  /** While nobody guards the workloads, the critical ones are looked after this often. */
  readonly tendEveryMs: number;
  /** True: whoever guards stays when the guarded one leaves for good, and waits for the next. */
  readonly stays: boolean;
}

/** The watchdog's over its agent: checked every second, crash seen at once, hang within 3 s (design.md, section 9). */
export const agentPolicy: GuardPolicy = {
  checkEveryMs: 1000,
  withBeatMs: 250,
  silentMs,
  wakingMs: 30_000,
  // A store of many gigabytes that has to be repaired is done by then.
  wakesMaxMs: 900_000,
  startMs: 30_000,
  starvedMs: 10_000,
  firstWaitMs: 0,
  backoff: { baseMs: 500, capMs: 10_000 },
  restartsMax: 5,
  cooldownMs: 300_000,
  emergencyMs: 600_000,
  slowRetryMs: 300_000,
  wellAfterMs: 60_000,
  // More than the agent itself allows its goodbye to take.
  leaveMs: 20_000,
  goodAfter: 2,
  tendEveryMs: 5000,
  stays: false,
};

/**
 * The agent's over its watchdog, which answers its beats: nothing comes after a cooldown but the next start. An answer is missing
 * too while the agent itself is away, and that shows only from the next look on: a rarer look would leave an answer no time.
 */
export const watchdogPolicy: GuardPolicy = {
  checkEveryMs: 1000,
  withBeatMs: 250,
  silentMs,
  wakingMs: silentMs,
  wakesMaxMs: 60_000,
  startMs: 10_000,
  starvedMs: 10_000,
  firstWaitMs: 0,
  backoff: { baseMs: 500, capMs: 10_000 },
  restartsMax: 5,
  cooldownMs: 300_000,
  slowRetryMs: 300_000,
  wellAfterMs: 60_000,
  leaveMs: 5000,
  goodAfter: Number.POSITIVE_INFINITY,
  tendEveryMs: 300_000,
  stays: true,
};
