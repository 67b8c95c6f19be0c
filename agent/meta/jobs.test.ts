import { expect, test } from "vitest";
import type { JobSpec } from "../config/sections.ts";
import { type JobMoment, type JobRun, jobRun, lateJobs } from "./jobs.ts";

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
const utc = (text: string) => Date.parse(`${text}Z`);
const job = (over: Partial<JobSpec>): JobSpec => ({ name: "job", file: "/job", graceMs: minute, ...over });
const every = job({ everyMs: 5 * minute });
const daily = job({ at: { hour: 3, minute: 0 } });
const sundays = job({ at: { hour: 3, minute: 30, weekday: 0 } });

/** `ran`: when it ran last, by a wall clock that nobody sets. */
function lateBy(
  spec: JobSpec,
  ran: number | "never" | "unknown" | undefined,
  wallMs: number,
  over: Partial<JobMoment> = {},
): number | undefined {
  const moment = { wallMs, knownForMs: day, awakeForMs: day, steadyForMs: day, offsetMs: () => 0, ...over };
  const seen = typeof ran === "number" ? wallMs - ran : ran;
  return lateJobs([spec], seen === undefined ? {} : { job: seen }, moment).job;
}

test("DOL-8 a job that runs at an interval is late when it was not picked up within interval and grace", () => {
  const ran = utc("2026-03-01T12:00:00");
  expect(lateBy(every, ran, ran + 6 * minute)).toBeUndefined();
  expect(lateBy(every, ran, ran + 6 * minute + 1)).toBe(minute + 1);
  expect(lateBy(every, ran, ran + 2 * hour)).toBe(2 * hour - 5 * minute);
});

test("DOL-8 a job that never ran is late after its first due time since the agent knows it", () => {
  const now = utc("2026-03-01T12:00:00");
  expect(lateBy(every, "never", now, { knownForMs: 6 * minute })).toBeUndefined();
  expect(lateBy(every, "never", now, { knownForMs: 7 * minute })).toBe(2 * minute);
  expect(lateBy(daily, "never", now, { knownForMs: 8 * hour })).toBeUndefined();
  expect(lateBy(daily, "never", now, { knownForMs: 10 * hour })).toBe(9 * hour);
});

test("DOL-8 a job with a time of day is late when it did not run after that time", () => {
  const due = utc("2026-03-01T03:00:00");
  expect(lateBy(daily, due - day + 5 * minute, due + minute)).toBeUndefined();
  expect(lateBy(daily, due - day + 5 * minute, due + minute + 1)).toBe(minute + 1);
  expect(lateBy(daily, due + 5 * minute, due + 20 * hour)).toBeUndefined();
  // A run a few seconds before its time was meant for it; one an hour before was not.
  expect(lateBy(daily, due - 2000, due + hour)).toBeUndefined();
  expect(lateBy(daily, due - hour, due + hour)).toBe(hour);
});

test("DOL-8 a weekly job is asked for its day only", () => {
  const sunday = utc("2026-03-01T03:30:00"); // a Sunday
  expect(lateBy(sundays, sunday, sunday + 6 * day)).toBeUndefined();
  expect(lateBy(sundays, sunday, sunday + 7 * day + 2 * minute)).toBe(2 * minute);
  expect(lateBy(sundays, sunday - 7 * day, sunday + 3 * day)).toBe(3 * day);
});

test("DOL-8 nobody is blamed for a sleep: each schedule gets its grace after the agent woke up", () => {
  const ran = utc("2026-03-01T12:00:00");
  expect(lateBy(every, ran, ran + 8 * hour, { awakeForMs: minute - 1 })).toBeUndefined();
  expect(lateBy(every, ran, ran + 8 * hour, { awakeForMs: minute })).toBe(8 * hour - 5 * minute);
});

test("DOL-8 a job whose file nobody could look at is not judged", () => {
  expect(lateBy(every, "unknown", utc("2026-03-01T12:00:00"))).toBeUndefined();
  expect(lateBy(every, undefined, utc("2026-03-01T12:00:00"))).toBeUndefined();
});

test("times of day are local, also on the days on which the clocks change", () => {
  // Central Europe 2026: an hour ahead until 29 March 01:00 UTC, two until 25 October 01:00 UTC.
  const offsetMs = (ms: number) => (ms >= utc("2026-03-29T01:00:00") && ms < utc("2026-10-25T01:00:00") ? 2 : 1) * hour;
  const night = job({ at: { hour: 2, minute: 30 } });
  const late = (ran: string, now: string) => lateBy(night, utc(ran), utc(now), { offsetMs });
  expect(late("2026-03-28T01:31:00", "2026-03-28T12:00:00")).toBeUndefined();
  // 02:30 does not exist on 29 March: an hour later by the wall, 01:30 UTC.
  expect(late("2026-03-28T01:31:00", "2026-03-29T01:45:00")).toBe(15 * minute);
  expect(late("2026-03-29T01:31:00", "2026-03-29T12:00:00")).toBeUndefined();
  expect(late("2026-03-29T01:31:00", "2026-03-30T00:45:00")).toBe(15 * minute);
  // 02:30 comes twice on 25 October: a run at the first one is that day's run.
  expect(late("2026-10-25T00:31:00", "2026-10-25T01:45:00")).toBeUndefined();
  expect(late("2026-10-25T00:31:00", "2026-10-25T20:00:00")).toBeUndefined();
  expect(late("2026-10-24T00:31:00", "2026-10-25T00:45:00")).toBe(15 * minute);
});

test("a time of day gets its grace once the wall clock was set, an interval needs none", () => {
  const due = utc("2026-03-01T03:00:00");
  expect(lateBy(daily, due - day, due + hour, { steadyForMs: minute - 1 })).toBeUndefined();
  expect(lateBy(daily, due - day, due + hour, { steadyForMs: minute })).toBe(hour);
  expect(lateBy(every, due, due + hour, { steadyForMs: 0 })).toBe(55 * minute);
});

test("how long ago a job ran is counted by the time that passes once it was seen, whatever the wall clock says", () => {
  const wall = utc("2026-03-01T12:00:00");
  const ago = (...looks: [stampMs: number, wallMs: number, steadyMs: number][]) => {
    let run: JobRun | undefined;
    for (const [stampMs, wallMs, steadyMs] of looks) run = jobRun(run, stampMs, { wallMs, steadyMs });
    return run && run.lookedMs - run.ranMs;
  };
  // The first look believes the stamp, also one from long before.
  expect(ago([wall - day, wall, hour])).toBe(day);
  expect(ago([wall - minute, wall, hour], [wall - minute, wall + day, hour + 5000])).toBe(minute + 5000);
  expect(ago([wall - minute, wall, hour], [wall - minute, wall - day, hour + 5000])).toBe(minute + 5000);
  // It ran again since the last look, by a clock that was wrong either way.
  expect(ago([wall, wall, hour], [wall + 3000, wall + day, hour + 5000])).toBe(5000);
  expect(ago([wall, wall, hour], [wall - day, wall, hour + 5000])).toBe(5000);
  expect(ago([wall, wall, hour], [wall + 3000, wall + 4000, hour + 5000])).toBe(1000);
});

test("a node that starts with its clock in the past counts a job's age from then, and knows it once the clock is right", () => {
  const wall = utc("2026-03-01T12:00:00");
  const first = jobRun(undefined, wall - 3 * day, { wallMs: 0, steadyMs: 10_000 });
  const still = jobRun(first, wall - 3 * day, { wallMs: 60_000, steadyMs: 70_000 });
  expect(still.lookedMs - still.ranMs).toBe(60_000);
  const right = jobRun(still, wall - 3 * day, { wallMs: wall, steadyMs: 80_000 });
  expect(right.lookedMs - right.ranMs).toBe(3 * day);
  const later = jobRun(right, wall - 3 * day, { wallMs: wall + day, steadyMs: 90_000 });
  expect(later.lookedMs - later.ranMs).toBe(3 * day + 10_000);
});
