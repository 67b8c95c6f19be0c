import type { Kind } from "./outbox-record.ts";

/** What may be given up when the outbox is full, least important first: the oldest of a kind. */
export const droppable = ["q", "m", "r", "z", "d", "a"] as const;
export type Droppable = (typeof droppable)[number];

/** Records of one kind, ascending by seq; two arrays of numbers, for there may be many. */
interface Line {
  readonly seqs: number[];
  readonly sizes: number[];
}
/** A record as the index knows it. */
export interface Indexed {
  readonly kind: Kind;
  readonly seq: number;
  readonly bytes: number;
}

/** Which records the outbox holds, without their bytes. Pure memory; the rows on the disk are written by the outbox. */
export class OutboxIndex {
  readonly #lines: Record<Kind, Line> = {
    i: { seqs: [], sizes: [] },
    a: { seqs: [], sizes: [] },
    d: { seqs: [], sizes: [] },
    z: { seqs: [], sizes: [] },
    r: { seqs: [], sizes: [] },
    m: { seqs: [], sizes: [] },
    q: { seqs: [], sizes: [] },
    o: { seqs: [], sizes: [] },
    x: { seqs: [], sizes: [] },
  };
  records = 0;
  bytes = 0;

  /** Behind all of its kind, but for one that takes another's place. */
  add({ kind, seq, bytes }: Indexed): void {
    const { seqs, sizes } = this.#lines[kind];
    const at = firstAbove(seqs, seq);
    seqs.splice(at, 0, seq);
    sizes.splice(at, 0, bytes);
    this.records++;
    this.bytes += bytes;
  }
  has({ kind, seq }: Indexed): boolean {
    const { seqs } = this.#lines[kind];
    return seqs[firstAbove(seqs, seq) - 1] === seq;
  }
  /** Ascending, of all kinds: above `after` up to `through`, at most `limit` and, behind the first, `bytesMax` together. */
  between(after: number, through: number, limit: number, bytesMax: number): Indexed[] {
    const heads = (Object.keys(this.#lines) as Kind[]).map((kind) => {
      const { seqs, sizes } = this.#lines[kind];
      return { kind, seqs, sizes, at: firstAbove(seqs, after) };
    });
    const found: Indexed[] = [];
    for (let bytes = 0; found.length < limit; ) {
      let next: (typeof heads)[number] | undefined;
      for (const head of heads) if (seqAt(head) < seqAt(next)) next = head;
      if (!next || seqAt(next) > through) break;
      const size = next.sizes[next.at] ?? 0;
      bytes += size;
      if (found.length > 0 && bytes > bytesMax) break;
      found.push({ kind: next.kind, seq: seqAt(next), bytes: size });
      next.at++;
    }
    return found;
  }
  /** At most `limit` of the records up to `through`; not in the order of their seqs. */
  through(through: number, limit: number): Indexed[] {
    const found: Indexed[] = [];
    for (const kind of Object.keys(this.#lines) as Kind[]) {
      const { seqs, sizes } = this.#lines[kind];
      for (let at = 0; at < seqs.length && found.length < limit; at++) {
        const seq = seqs[at] ?? 0;
        if (seq > through) break;
        found.push({ kind, seq, bytes: sizes[at] ?? 0 });
      }
    }
    return found;
  }
  /** The oldest records of a kind above `after`, until they are `records` and `bytes`, or `limit` records. */
  oldest(kind: Kind, after: number, until: { records: number; bytes: number; limit: number }): Indexed[] {
    const { seqs, sizes } = this.#lines[kind];
    const found: Indexed[] = [];
    let freed = 0;
    for (let at = 0; at < seqs.length && found.length < until.limit; at++) {
      if (found.length >= until.records && freed >= until.bytes) break;
      const seq = seqs[at] ?? 0;
      if (seq <= after) continue;
      const size = sizes[at] ?? 0;
      found.push({ kind, seq, bytes: size });
      freed += size;
    }
    return found;
  }
  /** How many of a kind are above `after`. */
  countAbove(kind: Kind, after: number): number {
    const { seqs } = this.#lines[kind];
    return seqs.length - firstAbove(seqs, after);
  }
  remove(gone: readonly Indexed[]): void {
    const byKind = Map.groupBy(gone, (record) => record.kind);
    for (const [kind, records] of byKind) {
      const line = this.#lines[kind];
      const seqs = new Set(records.map((record) => record.seq));
      let kept = 0;
      for (let at = 0; at < line.seqs.length; at++) {
        const seq = line.seqs[at] ?? 0;
        const size = line.sizes[at] ?? 0;
        if (seqs.has(seq)) {
          this.records--;
          this.bytes -= size;
          continue;
        }
        line.seqs[kept] = seq;
        line.sizes[kept] = size;
        kept++;
      }
      line.seqs.length = kept;
      line.sizes.length = kept;
    }
  }
}

/** Where the first seq above `after` stands. */
function firstAbove(seqs: readonly number[], after: number): number {
  if ((seqs.at(-1) ?? 0) <= after) return seqs.length;
  let low = 0;
  let high = seqs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((seqs[middle] ?? 0) > after) high = middle;
    else low = middle + 1;
  }
  return low;
}
function seqAt(head: { readonly seqs: readonly number[]; readonly at: number } | undefined): number {
  return head?.seqs[head.at] ?? Number.POSITIVE_INFINITY;
}
