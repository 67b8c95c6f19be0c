import {
  type Record as LinkRecord,
  type Records,
  RecordsSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { create } from "@bufbuild/protobuf";
import type { Outbox, UplinkLog } from "./ports.ts";
import { recordBytesMax, recordFrom } from "./wire.ts";

/** A part of the outbox as it goes on the wire; `through` is its last seq, `after` when it is empty. */
export interface Chunk {
  readonly records: Records;
  readonly through: bigint;
  readonly count: number;
}

/** Reads the next chunk, in order and without gaps of its own. Rejects when the store cannot be read. */
export async function readChunk(
  outbox: Outbox,
  log: UplinkLog,
  after: bigint,
  limit: number,
  maxBytes: number,
): Promise<Chunk> {
  const stored = await outbox.read(after, limit, maxBytes);
  const records: LinkRecord[] = [];
  let bytes = 0;
  for (const one of stored.slice(0, limit)) {
    // The store's bound is an "about"; the protocol's is not.
    if (records.length > 0 && bytes + one.bytes.byteLength > recordBytesMax) break;
    const { record, dropped } = recordFrom(one);
    if (dropped) log.warn({ seq: one.seq.toString(), because: dropped }, "a record cannot be sent; the hub is told so");
    records.push(record);
    bytes += dropped ? 0 : one.bytes.byteLength;
  }
  return { records: create(RecordsSchema, { records }), through: records.at(-1)?.seq ?? after, count: records.length };
}

/** Makes the outbox forget, one write at a time and the latest only: Acks are cumulative and may come faster than a disk. */
export class Forgetting {
  readonly #outbox: Outbox;
  readonly #log: UplinkLog;
  #through = 0n;
  #busy = false;

  constructor(outbox: Outbox, log: UplinkLog) {
    this.#outbox = outbox;
    this.#log = log;
  }

  /** What the store refuses to forget now is made good by the next Ack or Welcome. */
  through(seq: bigint): void {
    if (seq > this.#through) this.#through = seq;
    if (!this.#busy) void this.#run();
  }

  async #run(): Promise<void> {
    this.#busy = true;
    try {
      for (let done = -1n; done < this.#through; ) {
        done = this.#through;
        await this.#outbox.acknowledge(done);
      }
    } catch (error) {
      this.#log.warn({ error: String(error) }, "the outbox could not forget what the hub has");
    } finally {
      this.#busy = false;
    }
  }
}
