import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { expect, test } from "vitest";
import { systemOf } from "../scenarios/node-system.ts";
import { matrix } from "./node-matrix.ts";
import { runScene } from "./node-run.ts";
import { figures, overSeeds } from "./node-seeds.ts";

test.each(matrix)(
  "GRC-4 GRC-11 GRC-14 the matrix holds over many seeds: $name",
  async ({ name, boundMs, scene }) => {
    const system = await systemOf(scene.system);
    const took = await overSeeds(name, (seed, traced) => runScene(scene, system, seed, new VirtualClock(0), traced));
    if (took.length > 0) console.log(`${name}: allowed ${boundMs} ms, ${figures(took)}`);
    expect(took.every((ms) => ms >= 0)).toBe(true);
  },
  600_000,
);
