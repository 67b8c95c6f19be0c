import * as fc from "fast-check";
import { expect, test } from "vitest";
import { healthScore } from "./health.ts";

test.each([
  [{ uptimePercent: 100, successRate: 1, p95Ms: 0, errorRate: 0 }, 100],
  [{ uptimePercent: 99.9, successRate: 0.995, p95Ms: 200, errorRate: 0.001 }, 29.97 + 29.85 + 16 + 19.98],
  [{ uptimePercent: 100, successRate: 1, p95Ms: 1000, errorRate: 0 }, 80],
  [{ uptimePercent: 100, successRate: 1, p95Ms: 4000, errorRate: 0 }, 20],
  [{ uptimePercent: 50, successRate: 0.5, p95Ms: 500, errorRate: 0.5 }, 50],
  [{ uptimePercent: 0, successRate: 0, p95Ms: 9000, errorRate: 1 }, 0],
  [{ uptimePercent: Number.NaN, successRate: 1, p95Ms: 1, errorRate: 0 }, 0],
])("PRA-6 %o scores %d", (figures, score) => expect(healthScore(figures)).toBeCloseTo(score, 9));

test("PRA-6 the score lies between 0 and 100, and no figure that gets worse ever raises it", () => {
  const figures = fc.record({
    uptimePercent: fc.double({ min: 0, max: 100, noNaN: true }),
    successRate: fc.double({ min: 0, max: 1, noNaN: true }),
    p95Ms: fc.double({ min: 0, max: 1e5, noNaN: true }),
    errorRate: fc.double({ min: 0, max: 1, noNaN: true }),
  });
  fc.assert(
    fc.property(figures, figures, (a, b) => {
      expect(healthScore(a)).toBeGreaterThanOrEqual(0);
      expect(healthScore(a)).toBeLessThanOrEqual(100);
      const worse = {
        uptimePercent: Math.min(a.uptimePercent, b.uptimePercent),
        successRate: Math.min(a.successRate, b.successRate),
        p95Ms: Math.max(a.p95Ms, b.p95Ms),
        errorRate: Math.max(a.errorRate, b.errorRate),
      };
      expect(healthScore(worse)).toBeLessThanOrEqual(healthScore(a));
    }),
    { seed: 6, numRuns: 500 },
  );
});
