import type { FinishedRequest } from "../node.ts";
import type { Figures } from "../triggers/observation.ts";

/** Figures are over the last minute, in slots of five seconds; the slot that is filling is part of it. */
const slotMs = 5000;
const slotsMax = 13;
/** Bounds of latencies grow by this factor from bin to bin: a percentile is told within 2.5 %. */
const growth = 1.05;
/** The first bin ends here, the last one has no end: 320 bins reach ten minutes. */
const firstMs = 0.1;
const bins = 320;
const perBin = 1 / Math.log(growth);

interface Slot {
  /** Which slot of time: milliseconds divided by {@link slotMs}. */
  readonly number: number;
  count: number;
  errors: number;
  timeouts: number;
  sumMs: number;
  maxMs: number;
  readonly histogram: Uint32Array;
}

/** What is remembered of one workload's requests: at most 13 slots of 1.3 KB. Changed by {@link countRequest} only. */
export interface RequestMeter {
  slots: Slot[];
  /** When the first request was counted. */
  sinceMs: number | undefined;
}

/** Nothing was counted yet. */
export function freshMeter(): RequestMeter {
  return { slots: [], sinceMs: undefined };
}

/** Counts one request at `nowMs`. A latency that is no number, or below 0, counts as 0. */
export function countRequest(meter: RequestMeter, { latencyMs, ok, timedOut }: FinishedRequest, nowMs: number): void {
  const slot = slotAt(meter, nowMs);
  const ms = latencyMs > 0 && Number.isFinite(latencyMs) ? latencyMs : 0;
  slot.count += 1;
  if (!ok || timedOut) slot.errors += 1;
  if (timedOut) slot.timeouts += 1;
  slot.sumMs += ms;
  slot.maxMs = Math.max(slot.maxMs, ms);
  const bin = binOf(ms);
  slot.histogram[bin] = (slot.histogram[bin] ?? 0) + 1;
  meter.sinceMs ??= nowMs;
}

/**
 * avg_latency_ms, p95_latency_ms, p99_latency_ms, error_rate, requests_per_second, api_timeouts over the last minute. Nothing
 * before the first request; without one in the last minute only the two counts, which are 0.
 */
export function requestFigures(meter: RequestMeter, nowMs: number): Figures {
  if (meter.sinceMs === undefined) return {};
  const oldest = Math.floor(nowMs / slotMs) - slotsMax + 1;
  const slots = meter.slots.filter(({ number }) => number >= oldest);
  const total = (of: (slot: Slot) => number) => slots.reduce((sum, slot) => sum + of(slot), 0);
  const count = total((slot) => slot.count);
  const coveredMs = nowMs - Math.max(meter.sinceMs, oldest * slotMs);
  const counts = {
    requests_per_second: count / Math.max(1, coveredMs / 1000),
    api_timeouts: total((slot) => slot.timeouts),
  };
  if (count === 0) return counts;
  const maxMs = slots.reduce((most, slot) => Math.max(most, slot.maxMs), 0);
  return {
    ...counts,
    avg_latency_ms: total((slot) => slot.sumMs) / count,
    p95_latency_ms: Math.min(maxMs, percentile(slots, count * 0.95)),
    p99_latency_ms: Math.min(maxMs, percentile(slots, count * 0.99)),
    error_rate: total((slot) => slot.errors) / count,
  };
}

function slotAt(meter: RequestMeter, nowMs: number): Slot {
  const number = Math.floor(nowMs / slotMs);
  const newest = meter.slots.at(-1);
  if (newest?.number === number) return newest;
  const slot: Slot = { number, count: 0, errors: 0, timeouts: 0, sumMs: 0, maxMs: 0, histogram: new Uint32Array(bins) };
  meter.slots = [...meter.slots.filter((one) => one.number > number - slotsMax), slot];
  return slot;
}

function binOf(ms: number): number {
  if (ms <= firstMs) return 0;
  return Math.min(bins - 1, 1 + Math.floor(Math.log(ms / firstMs) * perBin));
}

/** The middle of the bin in which the request of this rank lies. */
function percentile(slots: readonly Slot[], rank: number): number {
  let below = 0;
  for (let bin = 0; bin < bins; bin += 1) {
    for (const { histogram } of slots) below += histogram[bin] ?? 0;
    if (below >= rank) return bin === 0 ? firstMs / 2 : firstMs * growth ** (bin - 0.5);
  }
  return firstMs * growth ** bins;
}
