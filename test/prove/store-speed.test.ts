// The short form of `npm run prove -- store-speed`.
import { beforeAll, expect, test } from "vitest";
import { built } from "../e2e/built.ts";
import { provedSaying } from "../e2e/proved.ts";
import { storeSpeedShort } from "./store-speed.ts";

beforeAll(() => built("blueflame-agent", "bench"));

test("PHX-9 32 writers of synced values reach 70 % of bare LevelDB in the same run, and the state API has its figures beside a bare echo", async () => {
  expect(await provedSaying(storeSpeedShort, 1)).toContain("ratio");
});
