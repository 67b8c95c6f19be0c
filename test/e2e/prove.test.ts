// The short form of `npm run prove`, where it promises seconds: the same trials, a few rounds of each.
import { beforeAll, expect, test } from "vitest";
import { agentKills } from "../prove/agent-kills.ts";
import { heal } from "../prove/heal.ts";
import { built } from "./built.ts";
import { proved } from "./proved.ts";

beforeAll(() => built("blueflame-agent", "risk-firewall"));

test("PHX-3 PHX-4 PHX-6 PHX-7 the sample, redis and nginx, killed, frozen, spinning or stuck: found in 5 s, verified healthy in 10", async () => {
  // Two rows for each of the sample's three ways to die; redis and nginx add theirs where they are installed.
  expect(await proved(heal, 1)).toBeGreaterThanOrEqual(6);
});

test("PHX-13 CARD-4 the agent is killed six times while 20 workloads crash: PIDs kept, no duplicate, state intact", async () => {
  await proved(agentKills, 6);
});
