/**
 * How much may run at once (DOL-6). A pool holds at most its bound; what comes beyond waits in its turn, up to a bound of its
 * own, and what comes beyond that is refused. One subject (a workload, a node-wide playbook) has at most one run. So a recovery
 * can never start a process explosion, however often it is asked for. Pure; used for playbooks, backups and starts alike.
 */

import type { PreparedRung } from "./ports.ts";

/** What wants to run. */
export interface PoolRequest {
  readonly id: string;
  /** Two requests with the same subject never run at once. */
  readonly subject: string;
  /** Empty: it counts against no pool. */
  readonly pool: string;
}

/** What runs, what rests and what waits, oldest first. JSON-able. */
export interface PoolState {
  readonly running: readonly PoolRequest[];
  /** In the middle of a run that lets time pass: it counts against no pool, but still is the one run of its subject. */
  readonly resting: readonly PoolRequest[];
  readonly waiting: readonly PoolRequest[];
}

/** Pool → how many at once; a pool without a bound holds one at a time. */
export type PoolBounds = Readonly<Record<string, number>>;

/** Bounds of the pools that remedies use; the config's `pools` may say otherwise by name. */
export const poolDefaults = { recovery: 4, maintenance: 1, backup: 1, bootstrap: 1 } as const satisfies PoolBounds;

/** The pool of each rung. What only waits for others counts against none: they may need its place to recover. */
export const rungPools: Readonly<Record<PreparedRung, string>> = {
  config_rollback: "recovery",
  dependency_restart: "",
  backup_restore: "recovery",
  full_bootstrap: "bootstrap",
};

/** More than this many wait for no pool, but for those that go on after a rest: of them there is one for each subject at most. */
export const waitingMax = 16;

export const emptyPools: PoolState = { running: [], resting: [], waiting: [] };

/** What became of a request. */
export type Entry = { readonly is: "runs" | "waits" } | { readonly is: "refused"; readonly because: string };

/** Asks for a place. The same id twice is one request. */
export function enter(state: PoolState, request: PoolRequest, bounds: PoolBounds): { state: PoolState; entry: Entry } {
  if (state.running.some(({ id }) => id === request.id)) return { state, entry: { is: "runs" } };
  if (state.waiting.some(({ id }) => id === request.id)) return { state, entry: { is: "waits" } };
  const other = [...state.running, ...state.resting, ...state.waiting].find(
    ({ subject }) => subject === request.subject,
  );
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

/** A place has become free: the state after it, and who begins by it. */
export interface Left {
  readonly state: PoolState;
  readonly begins: readonly PoolRequest[];
}

/** Gives a place back, or leaves the queue; `begins` may run now. An unknown id changes nothing. */
export function leave(state: PoolState, id: string, bounds: PoolBounds): Left {
  const others = (all: readonly PoolRequest[]) => all.filter((one) => one.id !== id);
  const { running, resting, waiting } = state;
  return filled({ running: others(running), resting: others(resting), waiting: others(waiting) }, bounds);
}

/** What runs lets time pass: until it {@link resume}s, its place is another's; `begins` may run now. Only what runs can rest. */
export function rest(state: PoolState, id: string, bounds: PoolBounds): Left {
  const one = state.running.find((running) => running.id === id);
  if (one === undefined) return { state, begins: [] };
  const running = state.running.filter((other) => other !== one);
  return filled({ ...state, running, resting: [...state.resting, one] }, bounds);
}

/** Goes on after a rest, or waits before all that have not begun; it is never refused. Of what does not rest nothing changes. */
export function resume(state: PoolState, id: string, bounds: PoolBounds): { state: PoolState; runs: boolean } {
  const one = state.resting.find((resting) => resting.id === id);
  if (one === undefined) return { state, runs: state.running.some((running) => running.id === id) };
  const resting = state.resting.filter((other) => other !== one);
  if (hasRoom(state, one, bounds))
    return { state: { ...state, resting, running: [...state.running, one] }, runs: true };
  return { state: { ...state, resting, waiting: [one, ...state.waiting] }, runs: false };
}

/** Whoever waits and finds room begins, in their turn. */
function filled(state: PoolState, bounds: PoolBounds): Left {
  let next = state;
  const begins: PoolRequest[] = [];
  for (const request of next.waiting) {
    if (!hasRoom(next, request, bounds)) continue;
    begins.push(request);
    next = { ...next, running: [...next.running, request], waiting: next.waiting.filter((one) => one !== request) };
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
