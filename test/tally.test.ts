import { expect, test } from "vitest";
import { lastLine, tally } from "./tally.ts";

const file = (status: string, ...tests: string[]) => ({
  status,
  assertionResults: tests.map((one) => ({ status: one })),
});

test("a green run is counted as it is", () => {
  const report = { testResults: [file("passed", "passed", "passed"), file("passed", "passed", "skipped")] };
  expect(lastLine(tally(report, 0))).toBe("3 passed, 0 failed, 1 skipped");
});

test("a file that cannot be loaded is a failure although none of its tests ran", () => {
  expect(tally({ testResults: [file("passed", "passed"), file("failed")] }, 1)).toMatchObject({ passed: 1, failed: 1 });
});

test("a run that crashed is red: without a report, with half of one, and with a green one", () => {
  expect(lastLine(tally(undefined, 1))).toBe("0 passed, 1 failed");
  expect(lastLine(tally({ testResults: "…" }, 0))).toBe("0 passed, 1 failed");
  expect(lastLine(tally({ testResults: [file("passed", "passed")] }, 1))).toBe("1 passed, 1 failed");
});

test("a run that found no test is red", () => {
  expect(lastLine(tally({ testResults: [] }, 0))).toBe("0 passed, 1 failed");
});
