import { invariant } from "@blueflame/shared/errors/fault.ts";

/** The bounds of a link session. Times in milliseconds; defaults below. */
export interface Policy {
  /** HOST:PORT, at least one; tried in turn. */
  readonly addresses: readonly string[];
  /** Orders for another life of this identity are refused. */
  readonly incarnation: bigint;
  /** True in a process that is not the first one of this store. */
  readonly restarted: boolean;
  /** Heartbeats go this often when the hub's Welcome names no interval. */
  readonly firstIntervalMs: number;
  /** Waits between tries are drawn from [0, min(cap, base·2^n)). Lower: faster return, harder storm on the hub. */
  readonly baseMs: number;
  readonly capMs: number;
  /** The cap for refusals that trying again cannot mend; tried all the same, because a person may mend them at the hub. */
  readonly slowCapMs: number;
  /** A session that was open this long resets the waits; a shorter one counts as one more failure. */
  readonly lastedMs: number;
  /** For TCP, TLS and HTTP/2 together. */
  readonly openWithinMs: number;
  /** From Hello to Welcome: a hub that froze still completes connections in its kernel. */
  readonly welcomeWithinMs: number;
  /** From GoingAway to the hub's end of the stream. */
  readonly leaveWithinMs: number;
  /** At most one Status in this time. */
  readonly statusEveryMs: number;
  /** Records on the way without any Ack for this long are said to be a trouble; the session goes on. */
  readonly ackWithinMs: number;
  /** Between two reads of an outbox that could not be read. */
  readonly rereadMs: number;
  /** A chunk of the outbox has at most so many records and about so many bytes. */
  readonly chunkRecords: number;
  readonly chunkBytes: number;
  /** The backlog goes at most this fast, and slower where the hub asks for it. Lower: a slower return of history, less of a storm. */
  readonly recordsPerSecond: number;
  /** Our own tick later than this means that we were away: deadlines for the hub then move by that time. */
  readonly awayMs: number;
}

/** What holds unless told otherwise. */
export const defaults = {
  firstIntervalMs: 15_000,
  baseMs: 500,
  capMs: 30_000,
  slowCapMs: 300_000,
  lastedMs: 30_000,
  openWithinMs: 10_000,
  welcomeWithinMs: 10_000,
  leaveWithinMs: 2_000,
  statusEveryMs: 1_000,
  ackWithinMs: 60_000,
  rereadMs: 5_000,
  chunkRecords: 100,
  chunkBytes: 256 * 1024,
  recordsPerSecond: 500,
  awayMs: 250,
} as const satisfies Partial<Policy>;

/** What a hub may ask for is bounded too: a wrong one must not stun us, flood itself or send us away for ever. */
export const bounds = {
  intervalMs: { min: 50, max: 3_600_000 },
  window: { otherwise: 100, max: 10_000 },
  comeBackMs: 600_000,
} as const;

/** Checks how the settings relate; throws for our own mistakes. */
export function validPolicy(policy: Policy): Policy {
  invariant(policy.addresses.length > 0, "a link has an address");
  invariant(policy.baseMs > 0 && policy.capMs >= policy.baseMs, "the cap of the waits is not below their base");
  invariant(policy.slowCapMs >= policy.capMs, "a hopeless try is not repeated faster than a hopeful one");
  invariant(policy.recordsPerSecond > 0, "the backlog moves");
  invariant(policy.chunkRecords > 0 && policy.chunkBytes > 0, "a chunk has room for a record");
  return policy;
}
