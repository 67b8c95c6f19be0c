import fc from "fast-check";
import { expect, test } from "vitest";
import {
  beginSession,
  book,
  closeSession,
  expose,
  freshRisk,
  type Limits,
  lock,
  lockedBecause,
  mayTrade,
  noLimits,
  type Risk,
  release,
  type Trade,
  tighten,
} from "./risk.ts";

const trade = (profit?: number, more: Partial<Trade> = {}): Trade => ({
  id: "t",
  profit,
  exposure: 0,
  openExposure: undefined,
  sessionProfit: undefined,
  data: new Uint8Array(),
  ...more,
});
const lose = (risk: Risk, times: number) => {
  let now = risk;
  for (let at = 0; at < times; at++) now = book(now, trade(-10), 1000 + at);
  return now;
};
const limited = (limits: Partial<Limits>) => tighten(freshRisk, { ...noLimits, ...limits }, 0);

test("PHX-9 losses in a row are counted over sessions, a win ends them, and what opens a position changes nothing", () => {
  const losing = lose(beginSession(freshRisk, "day-1", 0), 2);
  const opened = book(beginSession(losing, "day-2", 0), trade(undefined, { exposure: 500 }), 0);
  expect(opened).toMatchObject({ lossStreak: 2, session: { trades: 1, losses: 0, totalExposure: 500 } });
  expect(lose(opened, 1)).toMatchObject({ lossStreak: 3, worstLossStreak: 3 });
  expect(book(lose(opened, 1), trade(0), 0)).toMatchObject({ lossStreak: 0, worstLossStreak: 3 });
});

test.each([
  ["losses in a row", { lossStreak: 3 }, "3 losses in a row, the limit is 3"],
  ["the session's loss", { sessionLoss: 25 }, "session 'day-1' has lost 30, the limit is 25"],
  ["the session's trades", { sessionTrades: 3 }, "session 'day-1' has 3 trades, the limit is 3"],
  ["the session's exposure", { sessionExposure: 60 }, "session 'day-1' has a total exposure of 60, the limit is 60"],
  ["what is at risk at once", { openExposure: 60 }, "an exposure of 60 is open, the limit is 60"],
])("PHX-9 the third trade reaches the limit on %s, and locks with that trade", (_, limits, because) => {
  let risk = beginSession(limited(limits), "day-1", 0);
  for (let at = 1; at <= 2; at++) risk = book(risk, trade(-10, { exposure: 20, openExposure: 20 * at }), at);
  expect(mayTrade(risk)).toBe(true);
  risk = book(risk, trade(-10, { exposure: 20, openExposure: 60 }), 77);
  expect(risk.lock).toEqual({ sinceWallMs: 77, cause: "limit", because });
  expect(risk.trades).toBe(3);
});

test("PHX-9 a lock stays over further trades, sessions, limits and locks, with its first reason", () => {
  const locked = lock(beginSession(freshRisk, "day-1", 0), "workload", "the feed is wrong", 5);
  let risk = lock(lose(locked, 2), "workload", "another reason", 9);
  risk = tighten(beginSession(book(risk, trade(1000), 9), "day-2", 9), { ...noLimits, lossStreak: 1 }, 9);
  expect(risk.lock).toEqual({ sinceWallMs: 5, cause: "workload", because: "the feed is wrong" });
  expect(risk.trades).toBe(3);
});

test("a release of a lock opened the doubt of a restored store behind it without a word: every cause is kept, once, and goes with the release", () => {
  const limitLocked = lose(limited({ lossStreak: 1 }), 2);
  const doubted = lock(lock(limitLocked, "restored", "from a backup", 7), "restored", "again", 8);
  expect(doubted.lock).toMatchObject({ cause: "limit" });
  expect(doubted.also).toEqual([{ sinceWallMs: 7, cause: "restored", because: "from a backup" }]);
  expect(lockedBecause(doubted)).toBe("1 losses in a row, the limit is 1; and from a backup");
  expect(lockedBecause(freshRisk)).toBe("");
  const released = release(doubted, undefined);
  expect([released.lock, released.also]).toEqual([null, undefined]);
  expect(lose(released, 1).also).toBeUndefined();
});

test("a closed session is no risk lock: the next one may trade, the same name again may not, and no day comes back", () => {
  const closed = closeSession(beginSession(freshRisk, "day-2", 0), "it has lost enough");
  expect(mayTrade(closed)).toBe(false);
  expect(mayTrade(beginSession(closed, "day-2", 0))).toBe(false);
  expect(() => beginSession(closed, "day-1", 0)).toThrow("[BAD_REQUEST]");
  expect(mayTrade(beginSession(closed, "day-3", 0))).toBe(true);
});

test("after a release the next order may go, and the next loss locks again", () => {
  const locked = lose(limited({ lossStreak: 3 }), 3);
  const released = release(locked, undefined);
  const ordered = book(released, trade(undefined, { exposure: 5 }), 0);
  expect([locked.lock !== null, mayTrade(released), mayTrade(ordered)]).toEqual([true, true, true]);
  expect(lose(ordered, 1).lock).toMatchObject({ because: "4 losses in a row, the limit is 3" });
});

test("looser limits are taken with a release only, tighter ones at once, and one that is reached already locks", () => {
  const tight = limited({ lossStreak: 3, sessionLoss: 100 });
  expect(tighten(tight, { ...noLimits, lossStreak: 9 }, 0)).toBe(tight);
  expect(release(tight, { ...noLimits, lossStreak: 9 }).limits).toEqual({ ...noLimits, lossStreak: 9 });
  expect(tighten(lose(tight, 2), { ...noLimits, lossStreak: 2 }, 0).lock).toMatchObject({ cause: "limit" });
});

test("amounts that no sum can hold exactly, and exposures below zero, are refused and change nothing", () => {
  for (const wrong of [trade(2 ** 53), trade(0.5), trade(0, { exposure: -1 }), trade(Number.NaN)]) {
    expect(() => book(freshRisk, wrong, 0)).toThrow("[BAD_REQUEST]");
  }
  expect(() => expose(freshRisk, -1, 0)).toThrow("[BAD_REQUEST]");
  const full = book(freshRisk, trade(Number.MAX_SAFE_INTEGER), 0);
  expect(() => book(full, trade(1), 0)).toThrow("[LIMIT_REACHED]");
});

test("PHX-9 whatever happens in whatever order, nothing but a release opens a lock or loosens a limit", () => {
  const amount = fc.integer({ min: -50, max: 50 });
  const some = fc.integer({ min: 0, max: 60 });
  const happening = fc.oneof(
    fc.tuple(fc.option(amount, { nil: undefined }), some, some).map(
      ([profit, exposure, openExposure]) =>
        (risk: Risk) =>
          book(risk, trade(profit, { exposure, openExposure }), 1),
    ),
    some.map((openExposure) => (risk: Risk) => expose(risk, openExposure, 1)),
    some.map((name) => (risk: Risk) => beginSession(risk, `s${String(name).padStart(3, "0")}`, 1)),
    fc.constant((risk: Risk) => closeSession(risk, "enough")),
    fc.constant((risk: Risk) => lock(risk, "workload", "asked", 1)),
    fc
      .record({
        lossStreak: fc.integer({ min: 0, max: 5 }),
        sessionLoss: some,
        sessionTrades: fc.integer({ min: 0, max: 9 }),
        sessionExposure: some,
        openExposure: some,
      })
      .map((limits) => (risk: Risk) => tighten(risk, limits, 1)),
  );
  fc.assert(
    fc.property(fc.array(happening, { maxLength: 60 }), (all) => {
      let risk = freshRisk;
      for (const happen of all) {
        let next = risk;
        try {
          next = happen(risk);
        } catch {
          continue; // a session that would come back
        }
        if (risk.lock) expect(next.lock).toEqual(risk.lock);
        for (const key of Object.keys(noLimits) as (keyof Limits)[]) {
          if (risk.limits[key] > 0) expect(next.limits[key]).toBeLessThanOrEqual(risk.limits[key]);
          if (risk.limits[key] > 0) expect(next.limits[key]).toBeGreaterThan(0);
        }
        expect(next.trades).toBeGreaterThanOrEqual(risk.trades);
        expect(next.session.name >= risk.session.name).toBe(true);
        risk = next;
      }
    }),
    { numRuns: 300 },
  );
});
