import { DroppedSchema, RecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { isDamage, ordinal } from "./codec.ts";
import type { Indexed } from "./outbox-index.ts";
import { type Kind, kindNames } from "./outbox-record.ts";
import { recordBytes } from "./outbox-rollup.ts";
import type { SealedDatabase } from "./sealed-database.ts";

/** A row of the outbox as it was found: the record as it was put in, or what is wrong with it. */
export interface Row {
  readonly record: Indexed;
  readonly bytes: Uint8Array;
}
export interface BadRow {
  readonly record: Indexed;
  readonly because: string;
}
type File = Pick<SealedDatabase, "getMany" | "submit">;

/**
 * The rows of these records, in their order; those that are gone, do not open or do not inflate are bad, and hold up none of the
 * others. Rejects when the disk refuses.
 */
export async function rowsOf(database: File, records: readonly Indexed[]): Promise<(Row | BadRow)[]> {
  try {
    return unpacked(records, await database.getMany(records.map(keyOf)));
  } catch (error) {
    if (!isDamage(error)) throw error;
  }
  const rows: (Row | BadRow)[] = [];
  for (const record of records) {
    try {
      rows.push(...unpacked([record], await database.getMany([keyOf(record)])));
    } catch (error) {
      if (!isDamage(error)) throw error;
      rows.push({ record, because: error.saw });
    }
  }
  return rows;
}
function unpacked(records: readonly Indexed[], values: readonly (Uint8Array | undefined)[]): (Row | BadRow)[] {
  return records.map((record, at) => {
    const value = values[at];
    if (!value) return { record, because: "its row is gone" };
    try {
      return { record, bytes: recordBytes(record.kind, value) };
    } catch (error) {
      if (!isDamage(error)) throw error;
      return { record, because: error.saw };
    }
  });
}

/** The rows, the good ones apart from the bad ones. */
export function parted(rows: readonly (Row | BadRow)[]): { readonly good: Row[]; readonly bad: BadRow[] } {
  const good: Row[] = [];
  const bad: BadRow[] = [];
  for (const row of rows) {
    if ("because" in row) bad.push(row);
    else good.push(row);
  }
  return { good, bad };
}

/** What stands in the place of a bad row: a Dropped record under its seq, so that whoever reads on knows what is missing. */
export function inPlaceOf({ record, because }: BadRow, wallMs: number): { indexed: Indexed; bytes: Uint8Array } {
  const seq = BigInt(record.seq);
  const kind = kindNames[record.kind];
  const value = create(DroppedSchema, { kind, count: 1n, firstSeq: seq, lastSeq: seq, because });
  const at = timestampFromMs(Math.floor(wallMs));
  const bytes = toBinary(RecordSchema, create(RecordSchema, { seq, at, kind: { case: "dropped", value } }));
  return { indexed: { kind: "x", seq: record.seq, bytes: bytes.byteLength }, bytes };
}

/** The key carries what the index needs, so that opening reads no values: seq, kind, size. */
export function keyOf({ kind, seq, bytes }: Indexed): string {
  return `outbox/${ordinal(seq)}${kind}${bytes.toString(36)}`;
}
export function parseKey(key: string): Indexed {
  const at = "outbox/".length;
  return {
    seq: Number.parseInt(key.slice(at, at + 14), 16),
    kind: key.slice(at + 14, at + 15) as Kind,
    bytes: Number.parseInt(key.slice(at + 15), 36),
  };
}
/** What the row of an outbox record holds. Throws STORE_DAMAGED. */
export function recordOf(key: string, stored: Uint8Array): Uint8Array {
  return recordBytes(parseKey(key).kind, stored);
}
/** True of the row of a reading: there are many, and they are the first that may be lost. */
export function isReading(key: string): boolean {
  return key.startsWith("outbox/") && kindNames[parseKey(key).kind] === "readings";
}
