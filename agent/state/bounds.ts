/** What one workload may keep. Beyond a bound a write is refused with LIMIT_REACHED, or BAD_REQUEST for a single thing that is too big. */
export const stateMax = {
  keys: 1000,
  keyChars: 128,
  /** What the store takes; the API takes `keyChars` of plain letters. */
  nameBytes: 512,
  valueBytes: 256 * 1024,
  logs: 16,
  entryBytes: 64 * 1024,
  /** Of one append. */
  entries: 100,
  /** Taken away by one trim. */
  trimmed: 1000,
  /** Values and log entries together. */
  bytes: 64 * 1024 * 1024,
  /**
   * Values and log entries of all workloads, also of those that are gone: beyond it nobody's grow. Risk states, trades and locks always
   * go. Only a person forgets what a workload kept (`state forget`).
   */
  allBytes: 256 * 1024 * 1024,
  /** Workloads that keep something, gone ones too; a workload beyond it gets no keys and logs. */
  spaces: 500,
  /** Of one commit. */
  operations: 100,
  commitBytes: 896 * 1024,
  idChars: 64,
  /**
   * So many are known again when they are repeated, for `requestsForMs`: the client repeats for 30 s, at 330 a second. The newest
   * `requestsKept` always are. All of them stand in memory and are read at the start: 1 KB each.
   */
  requests: 10_000,
  requestsForMs: 120_000,
  requestsKept: 1000,
  /** The newest can be read; a session may not have more, so that it can always be read whole. */
  trades: 20_000,
  tradeBytes: 1024,
  /** Deleted keys that a watcher who was away is still told of. */
  deleted: 1000,
  becauseChars: 300,
  watchers: 8,
  /** Items of a page; and its bytes, but always one item. */
  page: 1000,
  pageDefault: 100,
  pageBytes: 512 * 1024,
} as const;
