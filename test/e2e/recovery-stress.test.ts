// The short form of `npm run prove -- stress`: ten seconds, and processes that spin in the place of stress-ng.
import { expect, test } from "vitest";
import { stressQuick } from "../prove/stress.ts";
import { rowsOf } from "./recovery-rows.ts";

const rows = rowsOf(stressQuick, 10);

test("beside strangers that starve the machine no recovery is started, and twenty healthy workloads are blamed for nothing", async () => {
  expect(await rows("stress")).toEqual({ names: ["stress healthy workloads"], bad: [] });
});
