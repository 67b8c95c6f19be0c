// Both ends of the link as they decide, joined without a wire, on one virtual clock.
import { step } from "@blueflame/hub/escalation/machine.ts";
import { policyOf } from "@blueflame/hub/escalation/policy.ts";
import { type Event, levelOf, newNode } from "@blueflame/hub/escalation/state.ts";
import { expect, test } from "vitest";
import { Rig, unreachableHub } from "../support/session-rig.ts";

test("CARD-3 the beats that an agent's session sends keep its node GREEN at the hub; a lost stream escalates it until the next one opens", () => {
  const agent = new Rig();
  const policy = policyOf();
  let node = newNode(1, { ms: agent.clock.monotonicMs() });
  let heard = 0;
  let ids = 0;
  const levels: string[] = [];
  const tell = (event: Event) => {
    const ms = agent.clock.monotonicMs();
    node = step(policy, node, event, { ms, wallMs: ms, id: `id-${ids++}` }).state;
    if (levels.at(-1) !== levelOf(node)) levels.push(levelOf(node));
  };
  const pass = (seconds: number) => {
    for (let second = 0; second < seconds; second++) {
      agent.pass(1000);
      for (const beats = agent.times("heartbeat").length; heard < beats; heard++)
        tell({ is: "beat", health: "healthy" });
      tell({ is: "sweep" });
    }
  };

  agent.connect().welcome({ intervalMs: policy.heartbeatIntervalMs });
  tell({ is: "sessionOpened", incarnation: 1 });
  pass(3600);
  expect(heard).toBeGreaterThanOrEqual(240); // one each 15 s
  expect(levels).toEqual(["GREEN"]);

  // The line is cut, and each try to open another one hangs.
  agent.apply(unreachableHub);
  tell({ is: "sessionClosed" });
  pass(61);
  expect(levels).toEqual(["GREEN", "YELLOW", "ORANGE", "RED"]);

  agent.connect().welcome({ intervalMs: policy.heartbeatIntervalMs });
  tell({ is: "sessionOpened", incarnation: 1 });
  pass(1);
  expect(levels).toEqual(["GREEN", "YELLOW", "ORANGE", "RED", "GREEN"]);
});
