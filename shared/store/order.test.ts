import fc from "fast-check";
import { expect, test } from "vitest";
import { compareKeys, lowerBound } from "./order.ts";

const text = fc.string({ unit: "grapheme" });
const bytes = (key: string) => Buffer.from(key);

test("keys are ordered as their UTF-8 bytes are, whatever they hold", () => {
  const check = (a: string, b: string) => {
    expect(Math.sign(compareKeys(a, b))).toBe(Math.sign(Buffer.compare(bytes(a), bytes(b))));
  };
  fc.assert(fc.property(text, text, check));
  fc.assert(fc.property(text, text, text, (start, a, b) => check(start + a, start + b)));
  check("\uFFFD", "\u{1F600}");
});

test("the first key at or above another is found in any sorted list", () => {
  const sorted = fc.uniqueArray(text).map((keys) => keys.sort(compareKeys));
  fc.assert(
    fc.property(sorted, text, (keys, key) => {
      const expected = keys.findIndex((one) => compareKeys(one, key) >= 0);
      expect(lowerBound(keys, key)).toBe(expected < 0 ? keys.length : expected);
    }),
  );
});
