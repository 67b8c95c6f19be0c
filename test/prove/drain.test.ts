// The short form of `npm run prove -- drain`.
import { beforeAll, expect, test } from "vitest";
import { built } from "../e2e/built.ts";
import { drain } from "./drain.ts";
import { broken } from "./trial.ts";

beforeAll(() => built("blueflame-agent", "blueflame-hub"));

test("PHX-11 CARD-4 a long outbox is at the hub exactly once, though agent and hub are killed on the way and the store begins a new life", async () => {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
  const said = [`drain: SEED=${seed}`];
  const rows = await drain.run({ rounds: 1, seed, say: (line) => said.push(line) });
  expect(broken(rows), said.join("\n")).toEqual([]);
  expect(said.join("\n")).toContain("1 new lives of the store: 1000 records made, 1000 at the hub");
});
