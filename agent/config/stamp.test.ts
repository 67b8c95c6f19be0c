import fc from "fast-check";
import { expect, test } from "vitest";
import { stamped, stampOf, tornBecause } from "./stamp.ts";

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

test("PHX-5 a config that an editor had saved with other line ends was refused as torn", () => {
  const windows = (text: string) => `\ufeff${text.replaceAll("\n", "\r\n")}`;
  expect(tornBecause(windows(yaml), yaml)).toBeUndefined();
  expect(tornBecause(yaml, windows(yaml))).toBeUndefined();
  const whole = stamped(yaml);
  expect([stampOf(windows(whole)), tornBecause(windows(whole), whole)]).toEqual(["whole", undefined]);
  expect(stampOf(stamped(windows(yaml)))).toBe("whole");
  expect(tornBecause(windows(yaml).slice(0, 50), yaml)).toContain("characters of the one that ran before");
});

test("PHX-5 a config whose last section a person had taken away was refused as torn", () => {
  const more = `${yaml}# how well it has to be\nslo:\n  p95: 1s\nsensors:\n  every: 5s\n`;
  const until = (end: string) => more.slice(0, more.indexOf(end));
  expect(tornBecause(until("sensors:"), more)).toBeUndefined();
  expect(tornBecause(until("slo:"), more)).toBeUndefined();
  expect(tornBecause(until("# how"), more)).toBeUndefined();
  expect(tornBecause(`${until("# how")}\n`, more)).toBeUndefined();
  // In the middle of a section, of a line, at the end of a block of the disk, or without any workload: nobody can tell.
  for (const end of ["  every:", "ors:", "  - name: other"]) expect(tornBecause(until(end), more), end).toBeDefined();
  expect(tornBecause(until("slo:").trimEnd(), more)).toBeDefined();
  const block = `site: a\n${"#".repeat(503)}\n`;
  expect(tornBecause(block, `${block}slo:\n  p95: 1s\n`)).toBeDefined();
  expect(tornBecause("site: a\n", `site: a\n${yaml}`)).toBeDefined();
});

test("stamping is idempotent, and says of any text that it is whole", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const once = stamped(text);
      return stamped(once) === once && stampOf(once) === "whole";
    }),
  );
});
