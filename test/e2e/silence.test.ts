// A workload that may be silent for longer than the box's trigger says, beside an agent process with its production bundle.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { afterEach, beforeAll, expect, test } from "vitest";
import { AgentRig } from "../prove/rig.ts";
import { built } from "./built.ts";

beforeAll(() => built("blueflame-agent"));

let agent: AgentRig;
afterEach(() => agent.close());

test("SYN-2 GRC-2 a healthy launcher that beats rarely was started again by the trigger's shorter time: its own timeout counts, and it is kept", async () => {
  // As SynergyMesh's launcher, and faster: a beat every 2 s, 12 s without one are too long. The trigger's minute is 1 s.
  const command = ["sh", "-c", "while [ ! -e hangs ]; do touch beat; sleep 2; done; while :; do sleep 1; done"];
  agent = new AgentRig({
    sensors: { every: "1s" },
    triggers: [{ name: "workload-silent", within: "1s" }],
    workloads: [{ name: "launcher", command, beat: { timeout: "12s", file: "beat" } }],
  });
  await agent.start();
  const first = await agent.well("launcher");
  await pause(8000);
  expect((await agent.workload("launcher")).pid).toBe(first.pid);
  expect(await agent.incidents("launcher")).toEqual([]);
  const hangsMs = Date.now();
  writeFileSync(join(agent.dir, "hangs"), "");
  await agent.until("it is found silent", async () => (await agent.incidents("launcher")).length > 0, 60_000);
  const [incident] = await agent.incidents("launcher");
  expect(incident?.summary).toMatch(/allowed are 12000 ms|allowed is 12s/);
  const foundMs = incident?.detectedAt ? timestampMs(incident.detectedAt) : 0;
  // Its last beat was up to 2 s before, and more on a busy machine.
  expect(foundMs).toBeGreaterThan(hangsMs + 6000);
  await agent.until(
    "it is another process",
    async () => ![0, first.pid].includes((await agent.workload("launcher")).pid),
  );
});
