import { type Incident, IncidentSchema, IncidentState } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { Write } from "@blueflame/shared/store/level/writer.ts";
import { fromBinary } from "@bufbuild/protobuf";
import { fitting, type Page, type Part, Rows } from "./rows.ts";
import type { SealedDatabase } from "./sealed-database.ts";

/** So many are in memory beyond the end of a page. */
const readAtOnce = 16;
/** How many were ever opened. */
const openedKey = "incidents-opened";

/** Incidents by id; ids are UUIDv7, so their order is the order of opening. All open ones, and the newest closed ones. */
export class Incidents {
  readonly #database: SealedDatabase;
  readonly #closedMax: number;
  readonly #closedRows: Rows;
  /** The newest revision of each that is open. */
  readonly #open = new Map<string, Uint8Array>();
  /** Id → its row in `closed`, and back. */
  readonly #closed = new Map<string, number>();
  readonly #closedIds = new Map<number, string>();
  #opened = 0;

  constructor(database: SealedDatabase, closedMax: number) {
    this.#database = database;
    this.#closedMax = closedMax;
    this.#closedRows = new Rows(database, "closed", closedMax);
  }
  async load(): Promise<void> {
    const ids = (await this.#database.keys({ gte: "open/", lt: "open0" })).map((key) => key.slice("open/".length));
    const values = await this.#database.getMany(ids.map((id) => `incident/${id}`));
    for (const [at, id] of ids.entries()) {
      const value = values[at];
      this.#open.set(id, value ? value : new Uint8Array());
    }
    await this.#closedRows.load();
    for (const { at, value } of await this.#closedRows.all()) this.#noteClosed(Buffer.from(value).toString(), at);
    const opened = await this.#database.get(openedKey);
    // A store of an earlier version has not counted.
    this.#opened = opened ? Number(Buffer.from(opened).toString()) : this.#open.size + this.#closed.size;
  }

  /** The rows of an incident's new revision. */
  stage(incident: Incident, bytes: Uint8Array): Part[] {
    const { id } = incident;
    const isNew = !this.#open.has(id) && !this.#closed.has(id);
    const row: Part = { writes: [{ type: "put", key: `incident/${id}`, value: bytes }] };
    return [row, ...(isNew ? [this.#counting()] : []), ...this.#placing(incident, bytes)];
  }
  #placing({ id, state }: Incident, bytes: Uint8Array): Part[] {
    if (state !== IncidentState.CLOSED) {
      return [this.#open.has(id) ? this.#revising(id, bytes) : this.#opening(id, bytes)];
    }
    return this.#closed.has(id) ? [] : this.#closing(id);
  }
  /** How many were ever opened. */
  opened(): number {
    return this.#opened;
  }
  /** This revision is there, or one that came after it. */
  has({ id, revision }: Incident): boolean {
    const open = this.#open.get(id);
    return open?.byteLength ? fromBinary(IncidentSchema, open).revision >= revision : this.#closed.has(id);
  }
  /** As {@link Rows.newest}. */
  async newest({ limit, skip = 0, bytesMax = Number.POSITIVE_INFINITY }: Page, openOnly: boolean): Promise<Incident[]> {
    const ids = openOnly ? [...this.#open.keys()] : [...this.#open.keys(), ...this.#closed.keys()];
    const keys = ids
      .sort()
      .reverse()
      .slice(skip, skip + limit)
      .map((id) => `incident/${id}`);
    const fits = fitting(bytesMax);
    const found: Incident[] = [];
    for (let at = 0; at < keys.length; at += readAtOnce) {
      for (const value of await this.#database.getMany(keys.slice(at, at + readAtOnce))) {
        if (value && !fits(value)) return found;
        if (value) found.push(fromBinary(IncidentSchema, value));
      }
    }
    return found;
  }

  /** At most `limit` of those that are open, newest first. */
  openNow(limit: number): Incident[] {
    const newest = [...this.#open.keys()].sort().reverse().slice(0, limit);
    return newest.flatMap((id) => {
      const bytes = this.#open.get(id);
      return bytes?.byteLength ? [fromBinary(IncidentSchema, bytes)] : [];
    });
  }

  #counting(): Part {
    const before = this.#opened++;
    return {
      writes: [{ type: "put", key: openedKey, value: Buffer.from(`${this.#opened}`) }],
      undo: () => {
        this.#opened = before;
      },
    };
  }
  #revising(id: string, bytes: Uint8Array): Part {
    const before = this.#open.get(id);
    this.#open.set(id, bytes);
    return { writes: [], undo: () => void (before && this.#open.set(id, before)) };
  }
  #opening(id: string, bytes: Uint8Array): Part {
    const closedAt = this.#closed.get(id);
    this.#open.set(id, bytes);
    const writes: Write[] = [{ type: "put", key: `open/${id}`, value: new Uint8Array() }];
    if (closedAt !== undefined) {
      this.#forgetClosed(closedAt);
      writes.push({ type: "del", key: this.#closedRows.keyOf(closedAt) });
    }
    return {
      writes,
      undo: () => {
        this.#open.delete(id);
        if (closedAt !== undefined) this.#noteClosed(id, closedAt);
      },
    };
  }
  #closing(id: string): Part[] {
    const row = this.#closedRows.append(Buffer.from(id));
    const wasOpen = this.#open.get(id);
    this.#open.delete(id);
    this.#noteClosed(id, row.at);
    const evictedAt = row.at - this.#closedMax;
    const evicted = this.#closedIds.get(evictedAt);
    const writes: Write[] = wasOpen ? [{ type: "del", key: `open/${id}` }] : [];
    if (evicted !== undefined) {
      this.#forgetClosed(evictedAt);
      writes.push({ type: "del", key: `incident/${evicted}` });
    }
    const undo = () => {
      if (evicted !== undefined) this.#noteClosed(evicted, evictedAt);
      this.#forgetClosed(row.at);
      if (wasOpen) this.#open.set(id, wasOpen);
    };
    return [row, { writes, undo }];
  }
  #noteClosed(id: string, at: number): void {
    this.#closed.set(id, at);
    this.#closedIds.set(at, id);
  }
  #forgetClosed(at: number): void {
    const id = this.#closedIds.get(at);
    this.#closedIds.delete(at);
    if (id !== undefined) this.#closed.delete(id);
  }
}
