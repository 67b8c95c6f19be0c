import { seeded } from "@blueflame/shared/random/random.ts";
import { expect, test } from "vitest";
import type { FinishedRequest } from "../node.ts";
import { performanceFigures } from "./performance.ts";
import { countRequest, freshMeter, type RequestMeter, requestFigures } from "./requests.ts";

const ok = (latencyMs: number): FinishedRequest => ({ latencyMs, ok: true, timedOut: false });
const count = (meter: RequestMeter, nowMs: number, ...requests: readonly FinishedRequest[]) => {
  for (const request of requests) countRequest(meter, request, nowMs);
};

test("GRC-13 figures follow from every request at once: latencies, errors, rate and timeouts", () => {
  const meter = freshMeter();
  expect(requestFigures(meter, 0)).toEqual({});
  count(meter, 1000, ok(10));
  expect(requestFigures(meter, 1000)).toMatchObject({ avg_latency_ms: 10, p99_latency_ms: 10, error_rate: 0 });
  count(meter, 1000, { latencyMs: 5000, ok: false, timedOut: true });
  expect(requestFigures(meter, 1000)).toMatchObject({ avg_latency_ms: 2505, error_rate: 0.5, api_timeouts: 1 });
  count(meter, 1000, ok(10), { latencyMs: 10, ok: false, timedOut: false });
  expect(requestFigures(meter, 1000)).toMatchObject({ error_rate: 0.5, api_timeouts: 1, requests_per_second: 4 });
});

test("GRC-13 percentiles are within 2.5 % of the exact ones, over five orders of magnitude", () => {
  const random = seeded(11);
  for (const scale of [0.5, 5, 50, 500, 5000]) {
    const meter = freshMeter();
    const exact = Array.from({ length: 5000 }, () => scale * -Math.log(1 - random())).sort((a, b) => a - b);
    count(meter, 0, ...exact.map(ok));
    const figures = requestFigures(meter, 0);
    for (const [name, rank] of [
      ["p95_latency_ms", 0.95],
      ["p99_latency_ms", 0.99],
    ] as const) {
      const wanted = exact[Math.ceil(rank * exact.length) - 1] ?? 0;
      expect(Math.abs((figures[name] ?? 0) / wanted - 1)).toBeLessThan(0.026);
    }
  }
});

test("GRC-13 what is older than a minute is forgotten, and silence is not taken for speed", () => {
  const meter = freshMeter();
  for (let second = 0; second < 120; second += 1) count(meter, second * 1000, ok(second < 60 ? 900 : 10));
  const figures = requestFigures(meter, 120_000);
  expect(figures.avg_latency_ms).toBeLessThan(20);
  expect(figures.requests_per_second).toBeCloseTo(1, 1);
  expect(meter.slots.length).toBeLessThanOrEqual(13);
  // A minute without a request: no latency is known, and the rate is 0.
  expect(requestFigures(meter, 200_000)).toEqual({ requests_per_second: 0, api_timeouts: 0 });
});

test("GRC-13 the rate of the first seconds is not thinned out over a whole minute", () => {
  const meter = freshMeter();
  for (let at = 0; at <= 4000; at += 10) count(meter, at, ok(1));
  expect(requestFigures(meter, 4000).requests_per_second).toBeCloseTo(100, 0);
});

test("a latency that is none counts as 0, and one beyond the last bin is told by its largest", () => {
  const meter = freshMeter();
  count(meter, 0, ok(Number.NaN), ok(-5), ok(Number.POSITIVE_INFINITY));
  expect(requestFigures(meter, 0)).toMatchObject({ avg_latency_ms: 0, p99_latency_ms: 0 });
  count(meter, 0, ...Array.from({ length: 997 }, () => ok(3_600_000)));
  expect(requestFigures(meter, 0).p99_latency_ms).toBeLessThanOrEqual(3_600_000);
  expect(requestFigures(meter, 0).p99_latency_ms).toBeGreaterThan(500_000);
});

test("PRA-5 a performance page is taken by its field names, and what is no sane figure is left out", () => {
  const page = {
    avg_latency_ms: 12.5,
    p95_latency_ms: 40,
    p99_latency_ms: 90,
    error_rate: 0.01,
    requests_per_second: 250,
    cpu_usage: 0.4,
    memory_usage_mb: 128,
  };
  expect(performanceFigures({ ...page, version: "1", note: { deep: 1 } })).toEqual(page);
  const wrong = { avg_latency_ms: "12", p95_latency_ms: -1, error_rate: 1.5, cpu_usage: null, memory_usage_mb: 1e300 };
  expect(performanceFigures(wrong)).toEqual({});
  expect([performanceFigures(null), performanceFigures([1]), performanceFigures("x")]).toEqual([{}, {}, {}]);
});
