// The short form of `npm run prove -- canary`: one round of it.
import { beforeAll, expect, test } from "vitest";
import { canary } from "../prove/canary.ts";
import { broken } from "../prove/trial.ts";
import { built } from "./built.ts";

beforeAll(() => built("blueflame-agent"), 60_000);

test("PHX-9 SYN-5 what a workload keeps, its secrets and the names of its keys stand in no file of the store, no snapshot, log, alert, audit or process argument", async () => {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
  const said = [`canary: SEED=${seed}`];
  const rows = await canary.run({ rounds: 1, seed, say: (line) => said.push(line) });
  console.log(said.join("\n"));
  expect(broken(rows), said.join("\n")).toEqual([]);
  expect(rows.length).toBeGreaterThan(15);
}, 120_000);
