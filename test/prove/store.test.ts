// The short forms of the store's own trials. The long ones are `npm run prove -- kills power-cuts store-faults`.
import { beforeAll, expect, test } from "vitest";
import { canMount } from "../contract/small-disk.ts";
import { built } from "../e2e/built.ts";
import { provedSaying } from "../e2e/proved.ts";
import { diskFull } from "./disk-full.ts";
import { canLoop, powerCuts } from "./power-cuts.ts";
import { storeFaults } from "./store-faults.ts";
import { storeKills } from "./store-kills.ts";

beforeAll(() => built("store-life"));

test("PHX-9 a writer that is killed at twelve random moments, while it opens, checks or writes, has lost nothing and changed nothing", async () => {
  expect(await provedSaying(storeKills, 12)).toContain("12 kills");
});

test.skipIf(!canLoop())(
  "PHX-9 CARD-4 the power is cut three times while the store is written: what was synced is there (needs loop devices)",
  async () => {
    expect(await provedSaying(powerCuts, 3)).toContain("3 cuts");
  },
);

test("PHX-9 some of every single fault of the store's files: none passes in silence", async () => {
  expect(await provedSaying(storeFaults, 0.002)).toContain("FILE, FAULT");
});

test.skipIf(!canMount())(
  "PHX-9 a disk that is full at some write loses nothing that was acknowledged (needs the right to mount)",
  async () => {
    expect(await provedSaying(diskFull, 2)).toContain("2 values of k");
  },
);
