// An agent that leaves as it was asked to, while something is at work on a workload: that has not failed.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { isAlive } from "../prove/guard-pair.ts";
import { AgentRig } from "../prove/rig.ts";
import { built } from "./built.ts";

beforeAll(() => built("blueflame-agent", "blueflame-watchdog", "blueflame-emergency"));

test("a playbook at work when the agent leaves gracefully goes on by the next one, and nothing is restarted", async () => {
  const rig = new AgentRig({ workloads: [] });
  mkdirSync(join(rig.dir, "playbooks"));
  const playbook = { name: "slow", description: "It takes long.", timeout: "60s", steps: [{ wait: { for: "20s" } }] };
  writeFileSync(join(rig.dir, "playbooks", "slow.yaml"), JSON.stringify(playbook));
  const trigger = {
    name: "alive",
    kind: "threshold",
    metric: "process_memory_bytes",
    above: "1KiB",
    playbook: "slow",
    severity: "medium",
    // Later than its start: what starts is not judged.
    hold: "4s",
  };
  const config = {
    node: { id: "prove" },
    workloads: [{ name: "engine", command: ["/bin/sleep", "1000"] }],
    sensors: { every: "1s" },
    playbooks: "playbooks",
    triggers: [trigger],
  };
  writeFileSync(join(rig.dir, "agent.yaml"), JSON.stringify(config));
  try {
    await rig.start();
    const tried = async () => (await rig.incidents("engine")).flatMap(({ attempts }) => attempts);
    await rig.until("its playbook is at work", async () => (await tried()).length === 1);
    const [agent, { pid }] = [await rig.node(), await rig.workload("engine")];
    process.kill(agent.pid, "SIGTERM");
    await rig.until("the agent has left", async () => !isAlive(agent.pid));
    await rig.start();
    await rig.until("the next one has adopted it", async () => (await rig.workload("engine")).adopted);
    expect(await tried()).toMatchObject([{ playbook: "slow" }]);
    expect((await tried())[0]?.ok).toBeUndefined();
    await rig.until(
      "the playbook has ended",
      async () =>
        (await rig.incidents("engine")).some(({ timeline }) => timeline.some(({ what }) => what === "remedy")),
      60_000,
    );
    expect((await rig.workload("engine")).pid).toBe(pid);
  } finally {
    await rig.close();
  }
});
