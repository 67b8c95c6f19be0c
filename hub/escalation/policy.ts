import { Fault } from "@blueflame/shared/errors/fault.ts";

/**
 * How long a node may be silent, and what follows. One object serves all nodes with the same means; the defaults stand in
 * {@link defaults}. All times are milliseconds on the monotonic scale.
 */
export interface Policy {
  /** How often agents beat. Default 15 s, 100 ms to 10 min. Lower finds silence sooner and costs messages. */
  readonly heartbeatIntervalMs: number;
  /** A beat is missed when it is later than the interval and this share of it. Default 0.2, 0 to 1. */
  readonly late: number;
  /** YELLOW after this many missed beats. Default 1. */
  readonly yellowMissed: number;
  /** ORANGE after this many in a row; more than `yellowMissed`. Default 3. */
  readonly orangeMissed: number;
  /** RED when silent for longer than this; must come after ORANGE. Default the larger of 60 s and 4 intervals. */
  readonly redSilentMs: number;
  /** True when a second path to this node can be asked; it is asked before every resurrection. */
  readonly secondPath: boolean;
  /** True when a respawn driver is configured for this node. */
  readonly respawn: boolean;
  /** Longer than any probe's own timeout: an answer that has not come by then is a failed attempt. Default 11 min. */
  readonly askLimitMs: number;
  /** Longer than any respawn's own timeout; until then one that has not ended counts as running. Default 11 min. */
  readonly respawnLimitMs: number;
  /** A resurrected node has this long to beat. Default twice RED's silence; lower respawns what was only slow to start. */
  readonly comeBackMs: number;
  /** A node that is unreachable but alive is asked again this often. Default 1 min. */
  readonly askAgainMs: number;
  /** Full-jitter backoff between failed resurrections: base and cap. Default 10 s and 5 min. */
  readonly retryBaseMs: number;
  readonly retryCapMs: number;
  /** After this many failed attempts, or relapses, a person is called; trying goes on. Default 3. */
  readonly personAfter: number;
  /** A returned node is verified by this many beats. Default 2. */
  readonly verifyBeats: number;
  /** A verified node is watched for this long before its incident closes. Default 5 min. */
  readonly probationMs: number;
  /** How long a sent order may be executed, counted from its arrival. Default 1 min. */
  readonly orderValidMs: number;
}

/** Everything but what scales with the interval. */
export const defaults: Omit<Policy, "redSilentMs" | "comeBackMs"> = {
  heartbeatIntervalMs: 15_000,
  late: 0.2,
  yellowMissed: 1,
  orangeMissed: 3,
  secondPath: false,
  respawn: false,
  askLimitMs: 660_000,
  respawnLimitMs: 660_000,
  askAgainMs: 60_000,
  retryBaseMs: 10_000,
  retryCapMs: 300_000,
  personAfter: 3,
  verifyBeats: 2,
  probationMs: 300_000,
  orderValidMs: 60_000,
};

/** The policy with these settings. Throws CONFIG_INVALID naming every figure that is out of order. */
export function policyOf(set: Partial<Policy> = {}): Policy {
  const policy = { ...defaults, ...set };
  const redSilentMs = set.redSilentMs ?? Math.max(60_000, 4 * policy.heartbeatIntervalMs);
  const whole: Policy = { ...policy, redSilentMs, comeBackMs: set.comeBackMs ?? 2 * redSilentMs };
  const wrong = problems(whole);
  if (wrong.length > 0) throw new Fault("CONFIG_INVALID", wrong.join("; "));
  return whole;
}

/** What is out of order in a policy, one clause each; empty when it may be used. */
export function problems(policy: Policy): string[] {
  const wrong: string[] = [];
  const say = (holds: boolean, clause: string) => {
    if (!holds) wrong.push(clause);
  };
  say(policy.heartbeatIntervalMs > 0, "the heartbeat interval must be above zero");
  say(policy.late >= 0 && policy.late <= 1, "`late` must lie between 0% and 100%");
  say(policy.yellowMissed >= 1, "`yellow_missed` must be at least 1");
  say(
    policy.orangeMissed > policy.yellowMissed,
    `ORANGE after ${policy.orangeMissed} missed beats does not come after YELLOW at ${policy.yellowMissed}`,
  );
  say(
    policy.redSilentMs > orangeMs(policy),
    `RED after ${seconds(policy.redSilentMs)} does not come after ORANGE at ${seconds(orangeMs(policy))}`,
  );
  return wrong;
}

/** Silence longer than this is YELLOW. */
export function yellowMs(policy: Policy): number {
  return missMs(policy, policy.yellowMissed);
}
/** Silence longer than this is ORANGE. */
export function orangeMs(policy: Policy): number {
  return missMs(policy, policy.orangeMissed);
}

/** Beats missed in a row after this long a silence. */
export function missedAfter(policy: Policy, silentMs: number): number {
  return Math.max(0, Math.ceil(silentMs / policy.heartbeatIntervalMs - policy.late) - 1);
}

// The grace is given once and not per beat: each beat is expected an interval after the one before, and may be late.
function missMs(policy: Policy, missed: number): number {
  return policy.heartbeatIntervalMs * (missed + policy.late);
}

/** For sentences: `18s`, `1.5s`. */
export function seconds(ms: number): string {
  return `${Math.round(ms / 100) / 10}s`;
}
