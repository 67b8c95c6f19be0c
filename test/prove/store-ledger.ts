import { closeSync, constants, ftruncateSync, openSync, readSync, writeSync } from "node:fs";

/** What is written, each with a counter of its own per lane: from 1, without gaps. */
export const kinds = ["state", "audit", "kv", "config"] as const;
export type Kind = (typeof kinds)[number];
/** So many writers work at once. */
export const lanes = 4;

/** How far one counter came: what was begun, what was acknowledged, what was acknowledged as durable over a power cut. */
export interface Count {
  readonly begun: number;
  readonly acked: number;
  readonly synced: number;
}

const slotBytes = 8;
const slots = 3 * lanes * kinds.length;

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
    this.#write(lane, kind, 0, count);
  }
  ack(lane: number, kind: Kind, count: number, synced: boolean): void {
    this.#write(lane, kind, 1, count);
    if (synced) this.#write(lane, kind, 2, count);
  }
  read(lane: number, kind: Kind): Count {
    const [begun = 0, acked = 0, synced = 0] = [0, 1, 2].map((part) => {
      const bytes = Buffer.alloc(slotBytes);
      readSync(this.#file, bytes, 0, slotBytes, at(lane, kind, part));
      return bytes.readDoubleLE(0);
    });
    return { begun, acked, synced };
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

  #write(lane: number, kind: Kind, part: number, count: number): void {
    const bytes = Buffer.alloc(slotBytes);
    bytes.writeDoubleLE(count, 0);
    writeSync(this.#file, bytes, 0, slotBytes, at(lane, kind, part));
  }
}

function at(lane: number, kind: Kind, part: number): number {
  return ((lane * kinds.length + kinds.indexOf(kind)) * 3 + part) * slotBytes;
}

/** What a value holds beside its number: anybody can say from lane and number what it must be, and a changed bit shows. */
export function fillOf(lane: number, kind: Kind, count: number): string {
  let state = (lane * 7919 + kinds.indexOf(kind) * 104_729 + count * 15_485_863) >>> 0;
  let text = "";
  for (let at = 0; at < 24; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    text += state.toString(36).padStart(7, "0");
  }
  return text.slice(0, 60 + (count % 100));
}
