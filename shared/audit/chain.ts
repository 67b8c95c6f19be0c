import { createHash } from "node:crypto";
import { type AuditRecord, AuditRecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

/** A record's place in a chain, and the hash of what stands there. */
export interface Link {
  readonly generation: string;
  readonly number: number;
  /** Lower-case hexadecimal, 64 digits. */
  readonly hash: string;
}

/** The action of the first record of a generation; its before_json is {@link Before}, its after_json {@link Begun}. */
export const beginAction = "audit.begin";

/** What stands before the first record of a generation. */
export interface Before {
  /** The hash of the last record before; empty when nothing stands before. */
  readonly hash: string;
  /** Of which generation that record is, and its number; empty and 0 when it is in no chain. */
  readonly generation: string;
  readonly number: number;
  /** The newest head of an earlier generation that the hub had countersigned, as far as the store knows. */
  readonly signed?: Link;
}
/** Whose the chain is that begins. */
export interface Begun {
  readonly owner: string;
  readonly generation: string;
}

/** The bytes of which a record's hash is taken. */
export function canonical(record: AuditRecord): Uint8Array {
  return toBinary(AuditRecordSchema, record, { writeUnknownFields: false });
}
/** Appends a record's place to the canonical bytes of one that has none: its fields are the last ones. */
export function placed(bytes: Uint8Array, number: number, previous: string, generation: string): Uint8Array {
  return new BinaryWriter()
    .raw(bytes)
    .tag(14, WireType.Varint)
    .uint64(number)
    .tag(15, WireType.LengthDelimited)
    .bytes(Buffer.from(previous, "hex"))
    .tag(16, WireType.LengthDelimited)
    .string(generation)
    .finish();
}

export function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
/** What the first record of a chain has in place of a record before it. */
export function genesis(owner: string, generation: string): string {
  return hashOf(Buffer.from(`blueflame audit chain 1\n${owner}\n${generation}\n`));
}
/** The running hash over records without a chain: of the one before (empty: none) and this record's bytes. */
export function rolled(before: string, bytes: Uint8Array): string {
  return createHash("sha256").update(Buffer.from(before, "hex")).update(bytes).digest("hex");
}
/** The running hash after a record, in a chain or in none. */
export function running(before: string, record: AuditRecord): string {
  const bytes = canonical(record);
  return record.number > 0n ? hashOf(bytes) : rolled(before, bytes);
}

export function previousOf(record: AuditRecord): string {
  return Buffer.from(record.previous).toString("hex");
}

/** What the hub signs under a head, and the node checks; see AuditHead in incident.proto. */
export function headText(nodeId: string, { generation, number, hash }: Link, signedAtMs: number): Uint8Array {
  return Buffer.from(`blueflame audit head 1\n${nodeId}\n${generation}\n${number}\n${hash}\n${signedAtMs}\n`);
}

/** The text as T's JSON; undefined when it is none. */
export function jsonOf<T>(text: string): Partial<T> | undefined {
  try {
    const found: unknown = JSON.parse(text);
    return typeof found === "object" && found !== null ? (found as Partial<T>) : undefined;
  } catch {
    return undefined;
  }
}
