import { createHash } from "node:crypto";
import { memoryLog } from "@blueflame/shared/store/memory/memory-log.ts";
import { memoryState } from "@blueflame/shared/store/memory/memory-state.ts";
import { expect, test } from "vitest";
import { openHubStore } from "./hub-store.ts";

const dayMs = 86_400_000;

test("a long outage of the hub counted as its nodes' silence, and what was kept of living ones was forgotten", async () => {
  let nowMs = 1_000_000;
  const heardMs = nowMs;
  const [state, log] = [memoryState(), memoryLog()];
  const open = () =>
    openHubStore(
      state,
      log,
      () => nowMs,
      () => heardMs,
    );
  const keep = { readingsMs: dayMs, decisionsMs: dayMs, incidentsMs: 30 * dayMs };
  const data = Buffer.from("sealed");
  const id = createHash("sha256").update(data).digest("hex");
  let hub = await open();
  await hub.snapshots.put("n1", { id, takenWallMs: 1, incarnation: "1", generation: "g", bytes: 6 }, 0, data);
  await hub.trim(keep, []);
  const kept = async () => (await hub.snapshots.list("n1")).length;
  nowMs += 40 * dayMs;
  hub = await open();
  await hub.trim(keep, []);
  expect(await kept()).toBe(1);
  // The hub is here again, and another start takes nothing away from what it knows of its outages.
  for (let day = 0; day < 29; day++) {
    nowMs += dayMs;
    await hub.trim(keep, []);
    if (day === 10) hub = await open();
  }
  expect(await kept()).toBe(1);
  nowMs += 2 * dayMs;
  await hub.trim(keep, []);
  expect(await kept()).toBe(0);
});
