// The short form of `npm run prove`: the same trials, a few rounds of each.
import { beforeAll, expect, test } from "vitest";
import { agentKills } from "../prove/agent-kills.ts";
import { heal } from "../prove/heal.ts";
import { hubAway } from "../prove/hub-away.ts";
import { broken, type Trial } from "../prove/trial.ts";
import { built } from "./built.ts";

beforeAll(() => built("blueflame-agent", "blueflame-hub", "risk-firewall"));

async function proved(trial: Trial, rounds: number): Promise<number> {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`${trial.name}: SEED=${seed}`);
  const rows = await trial.run({ rounds, seed, say: (line) => console.log(`  ${line}`) });
  expect(rows.length).toBeGreaterThan(0);
  expect(broken(rows)).toEqual([]);
  return rows.length;
}

test("PHX-3 PHX-4 PHX-6 PHX-7 the sample, redis and nginx, killed, frozen, spinning or stuck: found in 5 s, verified healthy in 10", async () => {
  // Two rows for each of the sample's three ways to die; redis and nginx add theirs where they are installed.
  expect(await proved(heal, 2)).toBeGreaterThanOrEqual(6);
});

test("PHX-13 CARD-4 the agent is killed six times while 20 workloads crash: PIDs kept, no duplicate, state intact", async () => {
  await proved(agentKills, 6);
});

test("PHX-2 PHX-11 PHX-13 the hub is away while ten agents go on over mutual TLS: nobody is blamed, each record is there once", async () => {
  await proved(hubAway, 10);
});
