import { expect, test } from "vitest";
import { type Freshness, freshen, type SourceLook } from "./freshness.ts";

const wall = Date.UTC(2026, 2, 1);
const file = (madeWallMs: number): SourceLook => ({ is: "made", stamp: madeWallMs, madeWallMs, by: "file" });
const field = (madeWallMs: number): SourceLook => ({ is: "made", stamp: madeWallMs, madeWallMs, by: "field" });
const gone: SourceLook = { is: "unread", because: "it is not there" };

/** The ages after each look; one look every 5 s of awake time unless said otherwise. */
function ages(...looks: readonly (readonly [SourceLook, wallMs: number, awakeMs?: number])[]): number[] {
  let state: Freshness | undefined;
  return looks.map(([look, wallMs, awakeMs = 5000]) => {
    state = freshen(state, look, awakeMs, wallMs);
    return state.ageMs;
  });
}

test("DOL-10 a file is as old as its modification time at the first look, and grows older until it is written again", () => {
  expect(
    ages(
      [file(wall - 7000), wall],
      [file(wall - 7000), wall + 5000],
      [file(wall + 8000), wall + 10_000],
      [file(wall + 8000), wall + 15_000],
    ),
  ).toEqual([7000, 12_000, 2000, 7000]);
});

test("DOL-10 a source that was replaced or started again is picked up by itself, whatever its clock says", () => {
  expect(
    ages([file(wall), wall], [gone, wall + 5000], [gone, wall + 10_000], [file(wall - 3_600_000), wall + 15_000]),
  ).toEqual([0, 5000, 10_000, 5000]);
});

test("a wall clock that is set makes no data stale, and none fresh", () => {
  const hour = 3_600_000;
  expect(ages([file(wall), wall], [file(wall), wall + 5000 + hour], [file(wall), wall + 10_000 - hour])).toEqual([
    0, 5000, 10_000,
  ]);
  expect(ages([field(wall), wall], [field(wall), wall + hour])).toEqual([0, 5000]);
});

test("time in which the agent was away or the machine slept makes no data older", () => {
  expect(ages([file(wall), wall], [file(wall), wall + 8 * 3_600_000, 2000])).toEqual([0, 2000]);
});

test("a field tells its own age: data that is written again with an old time is old", () => {
  expect(
    ages([field(wall - 1000), wall], [field(wall - 200_000), wall + 5000], [field(wall + 9000), wall + 10_000]),
  ).toEqual([1000, 205_000, 1000]);
  // A time that lies ahead of our clock is now.
  expect(ages([field(wall + 60_000), wall])).toEqual([0]);
});

test("what cannot be read grows older from the first look on, and says why", () => {
  expect(ages([gone, wall], [gone, wall + 5000], [gone, wall + 10_000])).toEqual([0, 5000, 10_000]);
  expect(freshen(undefined, gone, 0, wall).because).toBe("it is not there");
});

test("what the agent itself could not look at grows no older", () => {
  expect(ages([file(wall - 7000), wall], [{ is: "unasked" }, wall + 5000], [file(wall - 7000), wall + 10_000])).toEqual(
    [7000, 7000, 12_000],
  );
});

test("counted rows are fresh when they have grown, and only then", () => {
  const rows = (count: number, madeWallMs?: number): SourceLook => ({
    is: "counted",
    rows: count,
    ...(madeWallMs !== undefined && { madeWallMs }),
  });
  expect(ages([rows(5), wall], [rows(5), wall + 5000], [rows(6), wall + 10_000], [rows(6), wall + 15_000])).toEqual([
    0, 5000, 0, 5000,
  ]);
  // A file that is written without a new row is no fresher; one that shrank counts from there.
  expect(
    ages(
      [rows(5, wall - 9000), wall],
      [rows(5, wall + 5000), wall + 5000],
      [rows(2), wall + 10_000],
      [rows(3), wall + 15_000],
    ),
  ).toEqual([9000, 14_000, 19_000, 0]);
});
