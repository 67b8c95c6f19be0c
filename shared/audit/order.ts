import type { AuditRecord } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { ChainHeader } from "./check.ts";

/** So many may wait for one that comes before them; a clock that goes back moves no more than what was made meanwhile. */
const waitingMax = 10_000;

/**
 * Gives records that come by their time in the order of their chains. One whose predecessor does not come is given when
 * `waitingMax` wait, or at the end: the check then finds the gap.
 */
export class ChainOrder {
  readonly #next = new Map<string, number>();
  readonly #waiting = new Map<string, Map<number, AuditRecord>>();
  #count = 0;

  constructor(header: ChainHeader) {
    for (const { generation, anchor } of header.chains) this.#next.set(generation, (anchor?.number ?? 0) + 1);
  }

  /** Those that may go on, in order. */
  *take(record: AuditRecord): Generator<AuditRecord> {
    const number = Number(record.number);
    const next = this.#next.get(record.generation);
    const waiting = this.#waiting.get(record.generation) ?? new Map<number, AuditRecord>();
    if (next === undefined || number < next || waiting.has(number)) {
      yield record;
      return;
    }
    waiting.set(number, record);
    this.#waiting.set(record.generation, waiting);
    this.#count += 1;
    yield* this.#ready(record.generation, waiting);
    if (this.#count > waitingMax) yield* this.rest();
  }

  /** All that still wait, each chain in its order. */
  *rest(): Generator<AuditRecord> {
    for (const [generation, waiting] of this.#waiting) {
      while (waiting.size > 0) {
        this.#next.set(generation, Math.min(...waiting.keys()));
        yield* this.#ready(generation, waiting);
      }
    }
  }

  *#ready(generation: string, waiting: Map<number, AuditRecord>): Generator<AuditRecord> {
    for (;;) {
      const next = this.#next.get(generation) ?? 1;
      const record = waiting.get(next);
      if (!record) return;
      waiting.delete(next);
      this.#count -= 1;
      this.#next.set(generation, next + 1);
      yield record;
    }
  }
}
