import fc from "fast-check";
import { expect, test } from "vitest";
import { stamped, stampOf, tornBecause } from "./config-stamp.ts";

const yaml = "workloads:\n  - name: engine\n    command: [sleep, '1']\n  - name: other\n    command: [sleep, '2']\n";

test("PHX-5 a stamped config that was cut anywhere, or of which a byte was changed, is known as torn", () => {
  const whole = stamped(yaml);
  expect(stampOf(whole)).toBe("whole");
  expect(tornBecause(whole, whole)).toBeUndefined();
  for (let at = 0; at < whole.length - 1; at++)
    expect(tornBecause(whole.slice(0, at), whole), `cut at ${at}`).toBeDefined();
  for (let at = 0; at < yaml.length; at++) {
    const changed = `${whole.slice(0, at)}${whole[at] === "x" ? "y" : "x"}${whole.slice(at + 1)}`;
    expect(tornBecause(changed, whole), `changed at ${at}`).toBeDefined();
  }
});

test("PHX-5 without a stamp, what is the beginning of the config that ran before is torn; a stamp says that it is meant", () => {
  for (let at = 0; at < yaml.trimEnd().length; at++)
    expect(tornBecause(yaml.slice(0, at), yaml), `cut at ${at}`).toBeDefined();
  const shorter = yaml.slice(0, yaml.indexOf("  - name: other"));
  expect(tornBecause(shorter, yaml)).toContain("characters of the one that ran before");
  expect(tornBecause(stamped(shorter), yaml)).toBeUndefined();
  expect(tornBecause(`${yaml}sensors: {}\n`, yaml)).toBeUndefined();
  expect(tornBecause(yaml.replace("other", "third"), yaml)).toBeUndefined();
  expect(tornBecause("", undefined)).toBeUndefined();
});

test("stamping is idempotent, and says of any text that it is whole", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const once = stamped(text);
      return stamped(once) === once && stampOf(once) === "whole";
    }),
  );
});
