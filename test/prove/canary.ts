/**
 * Secrets of every kind are given to a node, which is then killed, damaged, mended, asked, refused, given other keys and other configs;
 * after each of these all that it has left anywhere is searched for them. What may hold which of them, and why, is the list of homes
 * in canary-places.ts; the search shows first that it finds what lies open.
 */
import { type Random, seeded } from "@blueflame/shared/random/random.ts";
import { provenSearch } from "./canary-control.ts";
import { copied, crash, deeds, emergency, killed, plant, refused } from "./canary-deeds.ts";
import type { Kind } from "./canary-forms.ts";
import { Lookout } from "./canary-places.ts";
import { CanaryRig } from "./canary-rig.ts";
import type { Row, Trial } from "./trial.ts";

/** It takes longer than everything else. */
const emergencyEach = 5;
const watchEveryMs = 100;

export const canary: Trial = {
  name: "canary",
  about:
    "secrets, values and names planted everywhere: none stands in store, snapshots, logs, alerts, audit or arguments",
  async run({ rounds, seed, say }) {
    const chance = seeded(seed);
    const lookout = new Lookout();
    const rig = new CanaryRig(chance, lookout);
    const deck = new Deck(chance);
    const watch = setInterval(() => lookout.commandLines(), watchEveryMs);
    try {
      await rig.start();
      for (let round = 1; round <= rounds; round++) {
        const done = await oneRound(rig, round, deck);
        if (round === 1) await provenSearch(lookout.canaries);
        say(`round ${round}: ${done}; ${lookout.canaries.length} canaries in ${lookout.places.size} places`);
      }
      const deserted = lookout.deserted();
      if (deserted.length > 0) throw new Error(`nothing was found where it lies by design: ${deserted.join(", ")}`);
    } finally {
      clearInterval(watch);
      await rig.close();
    }
    for (const { canary, place } of [...lookout.finds.values()].slice(0, 40))
      say(
        `FOUND: ${canary.kind} ${JSON.stringify(Buffer.from(canary.bytes).toString("latin1").slice(0, 60))} in ${place}`,
      );
    return rowsOf(lookout);
  },
};

async function oneRound(rig: CanaryRig, round: number, deck: Deck): Promise<string> {
  await plant(rig, round);
  await refused(rig);
  rig.look();
  await crash(rig);
  await copied(rig);
  await killed(rig);
  rig.look();
  const name = deck.deal();
  await deeds[name]?.(rig);
  rig.look();
  if (round % emergencyEach === 0) await emergency(rig);
  await rig.ask();
  rig.look();
  rig.clear();
  return round % emergencyEach === 0 ? `${name}, then an emergency` : name;
}

/** Every deed once in an order of chance, then all of them again. */
class Deck {
  readonly #chance: Random;
  #left: string[] = [];

  constructor(chance: Random) {
    this.#chance = chance;
  }
  deal(): string {
    if (this.#left.length === 0) this.#left = Object.keys(deeds);
    return this.#left.splice(Math.floor(this.#chance() * this.#left.length), 1)[0] ?? "";
  }
}

function rowsOf({ canaries, found, places }: Lookout): Row[] {
  const kinds = [...new Set(canaries.map(({ kind }) => kind))].sort();
  return kinds.map((kind: Kind): Row => {
    const planted = canaries.filter((one) => one.kind === kind);
    const measure = `found, of ${planted.length} in ${places.size} places`;
    return { name: kind, measure, promise: 0, unit: "count", values: [planted.filter((one) => found.has(one)).length] };
  });
}
