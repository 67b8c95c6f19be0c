/**
 * How much may run at once (DOL-6). A pool holds at most its bound; what comes beyond waits in its turn, up to a bound of its
 * own, and what comes beyond that is refused. One subject (a workload, a node-wide playbook) has at most one run. So a recovery
 * can never start a process explosion, however often it is asked for. Pure; used for playbooks, backups and starts alike.
 */

/** What wants to run. */
export interface PoolRequest {
  readonly id: string;
  /** Two requests with the same subject never run at once. */
  readonly subject: string;
  /** Empty: it counts against no pool. */
  readonly pool: string;
}

/** What runs and what waits, oldest first. JSON-able. */
export interface PoolState {
  readonly running: readonly PoolRequest[];
  readonly waiting: readonly PoolRequest[];
}

/** Pool → how many at once; a pool without a bound holds one at a time. */
export type PoolBounds = Readonly<Record<string, number>>;

/** Bounds of the pools that remedies use; the config's `pools` may say otherwise by name. */
export const poolDefaults = { recovery: 4, maintenance: 1, backup: 1, bootstrap: 1 } as const satisfies PoolBounds;

/** More than this many wait for no pool. */
export const waitingMax = 16;

export const emptyPools: PoolState = { running: [], waiting: [] };

/** What became of a request. */
export type Entry = { readonly is: "runs" | "waits" } | { readonly is: "refused"; readonly because: string };

/** Asks for a place. The same id twice is one request. */
export function enter(state: PoolState, request: PoolRequest, bounds: PoolBounds): { state: PoolState; entry: Entry } {
  if (state.running.some(({ id }) => id === request.id)) return { state, entry: { is: "runs" } };
  if (state.waiting.some(({ id }) => id === request.id)) return { state, entry: { is: "waits" } };
  const other = [...state.running, ...state.waiting].find(({ subject }) => subject === request.subject);
  if (other) {
    const because = `another run is at work on ${request.subject}: ${other.id}`;
    return { state, entry: { is: "refused", because } };
  }
  if (hasRoom(state, request, bounds)) {
    return { state: { ...state, running: [...state.running, request] }, entry: { is: "runs" } };
  }
  const queued = state.waiting.filter(({ pool }) => pool === request.pool).length;
  if (queued >= waitingMax) {
    const because = `the pool ${request.pool} holds ${boundOf(request.pool, bounds)} and ${queued} wait: no more is taken`;
    return { state, entry: { is: "refused", because } };
  }
  return { state: { ...state, waiting: [...state.waiting, request] }, entry: { is: "waits" } };
}

/** Gives a place back, or leaves the queue; `begins` may run now. An unknown id changes nothing. */
export function leave(
  state: PoolState,
  id: string,
  bounds: PoolBounds,
): { state: PoolState; begins: readonly PoolRequest[] } {
  let next: PoolState = {
    running: state.running.filter((one) => one.id !== id),
    waiting: state.waiting.filter((one) => one.id !== id),
  };
  const begins: PoolRequest[] = [];
  for (const request of next.waiting) {
    if (!hasRoom(next, request, bounds)) continue;
    begins.push(request);
    next = { running: [...next.running, request], waiting: next.waiting.filter((one) => one !== request) };
  }
  return { state: next, begins };
}

function hasRoom(state: PoolState, { pool }: PoolRequest, bounds: PoolBounds): boolean {
  if (pool === "") return true;
  return state.running.filter((one) => one.pool === pool).length < boundOf(pool, bounds);
}

function boundOf(pool: string, bounds: PoolBounds): number {
  return Math.max(1, bounds[pool] ?? 1);
}
