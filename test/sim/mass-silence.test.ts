import { budgetDefaults } from "@blueflame/hub/actions/budget.ts";
import { massPolicyOf } from "@blueflame/hub/escalation/mass.ts";
import { policyOf } from "@blueflame/hub/escalation/policy.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { expect, test } from "vitest";
import { Hub, sweepEveryMs } from "./hub.ts";
import { type Net, SimNode } from "./node.ts";

/** A site whose nodes beat at any phase, cut off for ten minutes, then whole again. */
function cutSite(seed: number): { size: number; seen: string[] } {
  const clock = new VirtualClock();
  const random = seeded(seed);
  const policy = policyOf({ respawn: true });
  const net: Net = { lossShare: 0, cutSites: new Set(), cutNodes: new Set(), hubDownUntilMs: 0 };
  const seen: string[] = [];
  const hub = new Hub({
    clock,
    mass: massPolicyOf(policy),
    budget: budgetDefaults,
    hands: { probe: () => {}, respawn: (node) => seen.push(`respawn ${node}`), order: () => {} },
    see: (what) => {
      if (what.is === "group") seen.push(what.what);
      if (what.is === "effect" && what.effect.do === "setLevel") seen.push(what.effect.to);
    },
  });
  const ear = {
    hello: (node: string, incarnation: number) => hub.tell(node, { is: "sessionOpened", incarnation }),
    beat: (node: string, health: "healthy" | "failed") => hub.beat(node, health),
    closed: (node: string) => hub.tell(node, { is: "sessionClosed" }),
    leaves: () => {},
  };
  const size = 3 + Math.floor(random() * 30);
  for (let index = 0; index < size; index++) {
    hub.add(`n${index}`, "lab", policy);
    new SimNode({ id: `n${index}`, site: "lab", clock, random, net }, ear).start(random() * 15_000);
  }
  const sweep = (): void => {
    hub.sweep();
    clock.wakeAt(clock.monotonicMs() + sweepEveryMs, sweep);
  };
  clock.wakeAt(sweepEveryMs, sweep);
  clock.advance(60_000 + random() * 15_000);
  net.cutSites.add("lab");
  clock.advance(600_000);
  net.cutSites.clear();
  clock.advance(120_000);
  return { size, seen };
}

test("PHX-2 a site that is cut off freezes whatever the phase of its beats: one alert, nobody climbs, nobody is respawned", () => {
  for (let seed = 1; seed <= 100; seed++) {
    const { size, seen } = cutSite(seed);
    const count = (what: string) => seen.filter((one) => one === what).length;
    const counts = { yellow: count("YELLOW"), green: count("GREEN"), freeze: count("freeze"), alert: count("alert") };
    expect(counts, `seed ${seed}`).toEqual({ yellow: size, green: size, freeze: 1, alert: 1 });
    expect(seen.length, `seed ${seed}`).toBe(2 * size + 3);
    expect(seen.at(-1)).toBe("thaw");
  }
});
