import fc from "fast-check";
import { expect, test } from "vitest";
import { isFault } from "../errors/fault.ts";
import {
  durationArgument,
  parseDuration,
  parsePercent,
  parseSize,
  printDuration,
  printPercent,
  printSize,
} from "./units.ts";

test.each([
  ["500ms", 500],
  ["15s", 15_000],
  ["5m", 300_000],
  ["2h", 7_200_000],
  ["1h30m", 5_400_000],
  ["1.5s", 1500],
  ["0.0003h", 1080],
  ["0s", 0],
  ["8760h", 31_536_000_000],
])("the duration %s is %d ms", (text, ms) => {
  expect(parseDuration(text)).toBe(ms);
});

test.each([
  "",
  "15",
  "0",
  "-5s",
  "5 s",
  "5S",
  "5sec",
  "1m2h",
  "1s1s",
  "1e3s",
  "0.5ms",
  ".5s",
  "5m\n",
  "999999999999999h",
])("%j is no duration", (text) => {
  expect(parseDuration(text)).toBeUndefined();
});

test.each([
  ["1500B", 1500],
  ["512MiB", 536_870_912],
  ["2GiB", 2_147_483_648],
  ["1.5KiB", 1536],
  ["0B", 0],
])("the size %s is %d bytes", (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});

test.each(["", "512", "512MB", "512mib", "1.5B", "-1B", "99999999TiB", "512 MiB"])("%j is no size", (text) => {
  expect(parseSize(text)).toBeUndefined();
});

test("a share is written with a percent sign and read as a ratio", () => {
  expect(["85%", "12.5%", "0%", "150%"].map(parsePercent)).toEqual([0.85, 0.125, 0, 1.5]);
  expect(["85", "0.85", "-5%", "%", "85 %"].map(parsePercent)).toEqual(Array(5).fill(undefined));
});

test("what is printed is read back as the same value", () => {
  fc.assert(
    fc.property(fc.nat({ max: 2 ** 46 }), (value) => {
      expect(parseDuration(printDuration(value))).toBe(value);
      expect(parseSize(printSize(value))).toBe(value);
    }),
  );
  fc.assert(
    fc.property(fc.nat({ max: 10_000 }), (n) => {
      expect(parsePercent(printPercent(n / 10_000))).toBe(n / 10_000);
    }),
  );
});

test("people read round figures", () => {
  expect([0, 90_000, 5_400_000, 1500].map(printDuration)).toEqual(["0s", "1m30s", "1h30m", "1s500ms"]);
  expect([1536, 10 * 2 ** 20, 1000].map(printSize)).toEqual(["1536B", "10MiB", "1000B"]);
  expect([0.07, 0.2, 1].map(printPercent)).toEqual(["7%", "20%", "100%"]);
});

test("a bare number on the command line is refused with what is allowed", () => {
  expect(durationArgument("--timeout", "5s")).toBe(5000);
  let thrown: unknown;
  try {
    durationArgument("--timeout", "5");
  } catch (error) {
    thrown = error;
  }
  expect(isFault(thrown, "USAGE") && thrown.saw).toBe(
    "--timeout is '5'; allowed is a duration with its unit, such as 500ms, 15s, 5m, 2h or 1h30m",
  );
});
