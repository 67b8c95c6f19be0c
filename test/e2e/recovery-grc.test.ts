// Grace's protection matrix on real processes, once: `npm run prove -- grc` has it in its own figures and many rounds.
import { expect, test } from "vitest";
import { canMount } from "../contract/small-disk.ts";
import { grcQuick } from "../prove/systems-grc.ts";
import { rowsOf } from "./recovery-rows.ts";

const rows = rowsOf(grcQuick);
/** Without the right to mount there is no disk to fill and no boot id to change. */
const mounted = canMount() ? ["GRC-4 disk", "GRC-4 reboot"] : [];

test("GRC-4 GRC-7 GRC-10 the protection matrix holds, row by row, each in its time", async () => {
  const { names, bad } = await rows("GRC-4");
  expect(bad).toEqual([]);
  expect(names).toEqual(
    [
      "GRC-4 API timeouts",
      "GRC-4 CPU",
      "GRC-4 RAM",
      "GRC-4 error burst",
      "GRC-4 high latency",
      "GRC-4 kill switch",
      "GRC-4 process crash",
      "GRC-4 restart fails three times",
      "GRC-4 sandbox crash",
      "GRC-4 trust drop",
      "GRC-4 unit silent",
      ...mounted,
    ].sort(),
  );
});

test("GRC-5 an incident tells trigger, unit, playbook and severity; trust rises by 0.05 for unit and playbook, and falls on failure", async () => {
  const { names, bad } = await rows("GRC-5");
  expect({ names, bad }).toEqual({ names: ["GRC-5 incident", "GRC-5 trust"], bad: [] });
});

test("GRC-6 rising latency is taken back from 1050 to 450 ms in order, within 30 s, and nothing is restarted", async () => {
  expect(await rows("GRC-6")).toEqual({ names: ["GRC-6 cascade"], bad: [] });
});

test("GRC-8 each incident has its alerts as JSON files on the node", async () => {
  expect(await rows("GRC-8")).toEqual({ names: ["GRC-8 alerts"], bad: [] });
});

test("GRC-11 a trigger fires within 10 s of its threshold, its playbook starts within 5 s, an event is acted upon within 10 ms", async () => {
  expect(await rows("GRC-11")).toEqual({ names: ["GRC-11 event", "GRC-11 playbook", "GRC-11 trigger"], bad: [] });
});

test("GRC-14 the mean downtime is under 30 s, and one row of the thirteen needs a person", async () => {
  const { names, bad } = await rows("GRC-14");
  expect({ names, bad }).toEqual({ names: ["GRC-14 incident", "GRC-14 matrix", "GRC-14 metrics"], bad: [] });
});
