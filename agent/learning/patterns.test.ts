import { seeded } from "@blueflame/shared/random/random.ts";
import { expect, test } from "vitest";
import { type Histories, happened, type Occurrence, suggestionsFor } from "./patterns.ts";

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const startWallMs = Date.UTC(2026, 0, 1);

/** What is suggested after failures at these hours after midnight. */
function after(hours: readonly number[], more: (n: number) => Partial<Occurrence> = () => ({})) {
  let all: Histories = {};
  for (const [n, hour] of hours.entries()) {
    const atMs = hour * hourMs;
    all = happened(all, "k", "shop", "crash, exit 1: error disk is full", {
      atMs,
      wallMs: startWallMs + atMs,
      ...more(n),
    });
  }
  return all.k ? suggestionsFor(all.k) : [];
}

test("SYN-12 three equal failures within a day suggest to look for the cause", () => {
  expect(after([1, 5])).toEqual([]);
  expect(after([1, 5, 40])).toEqual([]);
  const [one, ...others] = after([1, 5, 9]);
  expect(others).toEqual([]);
  expect(one).toMatchObject({ kind: "often", workload: "shop", firstWallMs: startWallMs + hourMs });
  expect(one?.text).toBe(
    "shop failed 3 times in 24 hours in the same way. Being healed again and again is no cure: look for the cause while it is " +
      "fresh. The failure: crash, exit 1: error disk is full.",
  );
});

test("SYN-12 a failure that comes at the same hour each day points at what runs then, around midnight too", () => {
  expect(after([3, 27.2, 51.1]).map((one) => one.text)).toEqual([
    expect.stringContaining("failed on 3 days between 03:00 and 03:12 UTC. Look at what runs on the machine then"),
  ]);
  expect(after([23.8, 48.2, 71.9])[0]?.text).toContain("between 23:48 and 00:12 UTC");
  expect(after([3, 29, 57])).toEqual([]);
});

test("SYN-12 PRA-14 a failure after each change of config points at the changes, not at the day of many restarts", () => {
  const [one] = after([1, 5, 9], (n) => ({ sinceConfigMs: (n + 1) * minuteMs }));
  expect(one).toMatchObject({ kind: "after_config" });
  expect(one?.text).toContain("failed after each of its last 3 changes of config, within 3m.");
  // Three failures after one and the same change are not three changes.
  expect(after([1, 1.02, 1.04], (n) => ({ sinceConfigMs: n * 72_000 })).map((found) => found.kind)).toEqual(["often"]);
  // And a change of long ago is not to blame.
  expect(after([1, 5, 9], () => ({ sinceConfigMs: hourMs })).map((found) => found.kind)).toEqual(["often"]);
});

test("SYN-12 lives that end alike look like a leak, and a planned restart is suggested well before", () => {
  const [one] = after([10, 20, 30], (n) => ({ uptimeMs: 6 * hourMs + n * 10 * minuteMs }));
  expect(one).toMatchObject({ kind: "after_start" });
  expect(one?.text).toContain("after running for 6h to 6h20m, as if something leaks or runs out.");
  expect(one?.text).toContain("plan a restart every 4h48m");
  expect(after([1, 2, 3], () => ({ uptimeMs: 5000 })).map((found) => found.kind)).toEqual(["often"]);
  expect(after([10, 30, 60], (n) => ({ uptimeMs: (n + 1) * 3 * hourMs }))).toEqual([]);
});

test("SYN-12 a failure that follows another one points at that one", () => {
  const [one] = after([1, 30, 71], () => ({ dependency: "db" }));
  expect(one).toMatchObject({ kind: "after_dependency" });
  expect(one?.text).toContain("failed 3 times in a row after db had failed. Mend db first");
  expect(after([1, 30, 71], (n) => ({ dependency: n === 1 ? "cache" : "db" }))).toEqual([]);
});

test("SYN-12 failures at random times show no daily pattern more often than one time in a hundred", () => {
  const random = seeded(12);
  let [found, looks] = [0, 0];
  for (let history = 0; history < 500; history += 1) {
    let at = 0;
    const hours = Array.from({ length: 8 }, () => {
      at += 12 + 60 * random();
      return at;
    });
    for (let count = 3; count <= 8; count += 1) {
      looks += 1;
      if (after(hours.slice(0, count)).some((one) => one.kind === "daily")) found += 1;
    }
  }
  console.log(`SYN-12 seed 12: ${found} of ${looks} random histories look daily`);
  expect(found).toBeLessThan(looks / 100);
});

test("SYN-12 the same pattern has the same id, and at most 100 histories of eight failures are kept", () => {
  expect(after([1, 5, 9])[0]?.id).toBe(after([101, 105, 109, 110])[0]?.id);
  expect(after([1, 5, 9])[0]?.id).not.toBe(after([1, 5, 9], () => ({ dependency: "db" }))[0]?.id);
  let all: Histories = {};
  for (let n = 0; n < 3000; n += 1) {
    all = happened(all, `k${n % 150}`, "shop", "crash", { atMs: n, wallMs: n });
  }
  expect(Object.keys(all)).toHaveLength(100);
  expect(Object.values(all).every((one) => one.seen.length <= 8)).toBe(true);
});
