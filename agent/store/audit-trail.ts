import { beginAction, canonical, genesis, hashOf, placed, running } from "@blueflame/shared/audit/chain.ts";
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
import { type AuditRow, beforeRow, keyOf, movedAnchor, rowFrom, rowOf } from "./audit-rows.ts";
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
import { isDamage, textOf } from "./codec.ts";
import type { AuditPage } from "./ports.ts";
import { below, fitting, type Page, type Part, writeParts } from "./rows.ts";
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
    else await this.#takeRows(lastRow);
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
  async #takeRows(lastRow: number): Promise<void> {
    const { generation } = this.#who;
    const found = await this.#standOfRows();
    const { anchor, chainlessTo } = found;
    if (found.generation === "") {
      const because = `${chainlessTo - anchor.row} older records stand before it without a chain: from here on they are sealed as they are`;
      this.#stand = { ...found, generation, row: lastRow };
      this.#beginning = { because, outcome: AuditOutcome.SUCCESS };
      return;
    }
    const because = "what said how the audit stands was gone: it goes on behind the last record that is here";
    const stand = { ...found, row: lastRow };
    this.#stand = found.generation === generation ? stand : endedBy(stand, generation);
    this.#beginning = { because, outcome: AuditOutcome.FAILURE };
  }
  /** How the audit stands by its rows alone: retention may have taken the first ones, and there may have been many lives. */
  async #standOfRows(): Promise<AuditStand> {
    let stand: AuditStand = { ...this.#stand, generation: "" };
    await this.#database.scan(all, (key, bytes) => {
      const record = fromBinary(AuditRecordSchema, bytes);
      const row = rowOf(key);
      const number = Number(record.number);
      if (stand.row === 0) stand = { ...stand, anchor: beforeRow(row, record) };
      if (number === 0 && stand.generation === "") {
        stand = { ...stand, row, chainlessTo: row, hash: running(stand.hash, record) };
      } else if (number > 0) {
        const { generation } = record;
        const going = stand.generation === "" || stand.generation === generation ? stand : endedBy(stand, generation);
        stand = { ...going, generation, number, hash: running("", record), row };
      }
    });
    return stand;
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

  /** As `Rows.newest`. */
  async newest({ limit, skip = 0, bytesMax = Number.POSITIVE_INFINITY }: Page): Promise<AuditRecord[]> {
    const range = await below(this.#database, all, skip);
    const found = range && (await this.#database.entriesWhile({ ...range, reverse: true, limit }, fitting(bytesMax)));
    return (found ?? []).map(([, value]) => fromBinary(AuditRecordSchema, value));
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
   * Keeps what the hub has countersigned; the caller has checked the signature. What differs is written down once, as a record of
   * which `append` makes the parts: that it was told is never on the disk without what was told.
   */
  async countersigned(head: SignedHead, hubKey: string, append: (record: AuditRecord) => readonly Part[]) {
    const stand = this.#stand;
    const here = await this.#hashHere(stand, head);
    const difference = () => differs(stand, this.#signed, head, here);
    const isOther = difference() !== undefined;
    if (!isOther && !withHead(this.#signed, head, hubKey)) return;
    await writeParts(this.#database, isOther, () => {
      const before = this.#signed;
      const other = difference();
      const kept = withHead(before, head, hubKey) ?? before;
      this.#signed = other ? { ...kept, told: { ...kept.told, [head.generation]: head.number } } : kept;
      const value = Buffer.from(JSON.stringify(this.#signed));
      const undo = () => {
        this.#signed = before;
      };
      const part: Part = { writes: [{ type: "put", key: signedKey, value }], undo };
      return other ? [part, ...append(this.#differenceRecord(stand, head, other))] : [part];
    });
  }
  /** Of the record that was countersigned: see {@link differs}. */
  async #hashHere(stand: AuditStand, head: SignedHead): Promise<string | undefined> {
    const { generation, number } = head;
    if (generation !== stand.generation) {
      return stand.earlier.find((one) => one.generation === generation && one.number === number)?.hash;
    }
    if (number > stand.number) return undefined;
    const row = stand.row - (stand.number - number);
    const [bytes] = await this.#database.getMany([keyOf(row)]);
    if (bytes) return hashOf(bytes);
    return row > this.#stand.anchor.row ? "" : undefined;
  }
  #differenceRecord(stand: AuditStand, head: SignedHead, difference: { action: string; because: string }): AuditRecord {
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
    const { moved, bad } = movedAnchor(this.#stand, rows, to);
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

const all = { gte: "audit/", lt: "audit0" };
/** What a record of no duration has all the same. */
const whole = { took: durationFromMs(0) };

function cursorOf(after: string): number[] {
  if (!/^\d{1,15}-\d{1,15}$/.test(after)) throw new Fault("BAD_REQUEST", "'after' is not what a page has said");
  return after.split("-").map(Number);
}
