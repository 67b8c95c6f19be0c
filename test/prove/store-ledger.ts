import { closeSync, constants, ftruncateSync, openSync, readSync, writeSync } from "node:fs";

/** What is written, each with a counter of its own per lane: from 1, without gaps. */
export const kinds = ["state", "audit", "kv", "config", "readings"] as const;
export type Kind = (typeof kinds)[number];
/** What is in the outbox too. An incident's revision is that of the state which is written with it. */
export const waiting = ["state", "audit", "readings", "incident"] as const;
export type Waiting = (typeof waiting)[number];
/** So many writers work at once. */
export const lanes = 4;

/** How far one counter came: what was begun, what was acknowledged, what was acknowledged as durable over a power cut. */
export interface Count {
  readonly begun: number;
  readonly acked: number;
  readonly synced: number;
}

/** How far the hub took one kind of record: what was about to be acknowledged to the outbox, and what has been. */
export interface Taken {
  readonly taking: number;
  readonly taken: number;
}

const lines = [...kinds, "incident"] as const;
type Line = (typeof lines)[number];
const parts = ["begun", "acked", "synced", "taking", "taken"] as const;
type Part = (typeof parts)[number];
const slotBytes = 8;
const slots = parts.length * lanes * lines.length;

/**
 * Everything that a store has acknowledged, in a file of numbers beside it. Each number is one write of eight bytes, so it is there
 * when its writer is killed right behind it. A write is noted before it is asked for, and again when it was acknowledged.
 */
export class Ledger {
  readonly #file: number;

  /** Makes the file when there is none. The caller closes. */
  constructor(path: string) {
    this.#file = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    ftruncateSync(this.#file, slots * slotBytes);
  }
  begin(lane: number, kind: Kind, count: number): void {
    this.#write(lane, kind, "begun", count);
  }
  /** A synced write takes all that its lane was told before along: it stands behind it in the same log. */
  ack(lane: number, kind: Kind, count: number, synced: boolean): void {
    this.#write(lane, kind, "acked", count);
    if (synced) for (const one of kinds) this.#write(lane, one, "synced", this.#read(lane, one, "acked"));
  }
  read(lane: number, kind: Kind): Count {
    const [begun = 0, acked = 0, synced = 0] = parts.map((part) => this.#read(lane, kind, part));
    return { begun, acked, synced };
  }
  take(lane: number, kind: Waiting, upTo: number, done: boolean): void {
    this.#write(lane, kind, done ? "taken" : "taking", upTo);
  }
  took(lane: number, kind: Waiting): Taken {
    return { taking: this.#read(lane, kind, "taking"), taken: this.#read(lane, kind, "taken") };
  }
  /** How many writes were acknowledged in all. */
  total(): number {
    let sum = 0;
    for (let lane = 0; lane < lanes; lane++) for (const kind of kinds) sum += this.read(lane, kind).acked;
    return sum;
  }
  close(): void {
    closeSync(this.#file);
  }

  #read(lane: number, line: Line, part: Part): number {
    const bytes = Buffer.alloc(slotBytes);
    readSync(this.#file, bytes, 0, slotBytes, at(lane, line, part));
    return bytes.readDoubleLE(0);
  }
  #write(lane: number, line: Line, part: Part, count: number): void {
    const bytes = Buffer.alloc(slotBytes);
    bytes.writeDoubleLE(count, 0);
    writeSync(this.#file, bytes, 0, slotBytes, at(lane, line, part));
  }
}

function at(lane: number, line: Line, part: Part): number {
  return ((lane * lines.length + lines.indexOf(line)) * parts.length + parts.indexOf(part)) * slotBytes;
}

/** What a value holds beside its number: anybody can say from lane and number what it must be, and a changed bit shows. */
export function fillOf(lane: number, kind: Line, count: number): string {
  let state = (lane * 7919 + lines.indexOf(kind) * 104_729 + count * 15_485_863) >>> 0;
  let text = "";
  for (let at = 0; at < 24; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    text += state.toString(36).padStart(7, "0");
  }
  return text.slice(0, 60 + (count % 100));
}
