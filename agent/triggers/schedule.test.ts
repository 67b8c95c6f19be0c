import fc from "fast-check";
import { expect, test } from "vitest";
import { triggerBench } from "../../test/support/trigger-bench.ts";
import { step } from "./machine.ts";
import { dueNow, type Handled, scheduleWords, untilNextMs } from "./schedule.ts";
import { fresh, resumed } from "./state.ts";
import { catalogue } from "./trigger.ts";

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const schedules = catalogue.filter(({ kind }) => kind === "schedule");
// A Monday, noon.
const monday = Date.UTC(2026, 0, 5, 12);

/** Looks once a minute: a year of looks every 10 s would only take longer. */
function passDays(bench: ReturnType<typeof triggerBench>, days: number): void {
  for (let n = 0; n < days * 1440; n++) {
    bench.stall(60_000);
    bench.look();
  }
}

const hours = (log: readonly string[]) => log.map((line) => line.replace(/^(\d+)/, (s) => `${Number(s) / 3600}h`));

test("GRC-2 the daily check runs each day at its hour, the weekly one on its day, and neither at the first look", () => {
  const bench = triggerBench({ triggers: schedules, wallMs: monday });
  bench.look();
  passDays(bench, 8);
  expect(hours(bench.log)).toEqual([
    "15h fired daily-check node",
    "39h fired daily-check node",
    "63h fired daily-check node",
    "87h fired daily-check node",
    "111h fired daily-check node",
    "135h fired daily-check node",
    "135.5h fired weekly-check node",
    "159h fired daily-check node",
    "183h fired daily-check node",
  ]);
  expect(bench.steps.flatMap((step) => step.fired)[0]).toMatchObject({
    trigger: "daily-check",
    workload: "",
    playbook: "daily-maintenance",
    because: "daily at 03:00",
  });
});

test("GRC-2 a schedule goes by the machine's local time", () => {
  const bench = triggerBench({ triggers: schedules, wallMs: monday, localOffsetMs: -5 * hourMs });
  bench.look();
  passDays(bench, 1);
  expect(hours(bench.log)).toEqual(["20h fired daily-check node"]);
});

test("its hour is a deadline: the look comes with it, to the second", () => {
  const bench = triggerBench({ triggers: schedules, wallMs: Date.UTC(2026, 0, 6, 2, 59, 57), firstMs: 1e9 });
  bench.look();
  bench.pass(8000);
  expect(bench.log).toEqual(["3 fired daily-check node"]);
});

test("GRC-2 what was missed while the agent was down for a week runs once, late, and says so", () => {
  const before = triggerBench({ triggers: schedules, wallMs: monday });
  before.look();
  const state = resumed(before.state, schedules, false, before.now().ms);
  const bench = triggerBench({ triggers: schedules, wallMs: monday + 8 * dayMs, state });
  bench.look();
  expect(bench.steps.flatMap((step) => step.fired).map(({ trigger, because }) => [trigger, because])).toEqual([
    ["daily-check", "daily at 03:00, 9h late"],
    ["weekly-check", "on Sunday at 03:30, 56h30m late"],
  ]);
  passDays(bench, 1);
  expect(hours(bench.log).slice(2)).toEqual(["15h fired daily-check node"]);
});

test("summer time and winter time run the day's check once: the hour that is skipped, and the hour that comes twice", () => {
  // Local night of the change: 02:00 becomes 03:00 in spring, and 03:00 becomes 02:00 in autumn.
  for (const [wallMs, before, after] of [
    [Date.UTC(2026, 2, 28, 22), 1, 2],
    [Date.UTC(2026, 9, 24, 22), 2, 1],
  ] as const) {
    for (const minute of [0, 30, 59]) {
      const triggers = [{ ...catalogue[15], at: { hour: 2, minute } } as (typeof catalogue)[number]];
      const bench = triggerBench({ triggers, wallMs, localOffsetMs: before * hourMs });
      bench.look();
      for (let n = 0; n < 1440; n++) {
        bench.stall(60_000);
        // 01:00 UTC in both directions.
        if (bench.sinceMs >= 3 * hourMs) bench.localOffsetMs = after * hourMs;
        bench.look();
      }
      expect(bench.log).toHaveLength(1);
    }
  }
});

test("a clock that jumps a year ahead and is put back runs it once more, and goes on the day after", () => {
  const bench = triggerBench({ triggers: schedules.slice(0, 1), wallMs: monday });
  bench.look();
  bench.stepWall(365 * dayMs);
  passDays(bench, 0.01);
  expect(bench.log).toHaveLength(1);
  bench.stepWall(-365 * dayMs);
  passDays(bench, 3);
  // A day of doubt in which nothing runs, then as ever.
  expect(hours(bench.log).slice(1)).toEqual([expect.stringMatching(/^39h/), expect.stringMatching(/^63h/)]);
});

test("however the clock jumps, days only go forward; a day that runs again, or an earlier one, is at least 24 hours later", () => {
  const jump = fc.tuple(fc.integer({ min: -400 * dayMs, max: 400 * dayMs }), fc.integer({ min: 0, max: 12 * hourMs }));
  const steady = fc.tuple(fc.constant(0), fc.integer({ min: 0, max: 12 * hourMs }));
  const at = fc.record({ hour: fc.integer({ min: 0, max: 23 }), minute: fc.integer({ min: 0, max: 59 }) });
  fc.assert(
    fc.property(at, fc.array(fc.oneof(jump, steady), { maxLength: 100 }), (time, moves) => {
      let [nowMs, localMs] = [1000, monday];
      let handled: Handled = dueNow(time, undefined, localMs, nowMs).handled;
      let last = { day: Number.NEGATIVE_INFINITY, nowMs: 0 };
      for (const [byMs, passMs] of moves) {
        nowMs += passMs;
        localMs += passMs + byMs;
        const due = dueNow(time, handled, localMs, nowMs);
        handled = JSON.parse(JSON.stringify(due.handled)) as Handled;
        if (due.lateMs === undefined) continue;
        expect(due.lateMs).toBeGreaterThanOrEqual(0);
        if (handled.day <= last.day) expect(nowMs - last.nowMs).toBeGreaterThanOrEqual(dayMs);
        last = { day: handled.day, nowMs };
        // Asked again in the same moment, it is not due.
        expect(dueNow(time, handled, localMs, nowMs).lateMs).toBeUndefined();
      }
      expect(untilNextMs(time, localMs)).toBeGreaterThan(0);
      expect(untilNextMs(time, localMs)).toBeLessThanOrEqual(dayMs);
    }),
    { numRuns: 2000 },
  );
});

test("as long as no schedule has anything new, its record is the same object: nothing has to be written", () => {
  const now = { ms: 5000, wallMs: monday };
  const look = { is: "look", localOffsetMs: 0 } as const;
  const first = step(schedules, fresh(), look, now);
  expect(Object.keys(first.state.schedules)).toEqual(["daily-check", "weekly-check"]);
  const second = step(schedules, first.state, look, { ms: 15_000, wallMs: monday + 10_000 });
  expect(second.state.schedules).toBe(first.state.schedules);
  const nextDay = step(schedules, second.state, look, { ms: 5000 + dayMs, wallMs: monday + dayMs });
  expect(nextDay.state.schedules).not.toBe(first.state.schedules);
  // Put back by two days: noted once, then believed after a day.
  const back = step(schedules, nextDay.state, look, { ms: 6000 + dayMs, wallMs: monday - dayMs });
  expect(step(schedules, back.state, look, { ms: 7000 + dayMs, wallMs: monday - dayMs }).state.schedules).toBe(
    back.state.schedules,
  );
});

test("a schedule in words", () => {
  expect(scheduleWords({ hour: 3, minute: 5 })).toBe("daily at 03:05");
  expect(scheduleWords({ hour: 23, minute: 0, weekday: 3 })).toBe("on Wednesday at 23:00");
});
