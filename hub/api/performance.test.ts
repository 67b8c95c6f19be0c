import { expect, test } from "vitest";
import { isFailing, type Served, served, summary } from "./performance.ts";

function many(count: number, one: (at: number) => Partial<Served>): Served[] {
  let all: Served[] = [];
  for (let at = 0; at < count; at++) all = served(all, { atMs: 60_000 + at, tookMs: 1, failed: false, ...one(at) });
  return all;
}

test("PRA-5 nothing served yet is zero everywhere, not NaN", () => {
  expect(Object.values(summary([], 1000))).toEqual([0, 0, 0, 0, 0]);
});

test("PRA-5 mean, percentiles, failures and rate are those of the last minute", () => {
  const old = served([], { atMs: 0, tookMs: 9999, failed: true });
  const all = [...old, ...many(100, (at) => ({ tookMs: at + 1, failed: at % 10 === 0 }))];
  expect(summary(all, 60_100)).toEqual({
    avg_latency_ms: 50.5,
    p95_latency_ms: 95,
    p99_latency_ms: 99,
    error_rate: 0.1,
    requests_per_second: 1.667,
  });
});

test("what is kept is bounded, and the rate stays right when the bound cut the window", () => {
  const all = many(5000, () => ({}));
  expect(all).toHaveLength(2048);
  expect(summary(all, 65_000).requests_per_second).toBeCloseTo(2048 / ((65_000 - 62_952) / 1000), 0);
});

test("half of many requests failing is failing; one of one is not", () => {
  expect(
    isFailing(
      many(40, (at) => ({ failed: at % 2 === 0 })),
      60_100,
    ),
  ).toBe(true);
  expect(
    isFailing(
      many(40, (at) => ({ failed: at % 3 === 0 })),
      60_100,
    ),
  ).toBe(false);
  expect(
    isFailing(
      many(1, () => ({ failed: true })),
      60_100,
    ),
  ).toBe(false);
});
