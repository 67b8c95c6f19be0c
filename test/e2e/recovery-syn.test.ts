// SynergyMesh's five scenarios and six rungs on real processes, once: `npm run prove -- syn` has its own figures and more rounds.
import { expect, test } from "vitest";
import { synQuick } from "../prove/systems-syn.ts";
import { findTool } from "../tools.ts";
import { rowsOf } from "./recovery-rows.ts";

const rows = rowsOf(synQuick);
const redis = findTool("redis-server") && findTool("redis-cli") ? ["SYN-3 rung 4 dependency restart"] : [];

test.each([
  [
    "SYN-6 a launcher that crashes is found within 30 s and back within a minute, with nobody involved",
    "SYN-6 1 launcher crash",
  ],
  [
    "SYN-6 a bad config fails a quick restart, the config before is written back, and an alert is sent",
    "SYN-6 2 bad config",
  ],
  [
    "SYN-6 SYN-2 GRC-1 the agent dies: its watchdog revives it, and the launcher is the process that it was",
    "SYN-6 3 Phoenix dies",
  ],
  [
    "SYN-6 SYN-4 SYN-5 every rung fails, the emergency runs by itself, all is back, a person is paged",
    "SYN-6 4 everything fails",
  ],
  [
    "SYN-6 SYN-5 watchdog and agent are down: one command of an operator brings all back",
    "SYN-6 5 watchdog and Phoenix are down",
  ],
])("%s", async (_title, row) => {
  expect(await rows(row.slice(0, "SYN-6 N".length))).toEqual({ names: [row], bad: [] });
});

test("SYN-3 safe mode, dependency restart and backup restore each heal what the others do not, within their budgets", async () => {
  const { names, bad } = await rows("SYN-3");
  expect(bad).toEqual([]);
  expect(names).toEqual(["SYN-3 rung 2 safe mode", ...redis, "SYN-3 rung 5 backup restore"]);
});

test("SYN-4 the first failure is a quick restart, and evidence leads to each further rung", async () => {
  expect(await rows("SYN-4")).toEqual({ names: ["SYN-4 evidence"], bad: [] });
});

test("SYN-7 SYN-8 SYN-9 SYN-10 metrics, a log for each part, an audit that is complete, and the forbidden refused", async () => {
  const { names, bad } = await rows("SYN-7", "SYN-8", "SYN-9", "SYN-10");
  expect(bad).toEqual([]);
  expect(names).toEqual(["SYN-10 audit", "SYN-7 metrics", "SYN-8 logs", "SYN-9 authority"]);
});

test("SYN-14 at least 95 of 100 failures are healed with no person, as the metric shows", async () => {
  expect(await rows("SYN-14")).toEqual({ names: ["SYN-14 failures"], bad: [] });
});
