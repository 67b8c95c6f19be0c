import type { Figures } from "../triggers/observation.ts";

/** The features of PRA-8, by the field names of a performance probe (PRA-5), in the order in which samples hold them. */
export const featureNames = [
  "avg_latency_ms",
  "p95_latency_ms",
  "p99_latency_ms",
  "error_rate",
  "requests_per_second",
  "cpu_usage",
  "memory_usage_mb",
] as const;
export type FeatureName = (typeof featureNames)[number];

/** What a feature means. */
export interface Feature {
  /** The direction that hurts: a quieter CPU and a faster answer are no trouble, and neither is a busier shop. */
  readonly hurts: "above" | "below";
  /** Farther from the usual than this, in its own unit, or it is nothing, however flat the line was. */
  readonly leastAway: number;
  /** And farther than this share of the usual value. */
  readonly leastShare: number;
  readonly unit: string;
}

/** Below `leastAway` nobody would look up from their work; half of it again for latencies, which double before they matter. */
export const features: Readonly<Record<FeatureName, Feature>> = {
  avg_latency_ms: { hurts: "above", leastAway: 20, leastShare: 0.5, unit: "ms" },
  p95_latency_ms: { hurts: "above", leastAway: 50, leastShare: 0.5, unit: "ms" },
  p99_latency_ms: { hurts: "above", leastAway: 100, leastShare: 0.5, unit: "ms" },
  error_rate: { hurts: "above", leastAway: 0.02, leastShare: 0.5, unit: "" },
  requests_per_second: { hurts: "below", leastAway: 2, leastShare: 0.8, unit: "/s" },
  cpu_usage: { hurts: "above", leastAway: 0.15, leastShare: 0.25, unit: "" },
  memory_usage_mb: { hurts: "above", leastAway: 32, leastShare: 0.25, unit: "MB" },
};

/** One look at a workload; what is not known is left out. Any subset will do. */
export type Sample = Readonly<Partial<Record<FeatureName, number>>>;

/** What stands in for a feature of which a workload never tells: what the agent sees its family take. */
const byFamily: Readonly<Partial<Record<FeatureName, (figures: Figures) => number | undefined>>> = {
  cpu_usage: ({ process_cpu_ratio }) => process_cpu_ratio,
  memory_usage_mb: ({ process_memory_bytes: bytes }) => (bytes === undefined ? undefined : bytes / 2 ** 20),
};

/**
 * The figures of a workload as a look at it. Of CPU and memory it is believed itself; where it has never told of them (it reports
 * requests and has no page), the family's own figures stand in. `tells` are the features that it has told of before: one of these is
 * unknown while its page is missed, for the two accounts differ, and a change from one to the other is no anomaly.
 */
export function sampleOf(
  figures: Figures,
  tells: ReadonlySet<FeatureName>,
): { readonly sample: Sample; readonly tells: ReadonlySet<FeatureName> } {
  const told = featureNames.filter((name) => figures[name] !== undefined);
  const now = told.every((name) => tells.has(name)) ? tells : new Set([...tells, ...told]);
  const sample: Partial<Record<FeatureName, number>> = {};
  for (const name of featureNames) {
    const value = now.has(name) ? figures[name] : byFamily[name]?.(figures);
    if (value !== undefined) sample[name] = value;
  }
  return { sample, tells: now };
}

/** Stands for a figure that is not known: all features are 0 or more. */
export const notKnown = -1;

/** A sample in the order of {@link featureNames}, with {@link notKnown} for what is not known. */
export type Row = readonly number[];

/** Rows, feature by feature, all of one length; null for a feature that was never known: half the memory, or a fifth. */
export type Columns = readonly (readonly number[] | null)[];

/** A sample as it is judged; what is negative or no finite number is unknown. */
export function rowOf(sample: Sample): Row {
  return featureNames.map((name) => {
    const value = sample[name] ?? notKnown;
    return Number.isFinite(value) && value >= 0 ? value : notKnown;
  });
}

/** How one feature usually is. Without at least one known value there is no such thing. */
export interface Usual {
  readonly median: number;
  readonly p2: number;
  readonly p5: number;
  readonly p95: number;
  readonly p98: number;
  /** A robust standard deviation: 1.4826 · median absolute deviation (Hampel 1974); exact for normal noise. */
  readonly sd: number;
  readonly least: number;
  readonly most: number;
}

/** The usual of each feature; null where fewer than half of the rows know it. */
export function usualOf(columns: Columns): (Usual | null)[] {
  return columns.map((column) => {
    const known = Float64Array.from(column?.filter((value) => value !== notKnown) ?? []);
    return column === null || known.length === 0 || known.length * 2 < column.length ? null : usualAmong(known.sort());
  });
}

function usualAmong(sorted: Float64Array): Usual {
  const median = quantile(sorted, 0.5);
  const away = sorted.map((value) => Math.abs(value - median)).sort();
  return {
    median,
    p2: quantile(sorted, 0.02),
    p5: quantile(sorted, 0.05),
    p95: quantile(sorted, 0.95),
    p98: quantile(sorted, 0.98),
    sd: 1.4826 * quantile(away, 0.5),
    least: quantile(sorted, 0),
    most: quantile(sorted, 1),
  };
}

/** The value below which the share `at` of a sorted, non-empty list lies; between two values, a line. */
export function quantile(sorted: ArrayLike<number>, at: number): number {
  const place = (sorted.length - 1) * at;
  const low = sorted[Math.floor(place)] ?? 0;
  const high = sorted[Math.ceil(place)] ?? low;
  return low + (high - low) * (place - Math.floor(place));
}
