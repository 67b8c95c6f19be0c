import { expect, test } from "vitest";
import { broken, outcomeOf, type Row, spreadOf, verdict } from "./trial.ts";

const row: Row = { name: "back", measure: "after a kill", promise: 10, unit: "ms", values: [1, 10] };
const good = outcomeOf([row], []);

test("prove said that every promise held, with exit code 0, of trials that it had skipped", () => {
  expect(verdict([good, good])).toEqual({ line: "Every promise held.", exitCode: 0 });
  const skipped = outcomeOf([], ["no right to mount"]);
  expect(skipped).toEqual({ broke: false, skipped: ["no right to mount"] });
  expect(verdict([good, skipped])).toMatchObject({
    exitCode: 3,
    line: expect.stringContaining("1 of 2 trials could not"),
  });
  // One that says nothing at all, and one that tried a part.
  expect(verdict([good, outcomeOf([], [])]).exitCode).toBe(3);
  expect(verdict([outcomeOf([row], ["redis is not installed"])]).exitCode).toBe(3);
});

test("a broken promise counts before what was skipped, and both are said", () => {
  const bad = outcomeOf([{ ...row, values: [11] }], []);
  expect(verdict([bad, good])).toEqual({ line: "1 of 2 trials broke a promise.", exitCode: 1 });
  const { line, exitCode } = verdict([bad, outcomeOf([], ["no right"])]);
  expect([line.includes("1 of 2 trials could not"), exitCode]).toEqual([true, 1]);
});

test("a promise can be a least figure, and a figure can promise nothing; one without a value is broken", () => {
  const ratio: Row = {
    name: "put",
    measure: "of bare",
    promise: 0.7,
    atLeast: true,
    unit: "times",
    values: [1.9, 0.71],
  };
  expect(broken([ratio])).toEqual([]);
  expect(broken([{ ...ratio, values: [1.9, 0.69] }])).toHaveLength(1);
  expect(broken([{ ...ratio, values: [Number.NaN] }])).toHaveLength(1);
  expect(spreadOf({ ...ratio, values: [3, 1, 2] })).toEqual({ n: 3, median: 2, p99: 1, worst: 1 });
  expect(broken([{ ...ratio, promise: undefined, values: [0.1] }])).toEqual([]);
  expect(broken([{ ...ratio, values: [] }])).toHaveLength(1);
});
