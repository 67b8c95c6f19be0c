/**
 * How the outbox goes to the hub: in order, paced, nothing twice within a session, nothing forgotten before its Ack. Pure.
 *
 *   durable at the hub │ on the way: `flight`, at most `window` records │ not read yet
 *   ───────────────────┼────────────────────────────────────────────────┼──────────────▶ seq
 *                    acked                                            sent
 *
 * One chunk at a time: idle → reading (asked of the store) → writing (given to the stream) → idle. It becomes idle again
 * when the stream took the bytes or an Ack covers them, so a heartbeat never waits behind more than one chunk.
 */
export interface Backlog {
  /** Records that may be on the way without an Ack. */
  readonly window: number;
  readonly acked: bigint;
  readonly sent: bigint;
  readonly flight: readonly Chunk[];
  readonly doing: "idle" | "reading" | "writing";
  /** True when there may be records behind `sent`. */
  readonly more: boolean;
  /** Something was appended while the store was being read: an empty answer is then no proof. */
  readonly appended: boolean;
  /** Nothing is sent: the hub would take our records for old ones and drop them. */
  readonly held: boolean;
}

/** Seqs have gaps, so the count travels with them. */
export interface Chunk {
  readonly through: bigint;
  readonly count: number;
}

/** Asks the store for the next chunk. */
export interface Fetch {
  readonly after: bigint;
  readonly limit: number;
}

export function openBacklog(window: number, durable: bigint, held: boolean): Backlog {
  return { window, acked: durable, sent: durable, flight: [], doing: "idle", more: true, appended: false, held };
}

/** Records on the way without an Ack. */
export function inFlight(backlog: Backlog): number {
  return backlog.flight.reduce((sum, chunk) => sum + chunk.count, 0);
}

/** The next chunk to ask for, if there is room, time and something to send. */
export function pump(backlog: Backlog, chunkRecords: number): { backlog: Backlog; fetch?: Fetch } {
  const room = backlog.window - inFlight(backlog);
  if (backlog.held || backlog.doing !== "idle" || !backlog.more || room <= 0) return { backlog };
  return {
    backlog: { ...backlog, doing: "reading", appended: false },
    fetch: { after: backlog.sent, limit: Math.min(chunkRecords, room) },
  };
}

/** The store answered and the chunk was given to the stream; a count of 0 means that nothing is left. */
export function sent(backlog: Backlog, chunk: Chunk): Backlog {
  if (backlog.doing !== "reading") return backlog;
  if (chunk.count === 0) return { ...backlog, doing: "idle", more: backlog.appended };
  // The Ack of what an earlier stream carried may have overtaken us while the store was being read.
  if (chunk.through <= backlog.acked) return { ...backlog, doing: "writing", sent: max(backlog.sent, chunk.through) };
  return { ...backlog, doing: "writing", sent: max(backlog.sent, chunk.through), flight: [...backlog.flight, chunk] };
}

/** The stream took the chunk's bytes. */
export function written(backlog: Backlog): Backlog {
  return backlog.doing === "writing" ? { ...backlog, doing: "idle" } : backlog;
}

/** The store could not be read: try again later. */
export function unread(backlog: Backlog): Backlog {
  return backlog.doing === "reading" ? { ...backlog, doing: "idle" } : backlog;
}

export function appended(backlog: Backlog): Backlog {
  return { ...backlog, more: true, appended: true };
}

/** Everything up to `through` is durable. A chunk that is covered in part stays whole: seqs do not tell its count. */
export function acked(backlog: Backlog, through: bigint): Backlog {
  if (through <= backlog.acked) return backlog;
  const flight = backlog.flight.filter((chunk) => chunk.through > through);
  const arrived = backlog.doing === "writing" && backlog.sent <= through;
  return {
    ...backlog,
    acked: through,
    sent: max(backlog.sent, through),
    flight,
    doing: arrived ? "idle" : backlog.doing,
  };
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
