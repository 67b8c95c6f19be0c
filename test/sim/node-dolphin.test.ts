import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { test } from "vitest";
import { systemOf } from "../scenarios/node-system.ts";
import { runDeadNode } from "./node-dolphin.ts";
import { figures, overSeeds } from "./node-seeds.ts";

test("DOL-3 a dead node is brought back in its order: the control plane, then what is missing, then the jobs", async () => {
  const system = await systemOf("dolphin");
  const took = await overSeeds("a dead node", (seed, traced) => runDeadNode(system, seed, new VirtualClock(0), traced));
  console.log(`GREEN again: ${figures(took)}`);
}, 1_200_000);
