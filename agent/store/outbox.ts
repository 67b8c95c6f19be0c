import {
  type Dropped,
  DroppedSchema,
  type Record as LinkRecord,
  RecordSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import type { Outbox, Waiting } from "../uplink/ports.ts";
import { textOf } from "./codec.ts";
import { type Droppable, droppable, type Indexed, OutboxIndex } from "./outbox-index.ts";
import { type Life, madeIn } from "./outbox-lives.ts";
import { encodeRecord, type Kind, kindNames, type Payload, payloadOf } from "./outbox-record.ts";
import { smaller, tiers } from "./outbox-rollup.ts";
import { type BadRow, inPlaceOf, keyOf, parseKey, parted, type Row, rowsOf } from "./outbox-rows.ts";
import { type Part, writeParts } from "./rows.ts";
import type { SealedDatabase } from "./sealed-database.ts";

/** What it needs of the database. */
type File = Pick<SealedDatabase, "submit" | "sync" | "get" | "getMany" | "keys">;
/** The most that waits for the hub. */
export interface OutboxMax {
  readonly records: number;
  readonly bytes: number;
}
/** What it has to know of its store. */
interface OutboxOf {
  /** Which earlier lives of the store made what still waits. */
  readonly lives?: readonly Life[];
  /** What the audit says of a row that was taken aside, as a part of the same batch. */
  readonly told?: (row: BadRow) => readonly Part[];
}
/** So many rows are forgotten in one batch. */
const forgetStep = 2000;
/** Readings that nobody has read are made coarser after so many new ones, so many at once. */
const rollEvery = 60;
const rollStep = 500;
/** Of so many incidents it is known which revision waits; beyond that one of them may wait twice. */
const revisionsMax = 1000;
/** Where it stands up to which seq the hub has all. */
export const ackedKey = "meta/acked";
/** Up to which seq the hub may have seen records; written ahead of them, so that not each one waits for the disk. */
export const sentKey = "meta/sent";
const sentAhead = 512;

/** A Dropped record that no uplink has read yet: the next drop of its kind replaces it. */
interface Unread {
  readonly record: Indexed;
  readonly dropped: Dropped;
}

/**
 * The queue towards the hub. Invariants:
 *   – seqs ascend without being reused, over restarts and over a power cut: a record is read out only once it is synced,
 *     so that no seq the hub may have seen can be given again;
 *   – reading and forgetting (acknowledge, the bound) take turns, so that no record is both read out and dropped;
 *   – what the hub may have seen is never changed any more, over restarts too: only what is above `meta/sent` is rolled up.
 */
export class DurableOutbox implements Outbox {
  readonly #database: File;
  readonly #clock: Pick<Clock, "wallMs">;
  readonly #max: OutboxMax;
  readonly #lives: readonly Life[];
  readonly #told: (row: BadRow) => readonly Part[];
  readonly #index = new OutboxIndex();
  /** Of each incident the last revision that nobody has read: a newer one takes its place. */
  readonly #revisions = new Map<string, Indexed>();
  /** By the name of the kind. */
  readonly #unread = new Map<string, Unread>();
  readonly #wakes = new Set<() => void>();
  #next = 1;
  /** The highest seq in the file, on the disk, and read out. */
  #landed = 0;
  #synced = 0;
  #readTo = 0;
  /** What `meta/sent` says. */
  #sentTo = 0;
  #unrolled = 0;
  #turn: Promise<void> = Promise.resolve();
  #trimming = false;

  constructor(database: File, clock: Pick<Clock, "wallMs">, max: OutboxMax, { lives = [], told }: OutboxOf = {}) {
    this.#lives = lives;
    this.#told = told ?? (() => []);
    this.#database = database;
    this.#clock = clock;
    this.#max = max;
  }
  async load(): Promise<void> {
    this.#landed = await ackedIn(this.#database);
    const sent = await this.#database.get(sentKey);
    this.#sentTo = sent ? Number(textOf(sent)) : 0;
    this.#readTo = this.#sentTo;
    for (const key of await this.#database.keys({ gte: "outbox/", lt: "outbox0" })) {
      const record = parseKey(key);
      this.#index.add(record);
      this.#landed = Math.max(this.#landed, record.seq);
    }
    this.#next = this.#landed + 1;
    this.#synced = this.#landed; // opening wrote a synced batch behind them
  }

  /** A record of the batch that is being built. */
  stage(payload: Payload): Part {
    const seq = this.#next++;
    const plain = encodeRecord(seq, this.#clock.wallMs(), payload);
    const record = { kind: payload.kind, seq, bytes: plain.byteLength };
    const key = keyOf(record);
    return {
      writes: [{ type: "put", key, value: plain }],
      undo: () => {
        this.#next = seq;
      },
      landed: () => {
        this.#index.add(record);
        this.#landed = seq;
        if (isSmallerLater(record.kind) && ++this.#unrolled >= rollEvery) this.#roll();
        this.#keepBound();
      },
    };
  }
  /** A revision of an incident, in the place of an earlier one that has not been read: the newest one replaces them all. */
  stageIncident(id: string, bytes: Uint8Array): Part[] {
    const part = this.stage({ kind: "i", bytes });
    const earlier = this.#revisions.get(id);
    const key = part.writes[0]?.key ?? "";
    const remember: Part = {
      writes: [],
      landed: () => {
        if (this.#revisions.size >= revisionsMax) this.#revisions.clear();
        this.#revisions.set(id, parseKey(key));
      },
    };
    return earlier && earlier.seq > this.#readTo ? [this.#removal([earlier]), part, remember] : [part, remember];
  }
  /** Everything landed is on the disk now. */
  synced(): void {
    if (this.#synced === this.#landed) return;
    this.#synced = this.#landed;
    for (const wake of [...this.#wakes]) wake();
  }

  read(after: bigint, limit: number, maxBytes: number): Promise<Waiting[]> {
    return this.#inTurn(() => this.#read(Number(after), limit, maxBytes));
  }
  async #read(after: number, limit: number, maxBytes: number): Promise<Waiting[]> {
    let due = this.#index.between(after, this.#synced, limit, maxBytes);
    if (due.length === 0 && after < this.#landed && this.#synced < this.#landed) {
      // Nothing synced is left to read, or what was is dropped: rather than wait for the barrier, ask for it.
      await this.#database.sync();
      due = this.#index.between(after, this.#synced, limit, maxBytes);
    }
    const last = due.at(-1)?.seq ?? 0;
    // From now on no newer revision takes the place of one of them.
    this.#readTo = Math.max(this.#readTo, last);
    const { good, named } = await this.#rows(due);
    if (last > this.#sentTo) await this.#sent(last + sentAhead);
    return [...good.map(({ record, bytes }) => ({ seq: record.seq, bytes })), ...named]
      .sort((a, b) => a.seq - b.seq)
      .map(({ seq, bytes }) => {
        const generation = madeIn(this.#lives, seq);
        return { seq: BigInt(seq), bytes, ...(generation !== undefined && { generation }) };
      });
  }
  /**
   * The rows of these records. What is bad is taken aside, durably, before anybody hears of it: a Dropped record stands in its
   * place, and the audit names it.
   */
  async #rows(records: readonly Indexed[]): Promise<{ good: Row[]; named: { seq: number; bytes: Uint8Array }[] }> {
    const { good, bad: found } = parted(await rowsOf(this.#database, records));
    if (found.length === 0) return { good, named: [] };
    // A row that has just been replaced by a newer revision is no bad one.
    await this.#database.submit({ build: () => [] }, false);
    const bad = found.filter(({ record }) => this.#index.has(record));
    const placed = bad.map((row) => inPlaceOf(row, this.#clock.wallMs()));
    const replaced: Part = {
      writes: placed.map(({ indexed, bytes }) => ({ type: "put", key: keyOf(indexed), value: bytes })),
      landed: () => {
        for (const { indexed } of placed) this.#index.add(indexed);
      },
    };
    await writeParts(this.#database, true, () => [
      this.#removal(bad.map(({ record }) => record)),
      replaced,
      ...bad.flatMap((row) => this.#told(row)),
    ]);
    return { good, named: placed.map(({ indexed, bytes }) => ({ seq: indexed.seq, bytes })) };
  }
  /** A disk that refuses must not keep records from the hub: at worst a later agent rolls up what the hub has. */
  async #sent(upTo: number): Promise<void> {
    const value = Buffer.from(String(upTo));
    const landed = () => {
      this.#sentTo = upTo;
    };
    await writeParts(this.#database, true, () => [{ writes: [{ type: "put", key: sentKey, value }], landed }]).catch(
      () => {},
    );
  }
  acknowledge(through: bigint): Promise<void> {
    return this.#inTurn(async () => {
      const upTo = Math.min(Number(through), this.#landed);
      for (;;) {
        const gone = this.#index.through(upTo, forgetStep);
        if (gone.length === 0) return;
        // Which seqs were given must outlive the rows: the highest acknowledged one is written with their deletion.
        await writeParts(this.#database, false, () => [
          { writes: [{ type: "put", key: ackedKey, value: Buffer.from(String(upTo)) }] },
          this.#removal(gone),
        ]);
      }
    });
  }
  lastSeq(): bigint {
    return BigInt(this.#landed);
  }
  depth(): bigint {
    return BigInt(this.#index.records);
  }
  onAppend(wake: () => void): () => void {
    const own = () => wake();
    this.#wakes.add(own);
    return () => void this.#wakes.delete(own);
  }
  async append(record: LinkRecord): Promise<void> {
    const payload = payloadOf(record);
    await writeParts(this.#database, true, () => [this.stage(payload)]);
  }
  /** Resolves when nobody reads or forgets any more. */
  async settled(): Promise<void> {
    await this.#turn;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.then(
      () => {},
      () => {},
    );
    return done;
  }
  #removal(gone: readonly Indexed[]): Part {
    return {
      writes: gone.map((record) => ({ type: "del", key: keyOf(record) })),
      landed: () => this.#index.remove(gone),
    };
  }

  /** Makes older readings coarser, and older decisions smaller. */
  #roll(): void {
    this.#unrolled = 0;
    this.#inTurn(async () => {
      for (const tier of tiers) {
        for (;;) {
          const excess = this.#index.countAbove(tier.from, this.#readTo) - tier.keep;
          if (excess < rollEvery) break;
          await this.#rollOnce(tier, Math.min(excess, rollStep));
        }
      }
    }).catch(() => {}); // the store refuses writes and says so; later readings try again
  }
  async #rollOnce(tier: (typeof tiers)[number], count: number): Promise<void> {
    const due = this.#index.oldest(tier.from, this.#readTo, { records: count, bytes: 0, limit: count });
    const { good } = await this.#rows(due);
    const gone = good.map(({ record }) => record);
    const rolled = (await smaller(tier, good)).map(({ seq, bytes }) => {
      const record = { kind: tier.to, seq, bytes: bytes.byteLength };
      const key = keyOf(record);
      return { record, write: { type: "put", key, value: bytes } as const };
    });
    const added: Part = {
      writes: rolled.map(({ write }) => write),
      landed: () => {
        for (const { record } of rolled) this.#index.add(record);
      },
    };
    await writeParts(this.#database, false, () => [this.#removal(gone), added]);
  }

  get #over(): boolean {
    return this.#index.records > this.#max.records || this.#index.bytes > this.#max.bytes;
  }
  #keepBound(): void {
    if (!this.#over || this.#trimming) return;
    this.#trimming = true;
    this.#inTurn(async () => {
      try {
        while (this.#over && (await this.#dropOnce())) {}
      } finally {
        this.#trimming = false;
      }
    }).catch(() => {}); // the store refuses writes and says so; the next append tries again
  }
  /** Drops down to 2 % below the bound, so that not every append drops. False: nothing that may go is left. */
  async #dropOnce(): Promise<boolean> {
    const records = Math.ceil(this.#index.records - this.#max.records * 0.98);
    const bytes = Math.ceil(this.#index.bytes - this.#max.bytes * 0.98);
    const gone = this.#victims(records, bytes);
    const kind = gone[0]?.kind;
    if (!isDroppable(kind)) return false;
    const first = gone[0]?.seq ?? 0;
    const last = gone.at(-1)?.seq ?? 0;
    const name = kindNames[kind];
    const [firstAt, lastAt] = await this.#timesOf(gone);
    await writeParts(this.#database, false, () => {
      const earlier = this.#unread.get(name);
      const merge = earlier && earlier.record.seq > this.#readTo ? earlier : undefined;
      const dropped = create(DroppedSchema, {
        kind: name,
        count: BigInt(gone.length) + (merge?.dropped.count ?? 0n),
        firstSeq: BigInt(Math.min(first, Number(merge?.dropped.firstSeq ?? first))),
        lastSeq: BigInt(Math.max(last, Number(merge?.dropped.lastSeq ?? last))),
      });
      const from = merge?.dropped.firstAt ?? firstAt;
      if (from) dropped.firstAt = from;
      if (lastAt) dropped.lastAt = lastAt;
      const seq = this.#next;
      const record = this.stage({ kind: "x", bytes: toBinary(DroppedSchema, dropped) });
      const [write] = record.writes;
      const indexed = write ? parseKey(write.key) : { kind: "x" as const, seq, bytes: 0 };
      const remember = { writes: [], landed: () => void this.#unread.set(name, { record: indexed, dropped }) };
      return [this.#removal(merge ? [...gone, merge.record] : gone), record, remember];
    });
    return true;
  }
  /** When the first and the last of them were recorded. */
  async #timesOf(gone: readonly Indexed[]): Promise<(Timestamp | undefined)[]> {
    const ends = [gone[0], gone.at(-1)].flatMap((one) => one ?? []);
    // What cannot be read is dropped without its time.
    return (await rowsOf(this.#database, ends)).map((row) => ("because" in row ? undefined : timeIn(row.bytes)));
  }
  /** Of one kind, oldest first; what the uplink has read may be on its way, and goes only when nothing else can. */
  #victims(records: number, bytes: number): Indexed[] {
    for (const after of [this.#readTo, 0]) {
      for (const kind of droppable) {
        const found = this.#index.oldest(kind, after, { records, bytes, limit: forgetStep });
        if (found.length > 0) return found;
      }
    }
    return [];
  }
}

async function ackedIn(database: Pick<File, "get">): Promise<number> {
  const acked = await database.get(ackedKey);
  return acked ? Number(textOf(acked)) : 0;
}
/** The highest seq that the outbox of a store has, and up to which the hub has acknowledged them; before it is loaded. */
export async function lastSeqIn(database: Pick<File, "get" | "keys">): Promise<{ last: number; acked: number }> {
  const acked = await ackedIn(database);
  const [last] = await database.keys({ gte: "outbox/", lt: "outbox0", reverse: true, limit: 1 });
  return { last: Math.max(acked, last === undefined ? 0 : parseKey(last).seq), acked };
}

function timeIn(bytes: Uint8Array): Timestamp | undefined {
  try {
    return fromBinary(RecordSchema, bytes).at;
  } catch {
    return undefined;
  }
}
function isSmallerLater(kind: Kind): boolean {
  return tiers.some(({ from }) => from === kind);
}
function isDroppable(kind: Kind | undefined): kind is Droppable {
  return droppable.some((one) => one === kind);
}
