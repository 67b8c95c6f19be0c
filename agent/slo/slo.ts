import { add, freshSeries, type Series, sumOver } from "./buckets.ts";
import { type Instant, passTo, startTimeline, type Timeline } from "./timeline.ts";

/** What was promised to the users of a workload; PRA-7. Shares are 0 to 1. */
export interface Objectives {
  readonly availability: number;
  /** 95 of 100 requests take at most this long. */
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly errorRate: number;
  readonly successRate: number;
}

/** The objectives of PRA-7. 99.9 % of 30 days leave 43 minutes and 12 seconds. */
export const defaultObjectives: Objectives = {
  availability: 0.999,
  p95Ms: 200,
  p99Ms: 500,
  errorRate: 0.001,
  successRate: 0.995,
};

/** Objectives hold over the last 30 days. */
export const windowMs = 30 * 86_400_000;

/** Six hours in steps of five minutes for the burn rates, 30 days in steps of six hours for the rest. */
const fine = { sizeMs: 300_000, keep: 72 };
const coarse = { sizeMs: 6 * 3_600_000, keep: 120 };

/** The sums that a bucket keeps. Latencies are summed times their requests. */
const columns = [
  "up",
  "down",
  "requests",
  "errors",
  "unsuccessful",
  "slow95",
  "slow99",
  "p95",
  "p99",
  "timed",
] as const;

/** Each sum by its name. */
export type Sums = Readonly<Record<(typeof columns)[number], number>>;

/** What is remembered of one workload's service: at most 194 short rows (3 to 15 KB of JSON). JSON-able, survives restarts. */
export interface SloState {
  readonly line: Timeline;
  readonly fine: Series;
  readonly coarse: Series;
}

/** What a performance probe or the middleware measured over one slice of time. */
export interface Figures {
  /** Requests in the slice; 0 says that nobody asked, and nothing else is looked at. */
  readonly requests: number;
  /** Failed ones among them. */
  readonly errors: number;
  /** Good ones, where that is more than "not failed"; else requests − errors. */
  readonly successes?: number;
  readonly p95Ms?: number;
  readonly p99Ms?: number;
}

/** Nothing is known yet. */
export function freshSlo(now: Instant): SloState {
  return {
    line: startTimeline(now),
    fine: freshSeries(fine.sizeMs, fine.keep),
    coarse: freshSeries(coarse.sizeMs, coarse.keep),
  };
}

/**
 * Adds the time since the last call: how much of it the workload was up and down. Time that nobody watched, or in which a
 * person had stopped it, is neither: leave it out. Never throws; a figure below 0 or no number counts as 0.
 */
export function recordUptime(state: SloState, upMs: number, downMs: number, now: Instant): SloState {
  const [up, down] = [sane(upMs), sane(downMs)];
  return record(state, { up, down }, up + down, now);
}

/**
 * Adds one slice of measured service. How many of its requests were too slow is judged here and now, by today's
 * objectives; see {@link slowShare}.
 */
export function recordPerformance(state: SloState, objectives: Objectives, figures: Figures, now: Instant): SloState {
  const requests = sane(figures.requests);
  if (requests === 0) return state;
  const errors = Math.min(requests, sane(figures.errors));
  const unsuccessful = requests - Math.min(requests, sane(figures.successes ?? requests - errors));
  const p95 = sane(figures.p95Ms ?? figures.p99Ms ?? 0);
  const p99 = Math.max(p95, sane(figures.p99Ms ?? p95));
  const timed = figures.p95Ms === undefined && figures.p99Ms === undefined ? 0 : requests;
  const sums = {
    requests,
    errors,
    unsuccessful,
    slow95: timed * slowShare(objectives.p95Ms, p95, p99),
    slow99: timed * slowShare(objectives.p99Ms, p95, p99),
    p95: timed * p95,
    p99: timed * p99,
    timed,
  };
  return record(state, sums, 0, now);
}

/** The sums of the last `overMs`, at most six hours to five minutes, beyond that to six hours. Changes nothing. */
export function sumsOver(state: SloState, overMs: number, now: Instant): Sums {
  const series = overMs <= fine.sizeMs * fine.keep ? state.fine : state.coarse;
  const sums = sumOver(series, columns.length, overMs, passTo(state.line, now).ageMs);
  return Object.fromEntries(columns.map((name, index) => [name, sums[index] ?? 0])) as Sums;
}

/**
 * The share of requests that took longer than `limitMs`, when 5 % took longer than `p95Ms` and 1 % longer than `p99Ms`: an
 * exponential tail through both points, 0.05·5^((p95 − limit)/(p99 − p95)), at most 1. Exact at both points, so one slice
 * keeps "p95 at most 200 ms" exactly when its share is at most 5 %; an estimate between and beyond them.
 */
export function slowShare(limitMs: number, p95Ms: number, p99Ms: number): number {
  if (p99Ms <= p95Ms) return p95Ms > limitMs ? 1 : 0;
  return Math.min(1, 0.05 * 5 ** ((p95Ms - limitMs) / (p99Ms - p95Ms)));
}

function record(state: SloState, sums: Partial<Sums>, overMs: number, now: Instant): SloState {
  const line = passTo(state.line, now);
  const row = columns.map((name) => sums[name] ?? 0);
  return {
    line,
    fine: add(state.fine, row, overMs, line.ageMs),
    coarse: add(state.coarse, row, overMs, line.ageMs),
  };
}

function sane(value: number): number {
  return value > 0 && value < Number.MAX_SAFE_INTEGER ? value : 0;
}
