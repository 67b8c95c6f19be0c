import { expect, test } from "vitest";
import { places } from "../constants.ts";
import { logOf, parts } from "./parts.ts";

test("SYN-8 each part has a log of its own, and the processes that write theirs themselves write it there", () => {
  const files = parts.map(logOf);
  expect(new Set(files).size).toBe(5);
  expect(files).toEqual(expect.arrayContaining([places.watchdogLog, places.emergencyLog]));
});
