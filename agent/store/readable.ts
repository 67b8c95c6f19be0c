import {
  AuditRecordSchema,
  DecisionRecordSchema,
  IncidentSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { RecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import type { Handle } from "@blueflame/shared/store/level/opening.ts";
import { fromBinary } from "@bufbuild/protobuf";
import { shown } from "./codec.ts";
import type { Form } from "./form.ts";
import { identityKey, storedIdentity } from "./identity.ts";
import { recordOf } from "./outbox-rows.ts";

/** How the value of each table is read; the first whose prefix the key begins with. Tables of a later version are taken as they are. */
const readers: readonly (readonly [prefix: string, read: (bytes: Uint8Array, key: string) => unknown])[] = [
  ["workload/", (bytes) => JSON.parse(Buffer.from(bytes).toString())],
  ["incident/", (bytes) => fromBinary(IncidentSchema, bytes)],
  ["audit/", (bytes) => fromBinary(AuditRecordSchema, bytes)],
  ["decision/", (bytes) => fromBinary(DecisionRecordSchema, bytes)],
  ["outbox/", (bytes, key) => fromBinary(RecordSchema, recordOf(key, bytes))],
  ["config/", (bytes) => JSON.parse(Buffer.from(bytes).toString())],
  ["kv/", (bytes) => longEnough(bytes, 8)],
  ...["name/", "log/", "trade/", "risk/", "request/", "space/"].map(
    (prefix) => [prefix, (bytes: Uint8Array) => JSON.parse(Buffer.from(bytes).toString())] as const,
  ),
  ["entry/", (bytes) => longEnough(bytes, 16)],
  ["token/", (bytes) => longEnough(bytes, 1)],
  ["order/", (bytes) => longEnough(bytes, 1)],
  ["closed/", (bytes) => longEnough(bytes, 1)],
];

/** A row in the clear. */
export interface ReadableRow {
  readonly key: string;
  readonly value: Uint8Array;
}

/** Throws, of whatever kind, where the value cannot be what was written at its place. */
function readAt(form: Form, place: string, sealed: Uint8Array): ReadableRow {
  const row = form.open(place, sealed);
  if (row.key === identityKey) storedIdentity(row.value);
  else readers.find(([prefix]) => row.key.startsWith(prefix))?.[1](row.value, row.key);
  return row;
}

/** Why the value cannot be what was written at its place; undefined when it can be. */
export function unreadable(form: Form, place: string, sealed: Uint8Array): string | undefined {
  try {
    readAt(form, place, sealed);
    return undefined;
  } catch (error) {
    return `'${shown(place)}': ${(error as Error).message}`;
  }
}

/** The rows whose keys begin with `prefix`, ascending, without those that cannot be read. Throws what the disk says. */
export async function* rowsIn(handle: Handle, form: Form, prefix: string): AsyncGenerator<ReadableRow, undefined> {
  for await (const [place, sealed] of handle.iterator({ gte: prefix, lt: `${prefix}\uffff` })) {
    let row: ReadableRow;
    try {
      row = readAt(form, place, sealed);
    } catch {
      continue;
    }
    yield row;
  }
  return undefined;
}

function longEnough(bytes: Uint8Array, min: number): void {
  if (bytes.length < min) throw new Error(`it has ${bytes.length} bytes`);
}
