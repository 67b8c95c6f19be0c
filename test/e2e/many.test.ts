// One agent process with its production bundle, and a hundred workloads.
import { setTimeout as pause } from "node:timers/promises";
import { WorkloadPhase } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { afterEach, beforeAll, expect, test } from "vitest";
import { AgentRig } from "../prove/rig.ts";
import { built } from "./built.ts";
import { idle } from "./fleet-rig.ts";

beforeAll(() => built("blueflame-agent"));

let agent: AgentRig;
afterEach(() => agent.close());

const names = (count: number) => Array.from({ length: count }, (_, n) => `w${String(n).padStart(3, "0")}`);
const allRun = async () => (await agent.status()).every(({ phase }) => phase === WorkloadPhase.RUNNING);

test("PHX-7 PHX-13 a hundred workloads start on one agent, and fifty that are killed at once are all back, verified, in under ten seconds", async () => {
  agent = new AgentRig({ workloads: names(100).map(idle) });
  await agent.start();
  await agent.until("all hundred run", allRun);
  await pause(500); // up for longer than their reset: each is stable
  const before = new Map((await agent.status()).map((one) => [one.name, one.pid]));
  expect(before.size).toBe(100);
  const killed = names(50);
  const beganMs = performance.now();
  for (const name of killed) process.kill(before.get(name) ?? 0, "SIGKILL");
  await agent.until("all fifty are back and verified", async () => {
    const now = await agent.status();
    return now.every(
      (one) => one.phase === WorkloadPhase.RUNNING && killed.includes(one.name) === (one.pid !== before.get(one.name)),
    );
  });
  expect(performance.now() - beganMs).toBeLessThan(10_000);
  const after = await agent.status();
  expect(
    after
      .filter(({ restarts }) => restarts === 1n)
      .map(({ name }) => name)
      .sort(),
  ).toEqual(killed);
  expect(agent.leads()).toHaveLength(100);
});
