import { Fault, unreachable } from "@blueflame/shared/errors/fault.ts";
import {
  AuditRecordSchema,
  DecisionRecordSchema,
  IncidentSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import {
  DroppedSchema,
  type Record as LinkRecord,
  OrderResultSchema,
  ReadingBatchSchema,
  RecordSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

/**
 * A record's kind as one letter of its key; readings of one moment, by the minute and by the quarter of an hour; decisions as they
 * are and deflated.
 */
export type Kind = "i" | "a" | "d" | "z" | "r" | "m" | "q" | "o" | "x";

/** What a record holds, already serialized: audit, decision and incident are stored in their own tables too. */
export interface Payload {
  readonly kind: Kind;
  readonly bytes: Uint8Array;
}

/** The numbers of the kinds in message Record; its test compares them with the generated schema. */
const fields = { i: 3, a: 4, d: 5, z: 5, r: 6, m: 6, q: 6, o: 7, x: 8 } as const satisfies Record<Kind, number>;
export const kindNames = {
  i: "incident",
  a: "audit",
  d: "decision",
  z: "decision",
  r: "readings",
  m: "readings",
  q: "readings",
  o: "orderResult",
  x: "dropped",
} as const;

/** The number and name of each kind's field, for the test that holds them to the schema. */
export function kindFields(): { number: number; name: string | undefined; written: string }[] {
  return (Object.keys(fields) as Kind[]).map((kind) => ({
    number: fields[kind],
    name: RecordSchema.fields.find((field) => field.number === fields[kind])?.localName,
    written: kindNames[kind],
  }));
}

/**
 * A serialized Record. Written by hand because the payload is serialized already, and because its seq is known only when
 * the batch is built, on the way between a crash and a restart.
 */
export function encodeRecord(seq: number, wallMs: number, payload: Payload): Uint8Array {
  const seconds = Math.floor(wallMs / 1000);
  return new BinaryWriter()
    .tag(1, WireType.Varint)
    .uint64(seq)
    .tag(2, WireType.LengthDelimited)
    .fork()
    .tag(1, WireType.Varint)
    .int64(seconds)
    .tag(2, WireType.Varint)
    .int32(Math.floor((wallMs - seconds * 1000) * 1e6))
    .join()
    .tag(fields[payload.kind], WireType.LengthDelimited)
    .bytes(payload.bytes)
    .finish();
}

/** What a record holds. Throws BAD_REQUEST for one that holds nothing this version knows. */
export function payloadOf({ kind }: LinkRecord): Payload {
  switch (kind.case) {
    case "incident":
      return { kind: "i", bytes: toBinary(IncidentSchema, kind.value) };
    case "audit":
      return { kind: "a", bytes: toBinary(AuditRecordSchema, kind.value) };
    case "decision":
      return { kind: "d", bytes: toBinary(DecisionRecordSchema, kind.value) };
    case "readings":
      return { kind: "r", bytes: toBinary(ReadingBatchSchema, kind.value) };
    case "orderResult":
      return { kind: "o", bytes: toBinary(OrderResultSchema, kind.value) };
    case "dropped":
      return { kind: "x", bytes: toBinary(DroppedSchema, kind.value) };
    case undefined:
      throw new Fault("BAD_REQUEST", "a record without content");
    default:
      return unreachable(kind);
  }
}
