import type { Clock } from "@blueflame/shared/time/clock.ts";
import type { Log } from "./judge.ts";

export interface SweepOptions {
  readonly clock: Clock;
  readonly everyMs: number;
  sweep(): void;
  amnesty(byMs: number): void;
  /** Whatever else wants a look now and then. */
  look(): void;
  readonly log: Log;
}

/** Lateness below this is the timer's own. */
const slackMs = 20;
const slackShare = 0.1;

/**
 * Looks at the fleet every `everyMs`, and at itself first: a sweep that comes late means that this process was away (starved,
 * stopped, suspended), and whatever nodes have sent meanwhile still waits in the sockets. So every deadline moves by that
 * time, and nobody is judged before the event loop has been through its poll phase, in which those messages arrive.
 */
export function startSweeps({ clock, everyMs, sweep, amnesty, look, log }: SweepOptions) {
  let cancel = () => {};
  let stopped = false;
  let dueMs = clock.monotonicMs() + everyMs;
  let asleepMs = clock.bootMs() - clock.monotonicMs();
  let worstMs = 0;
  const slack = Math.max(slackMs, everyMs * slackShare);

  const plan = () => {
    if (stopped) return;
    dueMs = clock.monotonicMs() + everyMs;
    cancel = clock.wakeAt(dueMs, wake);
  };
  const wake = () => {
    const lateMs = clock.monotonicMs() - dueMs;
    const asleepNowMs = clock.bootMs() - clock.monotonicMs();
    // Suspended: no time has passed on the monotonic scale, but every connection is dead and has to be made again.
    const sleptMs = asleepNowMs - asleepMs > everyMs ? asleepNowMs - asleepMs : 0;
    asleepMs = asleepNowMs;
    worstMs = Math.max(worstMs, lateMs);
    const awayMs = Math.round((lateMs > slack ? lateMs : 0) + sleptMs);
    if (awayMs > 0) amnesty(awayMs);
    if (awayMs > everyMs) log.warn({ awayMs }, "the hub was away; every deadline moves by that");
    // Timers run before the poll phase, immediates after it: one to get there, one to let what it brought be handled.
    setImmediate(() => setImmediate(judgeNow));
  };
  const judgeNow = () => {
    if (stopped) return;
    try {
      look();
    } catch (error) {
      log.error({ because: String(error) }, "a look failed");
    }
    sweep();
    plan();
  };
  plan();
  return {
    worstLagMs: () => worstMs,
    stop: () => {
      stopped = true;
      cancel();
    },
  };
}
