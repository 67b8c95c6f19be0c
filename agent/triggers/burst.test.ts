/** The burst of errors as the product judges it, through the triggers' machine; the rule itself is tried in `anomaly/burst.test.ts`. */
import { seeded } from "@blueflame/shared/random/random.ts";
import { expect, test } from "vitest";
import { triggerBench } from "../../test/support/trigger-bench.ts";
import { catalogue, type Trigger } from "./trigger.ts";

const bursts = catalogue.filter(({ kind }) => kind === "error_burst");
const hourMs = 3_600_000;

/** A machine with the trigger of the box, or others, whose workload's errors are told of every 5 s. */
function counting(triggers: readonly Trigger[] = bursts) {
  const bench = triggerBench({ triggers, everyMs: hourMs });
  const pass = (forMs: number, count: () => number) => {
    for (let ms = 0; ms < forMs; ms += 5000) {
      const now = count();
      if (now > 0) bench.tell({ is: "errors", workload: "engine", count: now });
      bench.pass(5000);
    }
  };
  const firedSince = (fromMs: number) =>
    bench.log.filter((line) => line.includes(" fired ") && Number.parseFloat(line) * 1000 >= fromMs).length;
  return { bench, pass, firedSince };
}

test.each([1, 2])(
  "GRC-2 PRA-8 errors that come in clumps of 20 all day fired again and again: they become usual within the hour, seed %i",
  (seed) => {
    const { bench, pass, firedSince } = counting();
    const random = seeded(seed);
    const clumps = () => (random() < 1 / 60 ? 20 : 0);
    pass(hourMs, clumps);
    const atFirst = firedSince(0);
    pass(23 * hourMs, clumps);
    const later = firedSince(hourMs);
    console.log(`GRC-2 clumps of 20, seed ${seed}: fired ${atFirst} times in the first hour, ${later} in 23 more`);
    expect(atFirst).toBeGreaterThan(0);
    expect(atFirst).toBeLessThanOrEqual(6);
    expect(later).toBe(0);
    const floodMs = bench.sinceMs;
    pass(15_000, () => 60);
    expect(firedSince(floodMs)).toBe(1);
  },
);

test.each([
  [500, 100],
  [50, 30],
])(
  "GRC-2 PRA-8 an outage of ten minutes hid the burst after it: %i errors per 5 s, three minutes of calm, then %i and as many",
  (during, after) => {
    const { bench, pass, firedSince } = counting();
    pass(hourMs, () => 0);
    pass(600_000, () => during);
    expect(firedSince(0)).toBe(3); // at its begin, and each four minutes
    pass(180_000, () => 0);
    expect(bench.log.at(-1)).toContain("cleared error-burst");
    const sinceMs = bench.sinceMs;
    pass(10_000, () => after);
    expect(firedSince(sinceMs)).toBe(1);
  },
);

test("GRC-2 a trigger of one's own counts as its config says: three errors within ten minutes, against silence", () => {
  const own = bursts.map((one) => ({ ...one, name: "few", count: 3, withinMs: 600_000 }));
  const { bench, pass } = counting(own);
  pass(10_000, () => 1);
  expect(bench.log).toEqual([]);
  pass(5000, () => 1);
  expect(bench.log).toEqual(["10 fired few workload/engine"]);
});
