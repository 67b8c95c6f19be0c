import { promisify } from "node:util";
import { deflateRaw, inflateRawSync } from "node:zlib";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import {
  type Record as LinkRecord,
  type Reading,
  type ReadingBatch,
  ReadingBatchSchema,
  ReadingSchema,
  RecordSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { durationFromMs, durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { Indexed } from "./outbox-index.ts";
import type { Kind } from "./outbox-record.ts";

interface Tier {
  readonly from: Kind;
  readonly to: Kind;
  /** So many of the newest stay as they are. */
  readonly keep: number;
  /** What lies in one span of so many milliseconds becomes one; 0: each record stays one, and is deflated. */
  readonly groupMs: number;
}
/**
 * How what nobody has read yet gets smaller while the hub is away. Readings: the newest as they were, then by the minute, then by
 * the quarter of an hour; each figure keeps its mean, lowest, highest and count. With one every 5 s that is the last hour, then a
 * day, and a week and more of quarters: a few thousand records instead of 120,000. Decisions: the same words again and again, and
 * a tenth of their size when they are deflated.
 */
export const tiers: readonly Tier[] = [
  { from: "r", to: "m", keep: 720, groupMs: 60_000 },
  { from: "m", to: "q", keep: 1440, groupMs: 900_000 },
  { from: "d", to: "z", keep: 500, groupMs: 0 },
];
const deflate = promisify(deflateRaw);
/** Far above what any record may have. */
const inflatedMax = 16 * 1024 * 1024;

/** The record as it was put in. Throws STORE_DAMAGED. */
export function recordBytes(kind: Kind, stored: Uint8Array): Uint8Array {
  if (kind !== "z") return stored;
  try {
    return inflateRawSync(stored, { maxOutputLength: inflatedMax });
  } catch (cause) {
    throw new Fault("STORE_DAMAGED", "a deflated decision cannot be read", { cause });
  }
}

/** What takes the place of the records that a tier takes. */
export async function smaller({ groupMs }: Tier, found: readonly Found[]): Promise<readonly Rolled[]> {
  if (groupMs > 0) return rollUp(found, groupMs);
  return Promise.all(found.map(async ({ record, bytes }) => ({ seq: record.seq, bytes: await deflate(bytes) })));
}

interface Found {
  readonly record: Indexed;
  readonly bytes: Uint8Array;
}
/** A record that takes the place of others: under the seq of the last of them, so that no seq is given twice. */
export interface Rolled {
  readonly seq: number;
  readonly bytes: Uint8Array;
}

/** Rolls neighbours of one span of `groupMs` into one. What cannot be decoded stays as it is. Ascending in, ascending out. */
export function rollUp(found: readonly Found[], groupMs: number): Rolled[] {
  const rolled: Rolled[] = [];
  let group: { span: number; members: Member[] } | undefined;
  const close = () => {
    if (group) rolled.push(joined(group.members));
    group = undefined;
  };
  for (const { record, bytes } of found) {
    const member = memberOf(record.seq, bytes);
    if (!member) {
      close();
      rolled.push({ seq: record.seq, bytes });
      continue;
    }
    const span = Math.floor(member.atMs / groupMs);
    if (group?.span !== span) close();
    group ??= { span, members: [] };
    group.members.push(member);
  }
  close();
  return rolled;
}

interface Member {
  readonly seq: number;
  readonly bytes: Uint8Array;
  readonly record: LinkRecord;
  readonly batch: ReadingBatch;
  readonly atMs: number;
}

function memberOf(seq: number, bytes: Uint8Array): Member | undefined {
  try {
    const record = fromBinary(RecordSchema, bytes);
    if (record.kind.case !== "readings" || !record.at) return undefined;
    return { seq, bytes, record, batch: record.kind.value, atMs: timestampMs(record.at) };
  } catch {
    return undefined;
  }
}

function joined(members: readonly Member[]): Rolled {
  const last = members.at(-1) as Member;
  const [first] = members as [Member];
  if (members.length === 1) return { seq: last.seq, bytes: last.bytes };
  const figures = new Map<string, Reading>();
  for (const { batch } of members) for (const reading of batch.readings) take(figures, reading);
  const spanMs = last.atMs - (first.atMs - (first.batch.span ? durationMs(first.batch.span) : 0));
  // A clock that went back makes no span that is negative.
  const span = durationFromMs(Math.max(0, Math.round(spanMs)));
  const value = create(ReadingBatchSchema, { readings: [...figures.values()], span });
  return { seq: last.seq, bytes: toBinary(RecordSchema, { ...last.record, kind: { case: "readings", value } }) };
}

function take(figures: Map<string, Reading>, { sensor, subject, value, lowest, highest, count }: Reading): void {
  const key = `${sensor}\0${subject}`;
  const weight = Math.max(1, count);
  const low = lowest ?? value;
  const high = highest ?? value;
  const held = figures.get(key);
  if (!held) {
    figures.set(key, create(ReadingSchema, { sensor, subject, value, lowest: low, highest: high, count: weight }));
    return;
  }
  held.value += ((value - held.value) * weight) / (held.count + weight);
  held.lowest = Math.min(held.lowest ?? value, low);
  held.highest = Math.max(held.highest ?? value, high);
  held.count += weight;
}
