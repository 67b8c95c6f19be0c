import { draw } from "@blueflame/shared/random/random.ts";
import {
  type Columns,
  type FeatureName,
  featureNames,
  features,
  notKnown,
  type Row,
  rowOf,
  type Sample,
  type Usual,
} from "./features.ts";
import { type Forest, score, trainedLeast } from "./forest.ts";

/** What is remembered of one workload: at most 1024 rows and a forest, 60 to 90 KB of JSON. JSON-able. */
export interface Watch {
  /** The stream of chance. */
  readonly seed: number;
  /** The rows that are remembered, feature by feature. */
  readonly columns: Columns;
  readonly rows: number;
  /** Looks over all time, and at the last training. */
  readonly seen: number;
  readonly seenAtTraining: number;
  /** Anomalies in a row, the last look included. */
  readonly streak: number;
  /** Absent while untrained. */
  readonly forest?: Forest;
}

/** One feature that is out, and how far. */
export interface Outlier {
  readonly feature: FeatureName;
  readonly value: number;
  /** Nine of ten looks were in here. */
  readonly usualLow: number;
  readonly usualHigh: number;
  readonly median: number;
  /** Distance from the median in robust standard deviations. */
  readonly deviations: number;
}

/** What one look has shown. `out` is empty unless it is an anomaly; the farthest comes first. */
export interface Verdict {
  readonly anomaly: boolean;
  /** Anomalies in a row, this look included. One may be chance; three in a row by chance are rarer than one in ten thousand. */
  readonly streak: number;
  /** 0 to 1; absent while untrained. */
  readonly score?: number;
  readonly threshold?: number;
  readonly out: readonly Outlier[];
  /** One sentence for people. */
  readonly because: string;
}

const rowsMax = 1024;
/** A forest is at most this many looks old. */
const retrainAfter = 256;
/** Anomalies in a row that are remembered all, so that a short burst which comes again and again becomes usual. */
const streakKept = 3;
/** Of a longer streak one of so many: at a look every 5 s a lasting change becomes usual after about half an hour. */
const keptOneOf = 16;
/** So many robust standard deviations from the median, or it is noise. */
const deviationsLeast = 5;
/** And so many times as far from it as 49 of 50 rows reach: little for normal noise, much for skewed noise and for spikes that recur. */
const reachLeast = 2;

/** Nothing was seen yet. `seed` is its stream of chance. */
export function freshWatch(seed: number): Watch {
  return { seed, columns: featureNames.map(() => null), rows: 0, seen: 0, seenAtTraining: 0, streak: 0 };
}

/**
 * Judges one look and remembers it. Give it looks of a workload that is ready, at an even pace such as every 5 s: what
 * still starts up is not what it usually is.
 *
 * It is an anomaly when the forest finds it more unusual than nine of ten rows that it was trained on, and a feature is out in
 * the direction that hurts: farther from the median than `leastAway` in its own unit and than `leastShare` of the median
 * (so that a flat line's jitter is nothing), than 5 robust standard deviations, and than twice as far as 49 of 50 training rows
 * reach. Untrained, with fewer than 64 rows, nothing is an anomaly.
 */
export function look(watch: Watch, sample: Sample): { readonly watch: Watch; readonly verdict: Verdict } {
  const row = rowOf(sample);
  const judged = judge(watch, row);
  const streak = judged.anomaly ? watch.streak + 1 : 0;
  return { watch: remember(watch, row, streak), verdict: { ...judged, streak } };
}

/** Is it time to train in the background? First with 64 rows, then when as many looks have passed again, at most 256. */
export function trainingDue({ rows, seen, seenAtTraining, forest }: Watch): boolean {
  if (rows < trainedLeast) return false;
  return forest === undefined || seen - seenAtTraining >= Math.min(retrainAfter, forest.trainedOn);
}

/** Takes over the forest that was trained in the background. */
export function trained(watch: Watch, forest: Forest): Watch {
  return { ...watch, forest, seenAtTraining: watch.seen };
}

function judge({ forest, rows }: Watch, row: Row): Omit<Verdict, "streak"> {
  if (forest === undefined) {
    return { anomaly: false, out: [], because: `untrained: ${rows} looks of at least ${trainedLeast}` };
  }
  const { threshold } = forest;
  const points = score(forest, row);
  const figures = `score ${points.toFixed(2)}, threshold ${threshold.toFixed(2)}`;
  const usual = { anomaly: false, score: points, threshold, out: [] };
  if (points <= threshold) return { ...usual, because: `as usual: ${figures}` };
  const out = outliers(forest, row);
  if (out.length === 0) return { ...usual, because: `unusual, but nothing that hurts is far out: ${figures}` };
  return { anomaly: true, score: points, threshold, out, because: `${out.map(described).join("; ")} (${figures})` };
}

function outliers(forest: Forest, row: Row): Outlier[] {
  const found = featureNames.flatMap((feature, index): Outlier[] => {
    const usual = forest.usual[index];
    const value = row[index];
    if (!usual || value === undefined || value === notKnown) return [];
    const deviations = farOut(feature, value, usual);
    const { p5: usualLow, p95: usualHigh, median } = usual;
    return deviations === undefined ? [] : [{ feature, value, usualLow, usualHigh, median, deviations }];
  });
  return found.sort((a, b) => b.deviations - a.deviations);
}

/** The distance in robust standard deviations when it is out by the rule of {@link look}; else undefined. */
function farOut(feature: FeatureName, value: number, usual: Usual): number | undefined {
  const { hurts, leastAway, leastShare } = features[feature];
  const away = hurts === "above" ? value - usual.median : usual.median - value;
  const reach = hurts === "above" ? usual.p98 - usual.median : usual.median - usual.p2;
  const least = [leastAway, leastShare * Math.abs(usual.median), deviationsLeast * usual.sd, reachLeast * reach];
  if (!least.every((bound) => away >= bound)) return undefined;
  // A flat line has no deviation; a hundredth of what matters stands in for it, so that the figure stays one.
  return away / Math.max(usual.sd, leastAway / 100);
}

function described({ feature, value, usualLow, usualHigh, deviations }: Outlier): string {
  const { unit } = features[feature];
  const times = deviations >= 100 ? "over 100" : deviations.toFixed(0);
  return `${feature} is ${short(value)}${unit}, usually ${short(usualLow)} to ${short(usualHigh)}${unit}, out by ${times} deviations`;
}

function short(value: number): string {
  return String(Number(value.toPrecision(3)));
}

/**
 * Keeps the row; when all places are taken, it takes that of a random one, so that the rows grow old evenly and reach back
 * several times as far as a ring would (Aggarwal, "On Biased Reservoir Sampling", VLDB 2006).
 */
function remember(watch: Watch, row: Row, streak: number): Watch {
  const seen = watch.seen + 1;
  const kept = draw(watch.seed);
  if (streak > streakKept && kept.value * keptOneOf >= 1) return { ...watch, seen, streak, seed: kept.seed };
  const place = draw(kept.seed);
  const at = watch.rows < rowsMax ? watch.rows : Math.floor(place.value * rowsMax);
  const columns = watch.columns.map((column, feature) => placed(column, watch.rows, at, row[feature] ?? notKnown));
  return { ...watch, seen, streak, seed: place.seed, columns, rows: Math.max(watch.rows, at + 1) };
}

/** The column with `value` at the place `at`; a feature that becomes known late was not known before. Four digits are enough. */
function placed(column: readonly number[] | null, length: number, at: number, value: number): readonly number[] | null {
  if (column === null && value === notKnown) return null;
  const before = column ?? new Array<number>(length).fill(notKnown);
  const short = Number(value.toPrecision(4));
  return at < before.length ? before.with(at, short) : [...before, short];
}
