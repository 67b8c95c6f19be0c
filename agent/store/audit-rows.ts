import { hashOf, previousOf, rolled } from "@blueflame/shared/audit/chain.ts";
import { type AuditRecord, AuditRecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { fromBinary } from "@bufbuild/protobuf";
import type { AuditStand } from "./audit-stand.ts";
import { ordinal } from "./codec.ts";

/** A row on its way out; `null`: it cannot be read. */
export interface AuditRow {
  readonly at: number;
  readonly bytes: Uint8Array;
  readonly record: AuditRecord | null;
}
export function rowFrom(key: string, bytes: Uint8Array = new Uint8Array()): AuditRow {
  try {
    const record = bytes.byteLength > 0 ? fromBinary(AuditRecordSchema, bytes) : null;
    return { at: rowOf(key), bytes, record };
  } catch {
    return { at: rowOf(key), bytes, record: null };
  }
}

export function keyOf(row: number): string {
  return `audit/${ordinal(row)}`;
}
/** What the first row that is left hangs on, as it says itself. */
export function beforeRow(row: number, record: AuditRecord): AuditStand["anchor"] {
  const { generation, number } = record;
  if (number <= 1n) return { row: row - 1, generation: "", number: 0, hash: "" };
  return { row: row - 1, generation, number: Number(number) - 1, hash: previousOf(record) };
}
export function rowOf(key: string): number {
  return Number.parseInt(key.slice("audit/".length), 16);
}

/** The anchor behind row `to`, and behind those that follow it and cannot be read. */
export function movedAnchor(
  stand: AuditStand,
  rows: readonly AuditRow[],
  to: number,
): { readonly moved: AuditStand["anchor"]; readonly bad: readonly number[] } {
  const { anchor, generation, number, hash, earlier } = stand;
  const moved = { ...anchor, row: to }; // its hash rolls over what is taken away
  const bad: number[] = [];
  let unknown = false;
  for (const { at, bytes, record } of rows) {
    if (record && unknown) {
      const ended = [...earlier, { generation, number, hash }];
      const before = ended[ended.findIndex((one) => one.generation === record.generation) - 1];
      if (record.number === 1n && before) Object.assign(moved, before);
      else if (record.number > 1n) {
        const last = Number(record.number) - 1;
        Object.assign(moved, { generation: record.generation, number: last, hash: previousOf(record) });
      }
    }
    unknown = record === null;
    if (record && at > to) break;
    moved.row = Math.max(to, at);
    if (!record) {
      bad.push(at);
      continue;
    }
    moved.hash = record.number > 0n ? hashOf(bytes) : rolled(moved.hash, bytes);
    moved.number = Number(record.number);
    moved.generation = record.generation;
  }
  return { moved: unknown ? { ...moved, generation, number, hash } : moved, bad };
}
