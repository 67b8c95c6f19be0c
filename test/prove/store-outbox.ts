/** The records of the agent's outbox that the lanes put there, and what each of them holds. */
import type { AgentStore } from "@blueflame/agent/store/ports.ts";
import type { AuditRecord } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { RecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { fromBinary } from "@bufbuild/protobuf";
import type { Waiting } from "./store-ledger.ts";

/** What a record holds of a lane: the numbers `from` to `to`, of which there are `count`. */
export interface Held {
  readonly lane: number;
  readonly kind: Waiting;
  readonly from: number;
  readonly to: number;
  readonly count: number;
  /** What is written in it; a reading is its number and no more. */
  readonly fill?: string;
}
interface Row extends Inside {
  /** The seq under which it was read. */
  readonly seq: bigint;
}
/** What one record says. */
interface Inside {
  readonly seq: bigint;
  readonly held: readonly Held[];
  /** What was given up, in whose place it stands. */
  readonly dropped?: string;
  readonly audit?: AuditRecord;
}

export const workloadOf = (lane: number) => `w${lane}`;
/** Lane and number of what the lanes wrote; undefined: somebody else did, as the store when it says what it mended. */
export function placeOf(id: string): { readonly lane: number; readonly count: number } | undefined {
  const [, lane, count] = /^(\d)-(\d+)$/.exec(id) ?? [];
  return lane === undefined ? undefined : { lane: Number(lane), count: Number(count) };
}

/** What one record holds, and the seq that it says it has. */
export function heldIn(bytes: Uint8Array): Inside {
  const { seq, kind } = fromBinary(RecordSchema, bytes);
  const one = (what: Waiting, id: string, fill: string, number?: number): readonly Held[] => {
    const place = placeOf(id);
    const count = number ?? place?.count ?? 0;
    return place ? [{ lane: place.lane, kind: what, from: count, to: count, count: 1, fill }] : [];
  };
  switch (kind.case) {
    case "decision":
      return { seq, held: one("state", kind.value.id, kind.value.inputJson) };
    case "audit":
      return { seq, held: one("audit", kind.value.id, kind.value.because), audit: kind.value };
    case "incident":
      return { seq, held: one("incident", kind.value.id, kind.value.symptom, Number(kind.value.revision)) };
    case "readings":
      return {
        seq,
        held: kind.value.readings.map(({ subject, value, lowest, highest, count }) => ({
          lane: Number(subject.slice(workloadOf(0).length - 1)),
          kind: "readings",
          from: lowest ?? value,
          to: highest ?? value,
          count: Math.max(1, count),
        })),
      };
    case "dropped":
      return { seq, held: [], dropped: `${kind.value.count} of kind ${kind.value.kind}: ${kind.value.because}` };
    default:
      return { seq, held: [] };
  }
}

/** Everything that waits for the hub; `wrong` is what is not in order whoever wrote it. */
export async function waitingIn(
  store: AgentStore,
): Promise<{ readonly rows: readonly Row[]; readonly wrong: readonly string[] }> {
  const rows: Row[] = [];
  const wrong: string[] = [];
  for (let after = 0n; ; ) {
    const page = await store.outbox.read(after, 500, 4 * 1024 * 1024);
    for (const { seq, bytes } of page) {
      const before = rows.at(-1)?.seq ?? 0n;
      if (seq <= before) wrong.push(`outbox: ${seq} comes after ${before}`);
      const inside = heldIn(bytes);
      if (inside.seq !== seq) wrong.push(`outbox: ${seq} says that it is ${inside.seq}`);
      if (inside.dropped !== undefined) wrong.push(`outbox: ${seq} stands for what was dropped: ${inside.dropped}`);
      rows.push({ ...inside, seq });
    }
    const last = page.at(-1);
    if (!last) return { rows, wrong };
    after = last.seq;
  }
}
