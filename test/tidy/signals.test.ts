import { expect, test } from "vitest";

test("a run of the whole suite was killed without a word: a test had sent its signal to process 0", () => {
  for (const nobody of [0, -0, -1, Number.NaN]) expect(() => process.kill(nobody, 0)).toThrow("it is not there yet");
  expect(process.kill(process.pid, 0)).toBe(true);
});
