import {
  beginAction,
  canonical,
  genesis,
  hashOf,
  placed,
  previousOf,
  rolled,
  running,
} from "@blueflame/shared/audit/chain.ts";
import type { SignedHead } from "@blueflame/shared/audit/check.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import {
  AuditOutcome,
  type AuditRecord,
  AuditRecordSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { Write } from "@blueflame/shared/store/level/writer.ts";
import { create, fromBinary } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  type AuditStand,
  differs,
  endedBy,
  headerOf,
  type SignedHeads,
  signedKey,
  standKey,
  standOf,
  standText,
  withHead,
} from "./audit-stand.ts";
import { isDamage, ordinal, textOf } from "./codec.ts";
import type { AuditPage } from "./ports.ts";
import { type Part, writeParts } from "./rows.ts";
import type { SealedDatabase } from "./sealed-database.ts";

/** What a trail has to know of its store. */
export interface TrailOwner {
  readonly nodeId: string;
  readonly owner: string;
  readonly generation: string;
  readonly wallMs: () => number;
  readonly newId: () => string;
  /** Parts that append a record and put it into the outbox, for a batch of the trail's own. */
  readonly told?: (record: AuditRecord) => readonly Part[];
}

/** Retention takes so many rows at once at most, and lets so many gather first. */
const trimStep = 1000;
const trimSlack = 250;
const pageRecords = 500;
/** So many rows that could not be read are named. */
const badMax = 100;

/**
 * The chained audit: rows `audit/<n>`, and `meta/audit` with how they stand, written together. Each record carries the hash of
 * the one before; a new generation begins with a record that says what stands before it.
 */
export class AuditTrail {
  readonly #database: SealedDatabase;
  readonly #who: TrailOwner;
  readonly #keep: number;
  #stand: AuditStand;
  #signed: SignedHeads = { heads: [], told: {} };
  /** Why a first record has to be written; undefined: the chain goes on. */
  #beginning: { readonly because: string; readonly outcome: AuditOutcome } | undefined;
  #trimming: Promise<void> | undefined;

  constructor(database: SealedDatabase, who: TrailOwner, keep: number) {
    this.#database = database;
    this.#who = who;
    this.#keep = keep;
    const nothing = { row: 0, generation: "", number: 0, hash: "" };
    const { owner, generation } = who;
    this.#stand = { owner, generation, number: 0, hash: "", row: 0, anchor: nothing, chainlessTo: 0, earlier: [] };
  }

  async load(): Promise<void> {
    const [stored, signed] = await this.#database.getMany([standKey, signedKey]);
    if (signed) this.#signed = JSON.parse(textOf(signed)) as SignedHeads;
    const lastRow = await this.#lastRow();
    if (stored) this.#goOn(standOf(textOf(stored)), lastRow);
    else if (lastRow === 0) this.#beginning = { because: "a new store", outcome: AuditOutcome.SUCCESS };
    else await this.#takeChainless(lastRow);
  }
  #goOn(stored: AuditStand, lastRow: number): void {
    const { generation } = this.#who;
    // Rows behind the head are nobody's; what comes now must not overwrite them, and the check finds them.
    const stand = { ...stored, row: Math.max(stored.row, lastRow) };
    this.#stand = stored.generation === generation ? stand : endedBy(stand, generation);
    if (stored.generation === generation) return;
    const ended = `the store began a new life; of generation ${stored.generation} it has records up to ${stored.number}`;
    this.#beginning = { because: ended, outcome: AuditOutcome.SUCCESS };
  }
  /** Records, and nothing that says how they stand: an older version wrote them, or somebody took it away. */
  async #takeChainless(lastRow: number): Promise<void> {
    let firstRow = 0;
    let hash = "";
    let number = 0;
    let generation = "";
    await this.#database.scan({ gte: "audit/", lt: "audit0" }, (key, sealed) => {
      const record = fromBinary(AuditRecordSchema, sealed);
      if (firstRow === 0) firstRow = rowOf(key);
      hash = running(hash, record);
      number = Number(record.number);
      generation = record.generation;
    });
    const { generation: ours } = this.#who;
    const anchor = { row: firstRow - 1, generation: "", number: 0, hash: "" };
    if (generation === "") {
      const because = `${lastRow - firstRow + 1} older records stand before it without a chain: from here on they are sealed as they are`;
      this.#stand = { ...this.#stand, row: lastRow, anchor, chainlessTo: lastRow, hash };
      this.#beginning = { because, outcome: AuditOutcome.SUCCESS };
      return;
    }
    const because = "what said how the audit stands was gone: it goes on behind the last record that is here";
    this.#stand = { ...this.#stand, generation, number, hash, row: lastRow, anchor };
    if (generation !== ours) this.#stand = endedBy(this.#stand, ours);
    this.#beginning = { because, outcome: AuditOutcome.FAILURE };
  }

  /** What stands before this chain, as its first record says it. */
  #beginRecord({ because, outcome }: { readonly because: string; readonly outcome: AuditOutcome }): AuditRecord {
    const { owner, generation } = this.#who;
    const { earlier, chainlessTo, hash, number } = this.#stand;
    const last = earlier.at(-1);
    const before = last ?? { hash: chainlessTo > 0 ? hash : "", generation: "", number: 0 };
    const signed = this.#signed.heads.findLast((head) => head.generation !== generation);
    const signedLink = signed && { generation: signed.generation, number: signed.number, hash: signed.hash };
    const lost = signed && last?.generation === signed.generation ? Math.max(0, signed.number - last.number) : 0;
    const named =
      lost > 0 ? `; the hub has countersigned ${signed?.number} of it: ${lost} records are missing here` : "";
    return this.#record({
      action: number === 0 ? beginAction : "audit.stand_lost",
      because: `${because}${named}`,
      outcome: lost > 0 ? AuditOutcome.FAILURE : outcome,
      beforeJson: JSON.stringify({ ...before, ...(signedLink && { signed: signedLink }) }),
      afterJson: JSON.stringify({ owner, generation }),
    });
  }
  /** A record of the store's own. */
  #record(facts: Pick<AuditRecord, "action" | "because" | "outcome" | "beforeJson" | "afterJson">): AuditRecord {
    const { nodeId, wallMs, newId } = this.#who;
    const target = `node/${nodeId}`;
    return create(AuditRecordSchema, {
      ...facts,
      ...whole,
      id: newId(),
      at: timestampFromMs(Math.round(wallMs())),
      actor: "agent",
      target,
      nodeId,
    });
  }
  /** The record as it is chained: nobody else says where it stands, and what SYN-10 asks for is in it. */
  bytesOf(record: AuditRecord): Uint8Array {
    const { took = whole.took, beforeJson, afterJson } = record;
    const { nodeId } = this.#who;
    const place = { number: 0n, previous: new Uint8Array(), generation: "" };
    return canonical({
      ...record,
      ...place,
      took,
      beforeJson: beforeJson || "{}",
      afterJson: afterJson || "{}",
      nodeId,
    });
  }

  /**
   * Of the batch that is being built: the record with its place in the chain, and the part that writes it. In front of the first
   * one of a chain comes the record that begins it.
   */
  append(bytes: Uint8Array): { readonly chained: readonly Uint8Array[]; readonly part: Part } {
    const before = this.#stand;
    const beginning = this.#beginning;
    const { owner, generation } = this.#who;
    const first = beginning && canonical(this.#beginRecord(beginning));
    if (first && before.number === 0) this.#stand = { ...before, hash: genesis(owner, generation) };
    this.#beginning = undefined;
    const added = [...(first ? [first] : []), bytes].map((one) => this.#place(one));
    return {
      chained: added.map(({ chained }) => chained),
      part: {
        writes: [...added.map(({ write }) => write), this.#standWrite()],
        undo: () => {
          this.#stand = before;
          this.#beginning = beginning;
        },
        landed: () => this.#keepBound(),
      },
    };
  }
  #place(bytes: Uint8Array): { readonly chained: Uint8Array; readonly write: Write } {
    const number = this.#stand.number + 1;
    const row = this.#stand.row + 1;
    const chained = placed(bytes, number, this.#stand.hash, this.#stand.generation);
    this.#stand = { ...this.#stand, number, row, hash: hashOf(chained) };
    const key = keyOf(row);
    return { chained, write: { type: "put", key, value: chained } };
  }

  async newest(limit: number): Promise<AuditRecord[]> {
    const found = await this.#database.entries({ ...all, reverse: true, limit });
    return found.map(([, value]) => fromBinary(AuditRecordSchema, value));
  }
  /** See AgentStore.readAudit; a cursor names the row to go on behind, and the row at which the first page saw the end. */
  async page(after: string): Promise<AuditPage> {
    const [row = 0, toRow = 0] = after === "" ? [0, this.#stand.row] : cursorOf(after);
    const first = { header: headerOf(this.#who.nodeId, this.#stand, this.#signed, this.#keep) };
    const found = await this.#database.entries({ gte: keyOf(row + 1), lt: keyOf(toRow + 1), limit: pageRecords });
    const records = found.map(([, value]) => fromBinary(AuditRecordSchema, value));
    const last = found.at(-1)?.[0];
    const next = last === undefined || found.length < pageRecords ? "" : `${rowOf(last)}-${toRow}`;
    return { ...(after === "" && first), records, next };
  }
  head(): { readonly generation: string; readonly number: number; readonly hash: string } {
    const { generation, number, hash } = this.#stand;
    return { generation, number, hash };
  }

  /**
   * Keeps what the hub has countersigned; the caller has checked the signature. What differs comes back as a record to be
   * appended, once.
   */
  async countersigned(head: SignedHead, hubKey: string): Promise<AuditRecord | undefined> {
    const next = withHead(this.#signed, head, hubKey);
    const stand = this.#stand;
    const row = stand.row - (stand.number - head.number);
    const [sealed] = head.generation === stand.generation ? await this.#database.getMany([keyOf(row)]) : [];
    const here = sealed && hashOf(sealed);
    const difference = differs(stand, this.#signed, head, here);
    if (!next && !difference) return undefined;
    const told = difference ? { ...this.#signed.told, [head.generation]: head.number } : this.#signed.told;
    this.#signed = { ...(next ?? this.#signed), told };
    const value = Buffer.from(JSON.stringify(this.#signed));
    await writeParts(this.#database, false, () => [{ writes: [{ type: "put", key: signedKey, value }] }]);
    if (!difference) return undefined;
    const beforeJson = JSON.stringify({ generation: stand.generation, number: stand.number });
    const afterJson = JSON.stringify({ signed: { generation: head.generation, number: head.number, hash: head.hash } });
    return this.#record({ ...difference, outcome: AuditOutcome.FAILURE, beforeJson, afterJson });
  }
  /** Resolves when nothing is being trimmed. */
  async settled(): Promise<void> {
    await this.#trimming;
  }

  #standWrite() {
    return { type: "put", key: standKey, value: Buffer.from(standText(this.#stand)) } as const;
  }
  async #lastRow(): Promise<number> {
    const [last] = await this.#database.keys({ ...all, reverse: true, limit: 1 });
    return last === undefined ? 0 : rowOf(last);
  }
  #keepBound(): void {
    const { row, anchor } = this.#stand;
    if (this.#trimming || row - anchor.row <= this.#keep + trimSlack) return;
    this.#trimming = this.#trim()
      .catch(() => {}) // the store refuses and says so; the next append tries again
      .finally(() => {
        this.#trimming = undefined;
      });
  }
  /**
   * Takes the oldest rows away; the anchor says what the next one hangs on. A row that cannot be read goes too, named in the
   * audit: what hung on it says what its hash was.
   */
  async #trim(): Promise<void> {
    const { row, anchor } = this.#stand;
    const to = Math.min(row - this.#keep, anchor.row + trimStep);
    const rows = await this.#rows(anchor.row + 1, to);
    for (let next = to + 1; rows.at(-1)?.record === null && next <= row; next++) {
      rows.push(...(await this.#rows(next, next)));
    }
    const { moved, bad } = this.#moved(rows, to);
    await writeParts(this.#database, false, () => {
      const before = this.#stand;
      this.#stand = { ...before, anchor: moved };
      const gone = rows.filter(({ at }) => at <= moved.row).map(({ at }) => ({ type: "del", key: keyOf(at) }) as const);
      const undo = () => {
        this.#stand = { ...this.#stand, anchor: before.anchor };
      };
      const trimmed = { writes: [...gone, this.#standWrite()], undo };
      return [trimmed, ...(bad.length > 0 ? (this.#who.told?.(this.#damageRecord(bad)) ?? []) : [])];
    });
  }
  /** The anchor behind row `to`, and behind those that follow it and cannot be read. */
  #moved(rows: readonly AuditRow[], to: number): { moved: AuditStand["anchor"]; bad: number[] } {
    const { anchor, generation, number, hash, earlier } = this.#stand;
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
  async #rows(from: number, to: number): Promise<AuditRow[]> {
    const range = { gte: keyOf(from), lt: keyOf(to + 1) };
    try {
      return (await this.#database.entries(range)).map(([key, bytes]) => rowFrom(key, bytes));
    } catch (error) {
      if (!isDamage(error)) throw error;
    }
    const rows: AuditRow[] = [];
    for (const key of await this.#database.keys(range)) {
      const found = await this.#database.getMany([key]).catch((error: unknown) => {
        if (!isDamage(error)) throw error;
        return [];
      });
      rows.push(rowFrom(key, found[0]));
    }
    return rows;
  }
  #damageRecord(bad: readonly number[]): AuditRecord {
    const which = `${bad.length === 1 ? "row" : `${bad.length} rows, the first one`} ${bad[0]}`;
    return this.#record({
      action: "audit.damaged",
      because: `${which} of the audit could not be read; retention took it away unread`,
      outcome: AuditOutcome.FAILURE,
      beforeJson: JSON.stringify({ rows: bad.slice(0, badMax) }),
      afterJson: JSON.stringify({ rows: [] }),
    });
  }
}

/** A row on its way out; `null`: it cannot be read. */
interface AuditRow {
  readonly at: number;
  readonly bytes: Uint8Array;
  readonly record: AuditRecord | null;
}
function rowFrom(key: string, bytes: Uint8Array = new Uint8Array()): AuditRow {
  try {
    const record = bytes.byteLength > 0 ? fromBinary(AuditRecordSchema, bytes) : null;
    return { at: rowOf(key), bytes, record };
  } catch {
    return { at: rowOf(key), bytes, record: null };
  }
}

const all = { gte: "audit/", lt: "audit0" };
/** What a record of no duration has all the same. */
const whole = { took: durationFromMs(0) };

function keyOf(row: number): string {
  return `audit/${ordinal(row)}`;
}
function cursorOf(after: string): number[] {
  if (!/^\d{1,15}-\d{1,15}$/.test(after)) throw new Fault("BAD_REQUEST", "'after' is not what a page has said");
  return after.split("-").map(Number);
}
function rowOf(key: string): number {
  return Number.parseInt(key.slice("audit/".length), 16);
}
