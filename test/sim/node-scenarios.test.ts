import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { expect, test } from "vitest";
import { systemOf } from "../scenarios/node-system.ts";
import { anything } from "./node-anything.ts";
import { cascade, layers, slowBesideFast } from "./node-cascade.ts";
import { runScene, type Scene } from "./node-run.ts";
import { figures, overSeeds } from "./node-seeds.ts";
import { ladder, scenarios } from "./node-synergy.ts";

const limitMs = 1_200_000;

async function holds(name: string, scene: Scene): Promise<void> {
  const system = await systemOf(scene.system);
  const took = await overSeeds(name, (seed, traced) => runScene(scene, system, seed, new VirtualClock(0), traced));
  if (took.length > 0) console.log(`${name}: ${figures(took)}`);
}

test.each(scenarios)(
  "SYN-6 the five scenarios pass as written: $name",
  ({ name, scene }) => holds(name, scene),
  limitMs,
);

test(
  "SYN-3 every rung is over within its budget, whatever works, fails or hangs, and none is tried twice",
  () => holds("every rung is over", ladder),
  limitMs,
);

test(
  "GRC-6 the cascade is stopped: 1050 ms are 450 ms again within 30 s of the trigger, by the steps in their order",
  () => holds("the cascade is stopped", cascade),
  limitMs,
);

test(
  "GRC-1 each of the three layers answers within its time, also when all are needed at once",
  () => holds("each of the three layers", layers),
  limitMs,
);

test(
  "DOL-7 a crash is answered within 10 ms, whatever slow check, clean-up or rollback is at work",
  () => holds("a crash is answered", slowBesideFast),
  limitMs,
);

test(
  "SYN-4 whatever goes wrong, in whatever order, all is well in the end, and nothing happened that must not",
  async () => {
    let [healed, all, downMs] = [0, 0, 0];
    const heard = (isHealed: boolean, ms: number): void => {
      all += 1;
      if (isHealed) healed += 1;
      downMs += ms;
    };
    await holds("whatever goes wrong", anything(heard));
    console.log(`healed with no person: ${healed} of ${all}; average downtime ${Math.round(downMs / all)} ms`);
    // A run in which nothing went wrong would prove nothing.
    expect(all).toBeGreaterThan(0);
  },
  limitMs,
);
