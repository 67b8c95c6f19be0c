import { expect, test } from "vitest";
import { seedsOr } from "../support/seeds.ts";
import { noTotals, runFleet, type Totals } from "./fleet.ts";

/** The short form of `npm run sim`. */
const seeds = seedsOr(30);
test(`PHX-1 PHX-2 over ${seeds.length} seeds of faults nothing happens that must not, and in the end all is well or explained`, () => {
  const totals = { ...noTotals };
  for (const seed of seeds) {
    const outcome = runFleet(seed);
    expect(outcome.violations, `SEED=${seed} npm run sim`).toEqual([]);
    for (const key of Object.keys(totals) as (keyof Totals)[]) totals[key] += outcome.totals[key];
  }
  // A run in which nothing went wrong would prove nothing.
  for (const [what, times] of Object.entries(totals)) expect(times, what).toBeGreaterThan(seeds.length / 2);
}, 120_000);

test("PHX-11 a seed gives the same trace every time, and another seed another one", () => {
  const [first, second] = [runFleet(17), runFleet(17)];
  expect(first.trace.length).toBeGreaterThan(50);
  expect(second.traceHash).toBe(first.traceHash);
  expect(runFleet(18).traceHash).not.toBe(first.traceHash);
});
