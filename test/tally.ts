/** What a run of the suite came to. */
export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/**
 * Counts a report of vitest's JSON reporter; `report` is undefined when there is none. A file that could not even be loaded
 * counts as one failure, and so does a run that ended badly with nothing failed in its report: a crash is never green.
 */
export function tally(report: unknown, exitCode: number): Tally {
  const files = isRecord(report) && Array.isArray(report.testResults) ? report.testResults : [];
  let passed = 0;
  let failed = 0;
  let skipped = 0;
  for (const file of files) {
    if (!isRecord(file)) continue;
    const states = (Array.isArray(file.assertionResults) ? file.assertionResults : []).map((one: unknown) =>
      isRecord(one) ? one.status : undefined,
    );
    passed += states.filter((state) => state === "passed").length;
    const failures = states.filter((state) => state === "failed").length;
    failed += failures === 0 && file.status === "failed" ? 1 : failures;
    skipped += states.filter((state) => state !== "passed" && state !== "failed").length;
  }
  if (failed === 0 && (exitCode !== 0 || passed === 0)) failed = 1;
  return { passed, failed, skipped };
}

/** The last line of a run. */
export function lastLine({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;
