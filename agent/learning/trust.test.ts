import * as fc from "fast-check";
import { expect, test } from "vitest";
import { judged, neutral, type Subject, type TrustBook, trustIn } from "./trust.ts";
import { wilson } from "./wilson.ts";

const dayMs = 86_400_000;
const playbook: Subject = "use:restart_service for shop";

/** A book after these outcomes: + worked, - failed. */
function after(outcomes: string, book: TrustBook = {}, ageMs = 0): TrustBook {
  return [...outcomes].reduce((sum, one) => judged(sum, [playbook], one === "+", ageMs), book);
}

test.each([
  ["", 0.8],
  ["+", 0.85],
  ["++", 0.9],
  ["+++++++", 1],
  ["-", 0.7],
  ["--", 0.6],
  ["-+", 0.75],
  ["--------------", 0],
])("GRC-5 after '%s' trust is %d: 0.05 up on success, 0.1 down on failure, between 0 and 1", (outcomes, trust) => {
  expect(trustIn(after(outcomes), playbook, 0).trust).toBe(trust);
});

test("GRC-5 one failure of a newcomer is no drop below 0.7, the second is", () => {
  expect(trustIn(after("-"), playbook, 0).trust).toBeGreaterThanOrEqual(0.7);
  expect(trustIn(after("--"), playbook, 0).trust).toBeLessThan(0.7);
});

test("GRC-5 a remedy that fails three times in a row is demoted, two successes bring it back, and so does time", () => {
  expect(trustIn(after("--"), playbook, 0).demoted).toBe(false);
  const demoted = after("---");
  expect(trustIn(demoted, playbook, 0)).toMatchObject({ demoted: true });
  expect(trustIn(demoted, playbook, 0).because).toBe(
    "restart_service for shop: trust 0.50; about 0 of the last 3 tries worked, so at least 25 % do (95 % sure); demoted, others go first",
  );
  expect(trustIn(after("+", demoted), playbook, 0).demoted).toBe(true); // no flapping: one success is not enough
  expect(trustIn(after("++", demoted), playbook, 0).demoted).toBe(false);
  expect(trustIn(demoted, playbook, 5 * dayMs).demoted).toBe(true);
  expect(trustIn(demoted, playbook, 30 * dayMs)).toMatchObject({ demoted: false });
  expect(trustIn(demoted, playbook, 365 * dayMs).because).toContain("not tried lately");
});

test("GRC-5 only the use of a playbook is demoted: before a rung, a workload or the node nobody else can go, whatever is stored of them", () => {
  const others: Subject[] = ["node", "workload:shop", "rung:safe_mode", "playbook:restart_service"];
  for (const subject of others) {
    const book = ["a", "b", "c", "d"].reduce((sum) => judged(sum, [subject], false, 0), {} as TrustBook);
    const stored = { [subject]: { ...(book[subject] as TrustBook[string]), demoted: true } };
    for (const one of [book, stored]) {
      const report = trustIn(one, subject, 0);
      expect([report.demoted, report.because.includes("demoted")]).toEqual([false, false]);
    }
  }
});

test("a person's fix was taken back for trust lost before it: when trust fell is remembered, until it has risen to 0.75", () => {
  const lowFor = (book: TrustBook, ageMs: number) => trustIn(book, playbook, ageMs).lowForMs;
  expect(lowFor({}, 5000)).toBeUndefined();
  expect(lowFor(after("-"), 5000)).toBeUndefined();
  const low = after("-", after("--", {}, 1000), 9000);
  expect(lowFor(low, 10_000)).toBe(9000);
  // At 0.7 again: "trust drop" is not over, and one more failure is no new fall.
  const middling = after("++", low, 20_000);
  expect(trustIn(middling, playbook, 20_000).trust).toBeCloseTo(0.6, 3);
  expect(lowFor(after("++-", middling, 30_000), 30_000)).toBe(29_000);
  expect(lowFor(after("+++", middling, 30_000), 30_000)).toBeUndefined();
  expect(lowFor(after("--", after("++++", middling, 30_000), 40_000), 50_000)).toBe(10_000);
  // With time alone it rises too.
  expect(lowFor(low, 13 * dayMs)).toBeGreaterThan(12 * dayMs);
  expect(lowFor(low, 40 * dayMs)).toBeUndefined();
});

test("what an earlier version has stored as low trust fell at the latest when it was judged last", () => {
  const { lowSinceMs: _unknown, ...stored } = after("----", {}, 1000)[playbook] as TrustBook[string];
  expect(trustIn({ [playbook]: stored }, playbook, 61_000).lowForMs).toBe(60_000);
  expect(trustIn(after("-", { [playbook]: stored }, 31_000), playbook, 61_000).lowForMs).toBe(60_000);
});

test("GRC-5 a long good record can be lost in twenty failures, not in three", () => {
  const proven = after("+".repeat(1000));
  expect(trustIn(proven, playbook, 0).lowerBound).toBeGreaterThan(0.75);
  expect(trustIn(after("---", proven), playbook, 0).demoted).toBe(false);
  expect(trustIn(after("-".repeat(20), proven), playbook, 0).demoted).toBe(true);
});

test("GRC-5 trust drifts back to neutral, half the way in a week", () => {
  const low = after("--------");
  expect(trustIn(low, playbook, 7 * dayMs).trust).toBeCloseTo(neutral / 2, 6);
  const high = after("++++");
  expect(trustIn(high, playbook, 7 * dayMs).trust).toBeCloseTo(0.9, 6);
  expect(trustIn(high, playbook, 700 * dayMs).trust).toBeCloseTo(neutral, 6);
});

test("GRC-5 trust stays between 0 and 1, a success never lowers it nor its bound, a failure never raises them", () => {
  const step = fc.record({ ok: fc.boolean(), passedMs: fc.oneof(fc.nat(1000), fc.nat(30 * dayMs)) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      let book: TrustBook = {};
      let ageMs = 0;
      for (const { ok, passedMs } of steps) {
        ageMs += passedMs;
        const before = trustIn(book, playbook, ageMs);
        book = judged(book, [playbook], ok, ageMs);
        const now = trustIn(book, playbook, ageMs);
        expect(now.trust >= 0 && now.trust <= 1).toBe(true);
        const dust = 1e-3; // four digits are kept
        if (ok) expect(now.trust).toBeGreaterThanOrEqual(before.trust - dust);
        else expect(now.trust).toBeLessThanOrEqual(before.trust + dust);
        if (ok) expect(now.lowerBound).toBeGreaterThanOrEqual(before.lowerBound - dust);
        else expect(now.lowerBound).toBeLessThanOrEqual(before.lowerBound + dust);
        if (ok && !before.demoted) expect(now.demoted).toBe(false);
      }
    }),
    { seed: 5, numRuns: 300 },
  );
});

test.each([
  ["workload:w", 500],
  ["use:p for w", 1000],
  ["playbook:p", 200],
] as const)(
  "GRC-5 of %s… at most %d are remembered: the one not heard of for longest is forgotten, and none of another kind",
  (kind, max) => {
    let book = judged({}, ["workload:shop", "use:heal for shop"], true, 0);
    const others = Object.keys(book).filter((subject) => subject.slice(0, 3) !== kind.slice(0, 3));
    for (let n = 1; n <= max + 100; n += 1) book = judged(book, [`${kind}${n}`], true, n);
    expect(Object.keys(book).filter((subject) => subject.slice(0, 3) === kind.slice(0, 3))).toHaveLength(max);
    expect([book[`${kind}100`], book[`${kind}101`] !== undefined]).toEqual([undefined, true]);
    expect(Object.keys(book)).toEqual(expect.arrayContaining(others));
  },
);

test("Wilson's bounds are those of the books, and honest with nothing", () => {
  expect(wilson(0, 0)).toEqual({ low: 0, high: 1 });
  const { low, high } = wilson(8, 10);
  expect(low).toBeCloseTo(0.5408, 3);
  expect(high).toBeCloseTo(0.9315, 3);
  expect(wilson(5, 5).high).toBeCloseTo(1, 9);
  expect(wilson(0, 5).low).toBeCloseTo(0, 9);
});
