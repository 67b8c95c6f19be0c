// The short form of `npm run prove -- guards`: each pair once, and once the kill switch.
import { beforeAll, expect, test } from "vitest";
import { guardsShort } from "../prove/guards.ts";
import { broken } from "../prove/trial.ts";
import { built } from "./built.ts";

beforeAll(() => built("blueflame-agent", "blueflame-watchdog", "blueflame-emergency"));

test("SYN-1 SYN-2 SYN-6 GRC-1 PHX-3 GRC-7 workload, agent and watchdog, killed or stopped, alone, in pairs and all three: all back, never two of a kind, and nothing that the kill switch holds", async () => {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`guards: SEED=${seed}`);
  const rows = await guardsShort.run({ rounds: 10, seed, say: (line) => console.log(`  ${line}`) });
  expect(rows).toHaveLength(17);
  expect(broken(rows)).toEqual([]);
}, 400_000);
