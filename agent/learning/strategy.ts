import { type Rung, rungs } from "../ladder/rungs.ts";
import { wilson } from "./wilson.ts";

/** Rungs that replace data or the installation. Learning never moves them: they stay last, in this order. */
const destructive: readonly Rung[] = ["backup_restore", "full_bootstrap"];
const gentle = rungs.filter((rung) => !destructive.includes(rung));
/** A try of it costs seconds: others go before it only when it is known to be worse. */
const cheapest: Rung = "quick_restart";

/** What came of one rung: successes and failures, weighing half as much after 30 days, and how long a success took. */
export type Outcome = readonly [ok: number, failed: number, tookMs: number];

/** What is remembered of one failure pattern, as it stood at `atMs` (an age of the timeline). */
export interface Tried {
  readonly atMs: number;
  readonly rungs: Readonly<Partial<Record<Rung, Outcome>>>;
}

/** What was tried, by failure pattern; at most 500, the one not seen for longest goes first. JSON-able. */
export type Strategies = Readonly<Record<string, Tried>>;

/** In which order to try the rungs. Always all six, each once. */
export interface Recommendation {
  readonly order: readonly Rung[];
  /** The order differs from the ladder's own. */
  readonly learned: boolean;
  /** One sentence for people. */
  readonly because: string;
}

const patternsMax = 500;
const halfMs = 30 * 86_400_000;
const evidenceMax = 40;
/** A rung is known to help when, with 95 % certainty, it does so at least this often: three of three, four of five. */
const helpsFrom = 0.5;
/** And to be useless when it is at most this often: none of five. */
const uselessUpTo = 0.36;

/** The memory after one more try of `rung` for the failure pattern `key`. `tookMs` counts for successes only. */
export function tried(
  all: Strategies,
  key: string,
  attempt: { readonly rung: Rung; readonly ok: boolean; readonly tookMs: number },
  ageMs: number,
): Strategies {
  const before = all[key];
  const records = faded(before, ageMs);
  const [ok, failed, tookMs] = records[attempt.rung] ?? [0, 0, 0];
  const counted = attempt.ok ? [ok + 1, failed] : [ok, failed + 1];
  const scale = Math.min(1, evidenceMax / ((counted[0] ?? 0) + (counted[1] ?? 0)));
  // A mean over the last few: how long it takes now matters, not how long it took a year ago.
  const took = !attempt.ok ? tookMs : ok === 0 ? attempt.tookMs : tookMs + (attempt.tookMs - tookMs) / 4;
  const record: Outcome = [rounded((counted[0] ?? 0) * scale), rounded((counted[1] ?? 0) * scale), Math.round(took)];
  return bounded({ ...all, [key]: { atMs: ageMs, rungs: { ...records, [attempt.rung]: record } } });
}

/**
 * The order of rungs for the failure pattern `key`. What is known to help (with 95 % certainty in at least half of the
 * cases) goes first, the surest in front; what is known to be useless goes behind the other gentle rungs. Only the gentle
 * ones move: restoring data and full bootstrap keep their place at the end. The quick restart is passed over only when what
 * passes it is known to be better: its lower bound above the upper bound of the restart.
 */
export function recommend(all: Strategies, key: string, ageMs: number): Recommendation {
  const records = faded(all[key], ageMs);
  const known = gentle.map((rung) => ({ rung, ...boundsOf(records[rung]), record: records[rung] }));
  const restart = known.find((one) => one.rung === cheapest);
  const better = known.filter((one) => one.rung !== cheapest && one.low >= helpsFrom && one.low > (restart?.high ?? 1));
  const first = better.sort((a, b) => b.low - a.low).map((one) => one.rung);
  const last = known.filter((one) => one.high <= uselessUpTo).map((one) => one.rung);
  const order = [
    ...first,
    ...gentle.filter((rung) => !first.includes(rung) && !last.includes(rung)),
    ...last,
    ...destructive,
  ];
  const learned = order.some((rung, index) => rung !== rungs[index]);
  const figures = known.flatMap(({ rung, record }) => (record ? [described(rung, record)] : []));
  const seen = figures.length > 0 ? `seen here: ${figures.join(", ")}` : "this failure was not seen before";
  if (!learned) return { order, learned, because: `the ladder's own order; ${seen}` };
  const start = order[0] === cheapest ? "" : `${order[0]} goes first; `;
  const end =
    last.length > 0
      ? `${last.join(" and ")} did not help and ${last.length > 1 ? "go" : "goes"} last of the gentle ones; `
      : "";
  return { order, learned, because: `${start}${end}${seen}` };
}

/** The ladder's own order, whatever was learned. */
export function unlearned(because: string): Recommendation {
  return { order: rungs, learned: false, because };
}

function boundsOf(record: Outcome | undefined): { readonly low: number; readonly high: number } {
  const [ok, failed] = record ?? [0, 0];
  return wilson(ok, ok + failed);
}

function described(rung: Rung, [ok, failed, tookMs]: Outcome): string {
  const took = ok >= 0.5 ? ` in about ${(tookMs / 1000).toFixed(1)} s` : "";
  return `${rung} healed ${figure(ok)} of ${figure(ok + failed)}${took}`;
}

function figure(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function faded(one: Tried | undefined, ageMs: number): Partial<Record<Rung, Outcome>> {
  if (!one) return {};
  const fade = 2 ** (-Math.max(0, ageMs - one.atMs) / halfMs);
  const left: Partial<Record<Rung, Outcome>> = {};
  for (const rung of rungs) {
    const record = one.rungs[rung];
    if (record) left[rung] = [record[0] * fade, record[1] * fade, record[2]];
  }
  return left;
}

function bounded(all: Strategies): Strategies {
  const keys = Object.keys(all);
  if (keys.length <= patternsMax) return all;
  const oldest = keys.reduce((a, b) => ((all[b]?.atMs ?? 0) < (all[a]?.atMs ?? 0) ? b : a));
  const { [oldest]: _gone, ...rest } = all;
  return rest;
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
