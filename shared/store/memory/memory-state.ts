import { Fault } from "../../errors/fault.ts";
import { checkCommit } from "../limits.ts";
import type { Lease, Op, State } from "../state.ts";
import { defaultHistory, StateTable } from "../table.ts";

/** A copy of the operations: what the caller does with its bytes afterwards does not reach the store. */
export function ownOps(then: readonly Op[]): Op[] {
  return then.map((op) => ("put" in op ? { ...op, value: new Uint8Array(op.value) } : op));
}

/** A claim that ends with its process: nobody else can take what it protects, so nothing has to be renewed. */
export class ProcessLease implements Lease {
  readonly #lost = new AbortController();
  readonly #forget: (lease: Lease) => Promise<void>;

  constructor(ttlMs: number, forget: (lease: Lease) => Promise<void>) {
    if (!(ttlMs >= 2000)) throw new Fault("BAD_REQUEST", `a lease of ${ttlMs} ms, at least 2000`);
    this.#forget = forget;
  }
  get lost(): AbortSignal {
    return this.#lost.signal;
  }
  async release(): Promise<void> {
    if (this.#lost.signal.aborted) return;
    this.#lost.abort(); // first here, then there: the holder stops before the claim is free
    await this.#forget(this);
  }
}

/** A State that lives as long as its process, for tests and the simulator. */
export function memoryState(history = defaultHistory): State {
  const table = new StateTable(0n, [], history);
  const leases = new Set<Lease>();
  const apply = (when: Parameters<State["commit"]>[0], then: readonly Op[]) => {
    const staged = table.stage(when, then);
    if (staged) table.land(staged);
    return staged?.rev ?? null;
  };
  const forget = async (lease: Lease) => {
    leases.delete(lease);
    const keys = table.heldBy(lease);
    if (keys.length > 0)
      apply(
        [],
        keys.map((del) => ({ del })),
      );
  };
  return {
    get: async (key) => table.get(key),
    list: async (prefix) => table.list(prefix),
    async commit(when, then) {
      checkCommit(when, then);
      return apply(when, ownOps(then));
    },
    watch: (prefix, after, stop) => table.watch(prefix, after, stop),
    async lease(ttlMs) {
      const lease = new ProcessLease(ttlMs, forget);
      leases.add(lease);
      return lease;
    },
    async close() {
      for (const lease of [...leases]) await lease.release();
      table.end();
    },
  };
}
