import { expect, test } from "vitest";
import { type Lost, whyNotBack } from "./take-back.ts";

const recent: Lost = { busy: false, lostAgoMs: 10_000 };
const deployed = { version: "v2", healthyVersion: "v1", changedAgoMs: 60_000 };

test("trust that fell under a new version takes it back", () => {
  expect(whyNotBack(deployed, recent)).toBeUndefined();
  expect(whyNotBack({ ...deployed, changedAgoMs: 10_000 }, recent)).toBeUndefined();
});

test("a good version was taken back minutes after an incident that had nothing to do with it", () => {
  expect(whyNotBack({ ...deployed, changedAgoMs: 7_200_000 }, recent)).toContain("has not changed lately");
  expect(whyNotBack({ version: "v2", healthyVersion: "v1" }, recent)).toContain("has not changed lately");
});

test("a person's fix was taken back for the trust that the version before it had lost", () => {
  expect(whyNotBack(deployed, { ...recent, lostAgoMs: 60_001 })).toBe("the trust fell before its config changed");
});

test("nothing is taken back while an incident is open, or to a version that was never healthy", () => {
  expect(whyNotBack(deployed, { ...recent, busy: true })).toContain("an incident is open");
  expect(whyNotBack({ version: "v2", changedAgoMs: 60_000 }, recent)).toContain("no other version");
});
