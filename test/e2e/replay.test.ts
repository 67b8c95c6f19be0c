// The promise of every decision record: computed again from its input it gives the same effects. For a whole real run.
import { stepNode } from "@blueflame/agent/ladder/node-machine.ts";
import type { NodeEvent, NodeState } from "@blueflame/agent/ladder/node-state.ts";
import { step } from "@blueflame/agent/supervise/machine.ts";
import type { WorkloadSpec } from "@blueflame/agent/supervise/spec.ts";
import type { Event, State } from "@blueflame/agent/supervise/state.ts";
import { replay } from "@blueflame/hub/judge/replay.ts";
import type { DecisionRecord } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { Level } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import type { Moment } from "@blueflame/shared/time/clock.ts";
import { afterEach, beforeAll, expect, test } from "vitest";
import { built } from "./built.ts";
import { type Fleet, idle, nodeId, openFleet, quick } from "./fleet-rig.ts";

/** More than these the services do not list; the run below stays under it, so that all means all. */
const listedMax = 500;

beforeAll(() => built("blueflame-agent", "blueflame-hub"));

let fleet: Fleet;
afterEach(() => fleet.close());

function again(record: DecisionRecord): string {
  if (record.machine === "agent/node") {
    const { state, event, now } = JSON.parse(record.inputJson) as { state: NodeState; event: NodeEvent; now: Moment };
    return JSON.stringify(stepNode(state, event, now));
  }
  if (record.machine !== "agent/supervise") return replay(record).output;
  const { policy, state, event, now } = JSON.parse(record.inputJson) as {
    policy: WorkloadSpec;
    state: State;
    event: Event;
    now: Moment;
  };
  return JSON.stringify(step(policy, state, event, now));
}

test("PHX-11 every decision of a run of agent and hub, fetched from their stores and computed again, gives the same effects", async () => {
  const beating = { ...idle("beating"), beat: { timeout: "1s" }, start_grace: "1s" }; // never beats: frozen, time and again
  const broken = { ...idle("broken"), command: ["/bin/false"], backoff: { base: "200ms", cap: "2s" } };
  const workloads = [idle("engine"), idle("stopped"), beating, broken];
  fleet = await openFleet({ escalation: { ...quick, red_silent: "3s" }, respawns: true, workloads });
  const { hub, agent, cli } = fleet;
  const { pid } = await agent.well("engine");
  process.kill(pid, "SIGKILL");
  await agent.until("engine is healed", async () => (await agent.workload("engine")).pid !== pid);
  await agent.well("engine");
  await agent.well("stopped");
  expect(await cli("blueflame-agent.cjs", "stop", "stopped", "--data-dir", agent.dataDir)).toMatchObject({ code: 0 });
  await agent.kill();
  await hub.until("RED", async () => (await hub.node(nodeId))?.level === Level.RED);
  await hub.until("GREEN again", async () => (await hub.node(nodeId))?.level === Level.GREEN);
  await agent.well("engine");

  const decided = { agent: await agent.decisions(), hub: await hub.decisions() };
  for (const [side, records] of Object.entries(decided)) {
    expect(records.length, side).toBeGreaterThan(10);
    expect(records.length, side).toBeLessThan(listedMax);
    for (const record of records) {
      const { machine, subject, inputJson } = record;
      const called = { machine, subject, input: inputJson };
      expect({ ...called, output: again(record) }).toEqual({ ...called, output: record.outputJson });
    }
  }
  const machines = new Set(Object.values(decided).flatMap((records) => records.map(({ machine }) => machine)));
  expect([...machines].sort()).toEqual(["agent/node", "agent/supervise", "hub/budget", "hub/escalation", "hub/order"]);
  const effects = decided.agent.flatMap(({ outputJson }) =>
    (JSON.parse(outputJson).effects as { do: string }[]).map((one) => one.do),
  );
  expect([...new Set(effects)].sort()).toEqual(["audit", "clean", "examine", "incident", "signal", "spawn"]);
});
