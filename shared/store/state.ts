/** The revision of a commit; grows by one with each. */
export type Rev = bigint;

/** A key as it stands. */
export interface Entry {
  readonly key: string;
  readonly value: Uint8Array;
  /** The commit that wrote it last. */
  readonly rev: Rev;
}

/** A commit happens only while this key's revision is this; `0n` means that it must not exist. */
export type Cond = { readonly key: string; readonly rev: Rev };

/** A write; with a lease it is deleted when the lease is lost. */
export type Op =
  | { readonly put: string; readonly value: Uint8Array; readonly lease?: Lease }
  | { readonly del: string };

/** A change as a watcher sees it. */
export type Change = Entry | { readonly key: string; readonly deleted: true };

/** A claim that ends by itself. */
export interface Lease {
  /** Aborts here before the lease expires in the store: stop what it protected. */
  readonly lost: AbortSignal;
  /** Ends it now and deletes what was written with it. */
  release(): Promise<void>;
}

/**
 * What must be right, in one ordered map: ownership, registry, escalation, open incidents. Every implementation passes
 * `test/contract/state.contract.ts`. At most 128 operations and 1 MiB a commit, keys of at most 512 bytes.
 */
export interface State {
  /** Linearizable. */
  get(key: string): Promise<Entry | null>;
  /** Every key with this prefix in key order, as of one revision. */
  list(prefix: string): Promise<{ rev: Rev; entries: Entry[] }>;
  /** Atomic and durable on return; `null`: a condition failed and nothing was written. Throws {@link OutcomeUnknown}. */
  commit(when: readonly Cond[], then: readonly Op[]): Promise<Rev | null>;
  /** Each commit after `after` that touches the prefix, whole, in order, until `stop`. Throws {@link Compacted}. */
  watch(prefix: string, after: Rev, stop: AbortSignal): AsyncIterable<{ rev: Rev; changes: Change[] }>;
  /** A lease of at least 2000 ms that this process renews. */
  lease(ttlMs: number): Promise<Lease>;
  /** Ends watches and leases. The caller of `open` closes. */
  close(): Promise<void>;
}

/** The write may or may not have happened, and may still happen later: read before you conclude. */
export class OutcomeUnknown extends Error {
  override readonly name = "OutcomeUnknown";
}

/** The store no longer holds the commits after the revision asked for: list again, then watch from there. */
export class Compacted extends Error {
  override readonly name = "Compacted";
}
