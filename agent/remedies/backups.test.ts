import { expect, test } from "vitest";
import { dueInMs, inOrder, isId, manifestOf, nextId, noRoom, placesOf, surplus } from "./backups.ts";

const hourMs = 3_600_000;

test("PRA-10 a backup is due by its schedule, and one from the future is taken as just made", () => {
  const spec = { everyMs: hourMs };
  expect(dueInMs(undefined, spec, 0)).toBe(0);
  expect(dueInMs({ wallMs: 0 }, spec, 0.25 * hourMs)).toBe(0.75 * hourMs);
  expect(dueInMs({ wallMs: 0 }, spec, 5 * hourMs)).toBe(0);
  expect(dueInMs({ wallMs: 1e15 }, spec, 0)).toBe(hourMs);
});

test("backups are numbered: what somebody does to the clock changes no order", () => {
  const first = nextId([], Date.UTC(2026, 2, 1, 9, 30));
  const second = nextId([first], Date.UTC(1999, 0, 1));
  expect([first, second]).toEqual(["000001-20260301T093000Z", "000002-19990101T000000Z"]);
  expect(inOrder([second, "1000000-20260301T093000Z", first])).toEqual([first, second, "1000000-20260301T093000Z"]);
  expect([first, `.new-${first}`, `bad-${first}`, "x"].map(isId)).toEqual([true, false, false, false]);
});

test("PRA-10 the oldest go beyond what is kept, and the newest never", () => {
  const ids = ["000001-a", "000002-a", "000003-a"];
  expect(surplus(ids, 2)).toEqual(["000001-a"]);
  expect(surplus(ids, 0)).toEqual(["000001-a", "000002-a"]);
  expect(surplus(ids, 9)).toEqual([]);
});

test("a backup leaves a tenth of its disk free", () => {
  expect(noRoom(10, { freeBytes: 120, totalBytes: 1000 })).toBeUndefined();
  expect(noRoom(30, { freeBytes: 120, totalBytes: 1000 })).toMatch(/30 bytes would leave 90 of 1000 free/);
});

test("paths with the same base name lie beside each other in a copy", () => {
  expect([...placesOf(["/a/data", "/b/data", "/data", "/"]).values()]).toEqual(["data", "data~2", "data~3", "root"]);
});

test("a manifest that is damaged, of another version, or that points outside is no manifest", () => {
  const entry = { at: "data/x", is: "file", bytes: 1, sha256: "aa", mode: 0, uid: 0, gid: 0 };
  const whole = { format: 1, id: "000001-x", workload: "w", entries: [entry], roots: [] };
  expect(manifestOf(JSON.stringify(whole))?.id).toBe("000001-x");
  for (const wrong of [
    { ...whole, format: 2 },
    { ...whole, entries: [{ ...entry, at: "../../etc/passwd" }] },
    { ...whole, entries: [{ ...entry, at: "/etc/passwd" }] },
    { ...whole, entries: [{ ...entry, at: undefined }] },
    { ...whole, roots: undefined },
    null,
  ])
    expect(manifestOf(JSON.stringify(wrong))).toBeUndefined();
  expect(manifestOf('{"format": 1, "id"')).toBeUndefined();
});
