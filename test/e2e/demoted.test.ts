// A playbook that fails each time, on a real agent: what was learned of it lives over a restart of the agent, and others go first.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Rung } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { beforeAll, expect, test } from "vitest";
import { isAlive } from "../prove/guard-pair.ts";
import { AgentRig } from "../prove/rig.ts";
import { built } from "./built.ts";

beforeAll(() => built("blueflame-agent", "blueflame-watchdog", "blueflame-emergency"));

/** Whenever there is a file `swell` it takes 40 MiB, and keeps them until it is started again. */
const swells =
  'while :; do if [ -e swell ]; then rm swell; kept=$(head -c 40000000 /dev/zero | tr "\\0" x); fi; sleep 0.2; done';

test("GRC-5 PRA-14 a playbook that failed three times is not begun first any more, also by the next agent, and the incident says why", async () => {
  const rig = new AgentRig({ workloads: [] });
  mkdirSync(join(rig.dir, "playbooks"));
  const playbook = { name: "shrink", description: "It never works.", steps: [{ exec: { command: ["/bin/false"] } }] };
  writeFileSync(join(rig.dir, "playbooks", "shrink.yaml"), JSON.stringify(playbook));
  const trigger = {
    name: "swollen",
    kind: "threshold",
    metric: "process_memory_bytes",
    above: "30MiB",
    playbook: "shrink",
    severity: "medium",
    hold: "1s",
    clear_hold: "1s",
    cooldown: "1s",
  };
  rig.configure({
    workloads: [
      { name: "engine", command: ["/bin/sh", "-c", swells], cwd: rig.dir, probation: "0s", start_grace: "0s" },
    ],
    sensors: { every: "1s" },
    playbooks: "playbooks",
    triggers: [trigger],
  });
  const incidents = () => rig.incidents("engine");
  const heals = async (times: number) => {
    await rig.well("engine");
    writeFileSync(join(rig.dir, "swell"), "");
    const isOver = async () => (await incidents()).filter(({ closedAt }) => closedAt).length === times;
    await rig.until(`incident ${times} is over`, isOver, 60_000);
    const newest = (await incidents()).sort((a, b) => Number(b.detectedAt?.seconds) - Number(a.detectedAt?.seconds))[0];
    return newest?.attempts ?? [];
  };
  try {
    await rig.start();
    for (let n = 1; n <= 3; n++) {
      const [first, second] = await heals(n);
      expect([first?.playbook, first?.ok, second?.rung]).toEqual(["shrink", false, Rung.QUICK_RESTART]);
    }
    const agent = await rig.node();
    process.kill(agent.pid, "SIGTERM");
    await rig.until("the agent has left", async () => !isAlive(agent.pid));
    await rig.start();
    const attempts = await heals(4);
    expect(attempts).toMatchObject([{ rung: Rung.QUICK_RESTART, ok: true }]);
    expect(attempts[0]?.because).toContain("shrink for engine: trust 0.50; about 0 of the last 3 tries worked");
    expect(attempts[0]?.because).toContain("demoted, others go first");
  } finally {
    await rig.close();
  }
});
