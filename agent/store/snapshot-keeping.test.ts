import { expect, test } from "vitest";
import { type Aged, leaving } from "./snapshot-keeping.ts";

const hourMs = 3_600_000;
const startMs = Date.UTC(2026, 0, 10);
const hourly = (hours: number): Aged[] =>
  Array.from({ length: hours }, (_, at) => ({ number: at + 1, takenWallMs: startMs + at * hourMs }));
const kept = (all: readonly Aged[], wallMs: number, keep: { count: number; days: number }) => {
  const gone = leaving(all, wallMs, keep);
  return all.map(({ number }) => number).filter((number) => !gone.includes(number));
};

test("PHX-9 snapshots are kept by count and age: the youngest three, and the last one of each of the seven days before", () => {
  const all = hourly(10 * 24);
  const now = startMs + (10 * 24 - 1) * hourMs + 1;
  // Of day n, from 0, the last one has the number (n + 1) * 24; today is day 9.
  const lastOfDays = [2, 3, 4, 5, 6, 7, 8].map((day) => (day + 1) * 24);
  expect(kept(all, now, { count: 3, days: 7 })).toEqual([...lastOfDays, 238, 239, 240]);
});

test("with no days only the count holds, and the youngest never goes", () => {
  expect(kept(hourly(5), startMs + 5 * hourMs, { count: 2, days: 0 })).toEqual([4, 5]);
  expect(kept(hourly(5), startMs + 5 * hourMs, { count: 0, days: 0 })).toEqual([5]);
});

test("one from the future and one that cannot be read are no day's, and go by their number", () => {
  const all: Aged[] = [
    { number: 1, takenWallMs: startMs + 400 * 24 * hourMs },
    { number: 2, takenWallMs: undefined },
    { number: 3, takenWallMs: startMs },
    { number: 4, takenWallMs: startMs + 1 },
  ];
  expect(kept(all, startMs + 2, { count: 2, days: 7 })).toEqual([3, 4]);
});
