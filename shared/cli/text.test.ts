import { expect, test } from "vitest";
import { clean, displayWidth, formatAge, formatDuration, formatTime, parseDuration } from "./text.ts";

test.each([
  [0, "0ms"],
  [-5, "0ms"],
  [849.6, "850ms"],
  [4_240, "4.2s"],
  [59_949, "59.9s"],
  [59_960, "1m00s"],
  [190_000, "3m10s"],
  [3_599_600, "1h00m"],
  [7_500_000, "2h05m"],
  [99 * 3_600_000, "4d3h"],
  [undefined, "-"],
])("a duration of %s ms reads as %s", (ms, text) => {
  expect(formatDuration(ms)).toBe(text);
});

test("an age that is not known is never, not zero", () => {
  expect([formatAge(undefined), formatAge(1_200)]).toEqual(["never", "1.2s ago"]);
  expect([formatTime(undefined), formatTime(Date.UTC(2026, 10, 22, 10, 57, 4))]).toEqual(["-", "2026-11-22 10:57:04Z"]);
});

test("a duration needs its unit", () => {
  expect([parseDuration("500ms"), parseDuration("1.5s"), parseDuration("5m"), parseDuration("2h")]).toEqual([
    500, 1500, 300_000, 7_200_000,
  ]);
  for (const wrong of ["30", "", "s", "-1s", "1d", "1 s", "ten"]) {
    expect(() => parseDuration(wrong)).toThrow(expect.objectContaining({ code: "USAGE" }));
  }
});

test("text of a hostile node cannot move the cursor, forge a line or turn the writing direction", () => {
  expect(clean("a\u001b[2Jb\u001b]0;title\u0007c\nd\te\u202ef\u0000g\u009b31mh")).toBe("abc d efgh");
});

test("wide characters count two columns and combining marks none", () => {
  expect([displayWidth("edge"), displayWidth("日本"), displayWidth("e\u0301"), displayWidth("🔥")]).toEqual([
    4, 4, 1, 2,
  ]);
});
