import { printDuration } from "@blueflame/shared/units/units.ts";
import { type Instant, passTo, startTimeline, type Timeline } from "../slo/timeline.ts";

/**
 * Does a figure grow towards its limit, and when is it there? For memory that leaks and disks that fill.
 *
 * Kept is the least value of each stretch of time: what a collector frees again is not in it. The slope is the median of the
 * slopes of all pairs of points (Theil 1950, Sen 1968): up to 29 % of the points may be anything. It is growth only when
 * nearly all pairs rise (Kendall's tau), the least of each quarter of the time is above that of the quarter before (a slow
 * sawtooth is not), and the rise stands out of the noise.
 */
export interface Trend {
  readonly line: Timeline;
  /** The stretch that one point stands for: 10 s at first; doubles when there are 64 points, up to 320 s (5.7 hours in all). */
  readonly stretchMs: number;
  /** Age and least value, oldest first; at most 64. JSON-able, about 1 KB. */
  readonly points: readonly (readonly [ageMs: number, value: number])[];
}

/** What a trend says about the way to a limit. */
export interface TrendVerdict {
  /** It grows, and that is no accident: `etaMs` may be acted upon. */
  readonly growing: boolean;
  /** In units of the value; 0 while there are too few points. */
  readonly slopePerHour: number;
  readonly limit: number;
  /** Until the limit is reached at this slope, 0 when it is; absent unless growing. */
  readonly etaMs?: number;
  /** 0 to 1: Kendall's tau, less where the rise drowns in noise. */
  readonly confidence: number;
  readonly because: string;
}

export interface TrendPolicy {
  /** No trend is seen in less time. Lower: sooner; higher: no single filling of a heap is taken for a leak. */
  readonly spanLeastMs: number;
  readonly confidenceLeast: number;
  /** A rise over the span of less than this share of the limit is nothing. */
  readonly riseLeastShare: number;
}

export const defaultTrend: TrendPolicy = { spanLeastMs: 20 * 60_000, confidenceLeast: 0.8, riseLeastShare: 0.01 };

const pointsMax = 64;
const pointsLeast = 12;
const stretchFirstMs = 10_000;
const stretchMaxMs = 320_000;
/** A rise of six standard deviations of what is left around the line stands out fully. */
const noiseTimes = 6;

/** Nothing was seen. Begin anew at each start of a process, and after a clean-up: what was freed hides the growth for hours. */
export function freshTrend(now: Instant): Trend {
  return { line: startTimeline(now), stretchMs: stretchFirstMs, points: [] };
}

/** Adds one reading, at any pace. What is no finite number is left out. */
export function recordTrend(trend: Trend, value: number, now: Instant): Trend {
  const line = passTo(trend.line, now);
  if (!Number.isFinite(value)) return { ...trend, line };
  let { stretchMs } = trend;
  let points = thinned([...trend.points, [line.ageMs, value]], stretchMs);
  while (points.length > pointsMax && stretchMs < stretchMaxMs) {
    stretchMs *= 2;
    points = thinned(points, stretchMs);
  }
  return { line, stretchMs, points: points.slice(-pointsMax) };
}

/** The way to `limit` (in the unit of the values) as it stands at `now`. Takes about 0.5 ms: ask once a minute. */
export function trendOf(trend: Trend, limit: number, policy: TrendPolicy, now: Instant): TrendVerdict {
  const { points } = trend;
  const spanMs = (points.at(-1)?.[0] ?? 0) - (points[0]?.[0] ?? 0);
  const nothing = { growing: false, slopePerHour: 0, limit, confidence: 0 };
  if (points.length < pointsLeast || spanMs < policy.spanLeastMs) {
    const seen = `${points.length} points over ${minutes(spanMs)}`;
    return { ...nothing, because: `${seen}: at least ${pointsLeast} over ${minutes(policy.spanLeastMs)} are needed` };
  }
  const { slope, level, tau, noise } = fitted(points, passTo(trend.line, now).ageMs);
  const rise = slope * spanMs;
  const confidence = Math.max(0, tau) * Math.min(1, noise > 0 ? Math.max(0, rise) / (noiseTimes * noise) : 1);
  const slopePerHour = slope * 3_600_000;
  const answer = { growing: false, slopePerHour, limit, confidence };
  const pace = `${signed(slopePerHour)} per hour over ${minutes(spanMs)}, confidence ${confidence.toFixed(2)}`;
  if (confidence < policy.confidenceLeast) return { ...answer, because: `no steady growth: ${pace}` };
  if (!eachQuarterRises(points)) return { ...answer, because: `it falls back now and then: ${pace}` };
  if (rise < policy.riseLeastShare * limit) return { ...answer, because: `too little to matter: ${pace}` };
  const etaMs = Math.max(0, (limit - level) / slope);
  const when = etaMs === 0 ? "the limit is reached" : `${short(limit)} is reached in ${minutes(etaMs)}`;
  return { ...answer, growing: true, etaMs, because: `it grows by ${pace}: ${when}` };
}

type Points = Trend["points"];

/** One point, the least, for each stretch. */
function thinned(points: Points, stretchMs: number): Points {
  const kept: Points[number][] = [];
  for (const point of points) {
    const last = kept.at(-1);
    const same = last && Math.floor(last[0] / stretchMs) === Math.floor(point[0] / stretchMs);
    if (!same) kept.push(point);
    else if (point[1] < last[1]) kept[kept.length - 1] = point;
  }
  return kept;
}

/** Theil–Sen line, its level at `ageMs`, Kendall's tau, and a robust standard deviation of what is left around the line. */
function fitted(points: Points, ageMs: number) {
  const slopes = new Float64Array((points.length * (points.length - 1)) / 2);
  let [pair, sum] = [0, 0];
  for (const [later, [laterMs, laterValue]] of points.entries()) {
    for (const [earlierMs, earlierValue] of points.slice(0, later)) {
      slopes[pair] = (laterValue - earlierValue) / Math.max(1, laterMs - earlierMs);
      sum += Math.sign(laterValue - earlierValue);
      pair += 1;
    }
  }
  const slope = median(slopes);
  const level = median(Float64Array.from(points, ([atMs, value]) => value + slope * (ageMs - atMs)));
  const left = Float64Array.from(points, ([atMs, value]) => Math.abs(value + slope * (ageMs - atMs) - level));
  return { slope, level, tau: sum / slopes.length, noise: 1.4826 * median(left) };
}

function eachQuarterRises(points: Points): boolean {
  const quarter = (n: number) =>
    points.slice(Math.floor((n * points.length) / 4), Math.floor(((n + 1) * points.length) / 4));
  const least = [0, 1, 2, 3].map((n) => Math.min(...quarter(n).map(([, value]) => value)));
  return least.every((value, index) => index === 0 || value > (least[index - 1] ?? value));
}

function median(values: Float64Array): number {
  const sorted = values.slice().sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

function minutes(ms: number): string {
  return printDuration(ms < 600_000 ? Math.round(ms / 1000) * 1000 : Math.round(ms / 60_000) * 60_000);
}

function signed(value: number): string {
  return `${value < 0 ? "" : "+"}${short(value)}`;
}

function short(value: number): string {
  return String(Number(value.toPrecision(3)));
}
