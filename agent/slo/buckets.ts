/** Sums over one stretch of time: its number (age divided by the size), then one sum per column. JSON-able. */
export type Bucket = readonly [number: number, ...sums: number[]];

/** Sums by time: at most `keep` + 1 buckets of `sizeMs`, oldest first; those in which nothing happened are not there. */
export interface Series {
  readonly sizeMs: number;
  readonly keep: number;
  readonly buckets: readonly Bucket[];
}

/** A series in which nothing has happened; it reaches back `sizeMs`·`keep`. */
export function freshSeries(sizeMs: number, keep: number): Series {
  return { sizeMs, keep, buckets: [] };
}

/**
 * Adds what was measured over the `overMs` that end at `ageMs`. A stretch longer than a bucket is spread evenly over those
 * that it touches, so that two hours of silence told at once do not look like two hours within five minutes. What is older
 * than the series reaches is dropped.
 */
export function add(series: Series, sums: readonly number[], overMs: number, ageMs: number): Series {
  const { sizeMs, keep } = series;
  const last = Math.floor(ageMs / sizeMs);
  const startMs = Math.max(0, ageMs - overMs);
  const first = Math.max(Math.floor(startMs / sizeMs), last - keep);
  const byNumber = new Map(series.buckets.filter(([number]) => number >= last - keep).map((one) => [one[0], one]));
  for (let number = first; number <= last; number += 1) {
    const fromMs = Math.max(startMs, number * sizeMs);
    const toMs = Math.min(ageMs, (number + 1) * sizeMs);
    const share = ageMs > startMs ? (toMs - fromMs) / (ageMs - startMs) : 1;
    if (share > 0) byNumber.set(number, merged(byNumber.get(number), number, sums, share));
  }
  return { sizeMs, keep, buckets: [...byNumber.values()].sort((a, b) => a[0] - b[0]) };
}

/** The sums over the last `overMs`, rounded up to whole buckets and with the one that is filling now. */
export function sumOver(series: Series, columns: number, overMs: number, ageMs: number): number[] {
  const oldest = Math.floor(ageMs / series.sizeMs) - Math.min(series.keep, Math.ceil(overMs / series.sizeMs));
  const total = new Array<number>(columns).fill(0);
  for (const [number, ...sums] of series.buckets) {
    if (number < oldest) continue;
    for (let column = 0; column < columns; column += 1) total[column] = (total[column] ?? 0) + (sums[column] ?? 0);
  }
  return total;
}

function merged(old: Bucket | undefined, number: number, sums: readonly number[], share: number): Bucket {
  const [, ...before] = old ?? [number];
  const length = Math.max(before.length, sums.length);
  const after = Array.from({ length }, (_, column) => rounded((before[column] ?? 0) + (sums[column] ?? 0) * share));
  // Most workloads tell nothing but up and down: their buckets stay short.
  while (after.length > 0 && after.at(-1) === 0) after.pop();
  return [number, ...after];
}

/** A thousandth is fine enough for milliseconds and requests, and keeps the stored text short. */
function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}
