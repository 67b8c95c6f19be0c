import type { FaultCode } from "@blueflame/shared/errors/fault.ts";

/**
 * What one stream of one node may do. Pure: the driver asks here, stores, and only then answers.
 *
 *            Hello: mine, not of an older life          Move sent, or the stream ended
 *   greeting ───────────────────────────────────▶ open ────────────────────────────────▶ (forgotten)
 *      │  anything else, or no Hello in time        │  a second Hello, records out of order or beyond the window
 *      └──────────────▶ refused with a code ◀───────┘
 */
export interface OpenSession {
  readonly nodeId: string;
  readonly incarnation: bigint;
  readonly session: bigint;
  readonly bootId: string;
  readonly generation: string;
  /** Everything of `generation` up to here was taken in on this stream or was durable before; later ones are fresh. */
  readonly takenThrough: bigint;
}

/** A refusal ends the stream with this code; `saw` says what was seen. */
export interface Refusal {
  readonly is: "refused";
  readonly code: FaultCode;
  readonly saw: string;
}

/** What a node claims in its Hello, as far as it decides anything. */
export interface Claim {
  readonly nodeId: string;
  readonly incarnation: bigint;
  readonly session: bigint;
  readonly bootId: string;
  readonly generation: string;
  readonly lastSeq: bigint;
  /** Groups on the disk of its store; 0 when it does not say. */
  readonly storeEpoch: bigint;
}

/** What the hub knows about the node before this Hello. */
export interface Known {
  /** The highest incarnation ever seen; 0 when the node is new. */
  readonly incarnation: bigint;
  /** The highest durable seq of the claimed store generation; 0 when there is none. */
  readonly durableThrough: bigint;
  /** The highest epoch of the claimed store generation that was told; 0 when none was. */
  readonly storeEpoch: bigint;
}

/** At most this many records may be on the way without an Ack; each agent is told so in its Welcome. */
export const recordsWindow = 512;

const claimMax = 128;
/** Lives are counted; machines compare them as numbers, and orders carry them back. */
const incarnationMax = BigInt(Number.MAX_SAFE_INTEGER);
/** A higher epoch is no hub's: following it up to the end of the field would leave no room for those that come after. */
const epochMax = 2n ** 62n;
/** It is a part of keys, and those are bounded; ours are UUIDs. */
const generationMax = 64;

/** Judges a Hello. `certified` is the node id in the client's certificate. */
export function greet(
  certified: string,
  claim: Claim,
  known: Known,
): Refusal | { readonly is: "open"; readonly session: OpenSession; readonly storeBehind: boolean } {
  if (claim.nodeId !== certified) {
    return refuse("NODE_ID_MISMATCH", `the node calls itself '${clip(claim.nodeId)}', its certificate '${certified}'`);
  }
  if (claim.incarnation < 1n) return refuse("LINK_PROTOCOL", `${certified} said Hello without an incarnation`);
  if (claim.incarnation > incarnationMax) {
    return refuse("LINK_PROTOCOL", `${certified} said Hello with the incarnation ${claim.incarnation}`);
  }
  if (!isGeneration(claim.generation)) {
    return refuse("LINK_PROTOCOL", `${certified} said Hello with the store generation '${clip(claim.generation)}'`);
  }
  if (claim.incarnation < known.incarnation) {
    const said = `${certified} comes with incarnation ${claim.incarnation}`;
    return refuse("INCARNATION_OLD", `${said}, but incarnation ${known.incarnation} was seen before`);
  }
  return {
    is: "open",
    session: {
      nodeId: certified,
      incarnation: claim.incarnation,
      session: claim.session,
      bootId: clip(claim.bootId),
      generation: claim.generation,
      takenThrough: known.durableThrough,
    },
    // The node's store knows less than it once sent: it was set back without starting a new generation, and what it
    // records next would carry numbers that this hub takes for duplicates.
    storeBehind: claim.lastSeq < known.durableThrough || (claim.storeEpoch > 0n && claim.storeEpoch < known.storeEpoch),
  };
}

/** A batch of records, judged: what is new, and what was there already. */
export type Taken<R> =
  | Refusal
  | { readonly is: "taken"; readonly session: OpenSession; readonly fresh: readonly R[]; readonly duplicates: number };

/**
 * Sorts a batch into fresh records and duplicates. Within a batch seqs must ascend; a gap is a record that the node's
 * bound dropped. `waiting` records were taken in before and are not yet durable.
 */
export function take<R extends { readonly seq: bigint }>(
  session: OpenSession,
  records: readonly R[],
  waiting: number,
): Taken<R> {
  if (waiting + records.length > recordsWindow) {
    const there = `${waiting + records.length} records of ${session.nodeId} are on the way`;
    return refuse("LINK_PROTOCOL", `${there}, the window is ${recordsWindow}`);
  }
  let last = 0n;
  for (const { seq } of records) {
    if (seq <= last) return refuse("LINK_PROTOCOL", `${session.nodeId} sent record ${seq} behind record ${last}`);
    last = seq;
  }
  const fresh = records.filter((record) => record.seq > session.takenThrough);
  const takenThrough = last > session.takenThrough ? last : session.takenThrough;
  return { is: "taken", session: { ...session, takenThrough }, fresh, duplicates: records.length - fresh.length };
}

/** A message other than Hello on a stream that has not been greeted, or a second Hello on one that has. */
export function outOfTurn(nodeId: string, got: string, opened: boolean): Refusal {
  return refuse(
    "LINK_PROTOCOL",
    opened ? `${nodeId} said Hello twice on a stream` : `${nodeId} sent ${got} before Hello`,
  );
}

/** The epoch above which this hub has to be, of what a node says that it has seen; 0 where it says what no hub can be at. */
export function credibleEpoch(seen: bigint): bigint {
  return seen > epochMax ? 0n : seen;
}

/** True of what can be a part of keys: the generation of a node's store. */
export function isGeneration(text: string): boolean {
  return text !== "" && text.length <= generationMax && /^[\w.-]+$/.test(text);
}

/** Text from a peer, short enough for a log line, and well-formed also where the cut goes through a pair: it may be a key. */
export function clip(text: string): string {
  return text.length > claimMax ? `${text.slice(0, claimMax).toWellFormed()}…` : text;
}

function refuse(code: FaultCode, saw: string): Refusal {
  return { is: "refused", code, saw };
}
