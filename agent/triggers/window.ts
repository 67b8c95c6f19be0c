/**
 * How much was counted when, oldest first: [when the slice began, how much]. A slice is a sixtieth of the window long and begins
 * with its first count, so at most 61 are kept, counts that are few are exact, and none is ever counted too late: at most a
 * sixtieth of the window too early it is out of it. JSON-able.
 */
export type Window = readonly (readonly [atMs: number, count: number])[];

const slices = 60;

/** Adds what was counted just now and forgets what is out of the window. */
export function counted(window: Window, count: number, withinMs: number, nowMs: number): Window {
  const kept = window.filter(([atMs]) => atMs > nowMs - withinMs);
  if (!(count > 0)) return kept;
  const last = kept.at(-1);
  if (last === undefined || nowMs - last[0] >= withinMs / slices) return [...kept, [nowMs, count]];
  return [...kept.slice(0, -1), [last[0], last[1] + count]];
}

/** How much was counted in the last `withinMs`. */
export function countOf(window: Window, withinMs: number, nowMs: number): number {
  return window.reduce((sum, [atMs, count]) => (atMs > nowMs - withinMs ? sum + count : sum), 0);
}
