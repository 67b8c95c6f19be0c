import type { SignedHead } from "@blueflame/shared/audit/check.ts";
import { unreachable } from "@blueflame/shared/errors/fault.ts";
import {
  DroppedSchema,
  type Record as LinkRecord,
  type LinkResponse,
  RecordSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { create, fromBinary } from "@bufbuild/protobuf";
import { type Duration, timestampMs } from "@bufbuild/protobuf/wkt";
import type { Waiting } from "./ports.ts";
import type { Event } from "./state.ts";

/** Milliseconds of a protobuf duration; 0 when it is unset or negative. */
export function durationMs(duration: Duration | undefined): number {
  if (!duration) return 0;
  return Math.max(0, Number(duration.seconds) * 1000 + duration.nanos / 1e6);
}

/** The protocol's bound on one Records message, less some room for its frame. */
export const recordBytesMax = 1_000_000;

/**
 * A stored record as it goes on the wire. One that cannot be decoded or is larger than the hub accepts would end every
 * stream it is sent on, and nothing behind it would ever arrive: in its place goes a Dropped record that says so.
 */
export function recordFrom(stored: Waiting): {
  readonly record: LinkRecord;
  readonly dropped?: "undecodable" | "oversize";
} {
  const { seq, bytes, generation = "" } = stored;
  if (bytes.byteLength > recordBytesMax) {
    return tombstone(stored, "oversize", `it has ${bytes.byteLength} bytes, more than the link takes`);
  }
  try {
    const record = fromBinary(RecordSchema, bytes);
    record.seq = seq;
    record.generation = generation;
    return { record };
  } catch {
    return tombstone(stored, "undecodable", "it cannot be decoded");
  }
}

function tombstone({ seq, generation = "" }: Waiting, kind: "undecodable" | "oversize", because: string) {
  const value = create(DroppedSchema, { kind, count: 1n, firstSeq: seq, lastSeq: seq, because });
  return { record: create(RecordSchema, { seq, generation, kind: { case: "dropped", value } }), dropped: kind };
}

/** The head that the hub has countersigned, when the message is one. */
export function headOf({ message }: LinkResponse): SignedHead | undefined {
  if (message.case !== "auditHead") return undefined;
  const { generation, number, hash, signedAt, signature } = message.value;
  const signedAtMs = signedAt ? timestampMs(signedAt) : 0;
  const link = { generation, number: Number(number), hash: Buffer.from(hash).toString("hex") };
  return { ...link, signedAtMs, signature: Buffer.from(signature).toString("base64") };
}

/** The session's event for a message of the hub; undefined for one that is of a newer kind than this agent. */
export function eventOf(response: LinkResponse, lastSeq: bigint, bootMs: () => number): Event | undefined {
  const { message } = response;
  switch (message.case) {
    case "welcome": {
      const { heartbeatInterval, hubEpoch, durableThroughSeq, recordsWindow, recordsPerSecond, storeBehind } =
        message.value;
      const welcome = { intervalMs: durationMs(heartbeatInterval), epoch: hubEpoch, durable: durableThroughSeq };
      const pace = { window: recordsWindow, recordsPerSecond };
      return { is: "welcome", welcome: { ...welcome, ...pace, lastSeq, behind: storeBehind } };
    }
    case "ack":
      return { is: "ack", through: message.value.throughSeq, lastSeq: lastSeq };
    case "order":
      return { is: "order", order: message.value, bootMs: bootMs() };
    case "move":
      return { is: "move", withinMs: durationMs(message.value.comeBackWithin), because: message.value.because };
    case "auditHead":
    case undefined:
      return undefined;
    default:
      return unreachable(message);
  }
}
