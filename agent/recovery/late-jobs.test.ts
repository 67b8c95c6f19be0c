import { expect, test } from "vitest";
import type { Triggered } from "./jobs.driver.ts";
import { LateJobs } from "./late-jobs.ts";

/** Late jobs of a node; `alerts` is what people heard. */
function desk(jobs: Readonly<Record<string, Triggered>>) {
  const alerts: string[] = [];
  const voice = {
    audit: () => undefined,
    alert: ({ what, message }: { what: string; message: string }) => void alerts.push(`${what}: ${message}`),
  };
  const trigger = (job: string) => jobs[job] ?? { started: false as const, because: "it has no command" };
  const late = new LateJobs({ trigger, hasCommand: (job) => jobs[job] !== undefined }, voice, () => ({ bars: 1000 }));
  return { late, alerts };
}

test("DOL-8 nobody was ever told of a late job that has no command: it is only told", () => {
  const { late, alerts } = desk({});
  late.fired("bars", "job-late: 3 min late");
  late.fired("bars", "job-late: 9 min late");
  expect(alerts).toEqual(["job bars: job-late: 3 min late; it has no command"]);
  late.cleared("bars");
  late.fired("bars", "job-late: late again");
  expect(alerts).toHaveLength(2);
});

test("DOL-8 a late job whose command fails, or does not help, is told once; one that is picked up is not", () => {
  const { late, alerts } = desk({ bars: { started: true } });
  late.ended("bars", false, "exit code 1"); // a run that was not for being late
  late.fired("bars", "job-late: 3 min late");
  late.ended("bars", true, "exit code 0");
  late.cleared("bars");
  expect(alerts).toEqual([]);
  late.fired("bars", "job-late: 3 min late");
  late.ended("bars", false, "exit code 1");
  late.ended("bars", false, "exit code 1");
  expect(alerts).toEqual(["job bars: it was late and was triggered, and has failed: exit code 1"]);
  late.cleared("bars");
  late.fired("bars", "job-late: 3 min late");
  late.fired("bars", "job-late: 9 min late");
  expect(alerts.at(-1)).toBe("job bars: job-late: 9 min late; it is triggered");
});
