/** One item of a stream. */
export interface Item {
  /** Unique in its stream; appending it again is harmless. Sorts within equal `at`. */
  readonly id: string;
  /** Wall milliseconds: the stream's order, with `id` as the second key. */
  readonly at: number;
  readonly data: Uint8Array;
}

/** Bounds of a range: `from` ≤ at < `to`; `after` goes on behind the item with that id (paging); at most `limit`. */
export interface Range {
  readonly from?: number;
  readonly to?: number;
  readonly after?: string;
  readonly limit: number;
  readonly reverse?: boolean;
}

/**
 * What is large and only grows: audit, decisions, closed incidents, readings. Every implementation passes
 * `test/contract/log.contract.ts`. Stream names: 1 to 200 characters without NUL; items of at most 1 MiB.
 */
export interface Log {
  /** Durable on return; idempotent by (stream, id). */
  append(stream: string, items: readonly Item[]): Promise<void>;
  range(stream: string, range: Range): Promise<Item[]>;
  /** Forgets what is older than `before`. */
  trim(stream: string, before: number): Promise<void>;
}
