/** How many seeds are tried, and what is said when one of them fails. */
import { expect } from "vitest";
import { seedsOr } from "../support/seeds.ts";
import type { Outcome } from "./node-run.ts";

const only = process.env.SEED;
const seeds = only === undefined ? seedsOr(8) : [Number(only)];

/**
 * Tries every seed. `NODE_SEEDS=1000` sets how many, `SEED=17` replays one and prints its trace. Returns how long each took, in
 * order, where the scene measures that.
 */
export async function overSeeds(
  name: string,
  one: (seed: number, traced: boolean) => Outcome | Promise<Outcome>,
): Promise<number[]> {
  const took: number[] = [];
  for (const seed of seeds) {
    const { violations, trace, tookMs } = await one(seed, only !== undefined);
    if (only !== undefined) console.log(trace.join("\n"));
    expect(violations, `SEED=${seed} npx vitest run test/sim/node -t "${name}"`).toEqual([]);
    if (tookMs !== undefined) took.push(tookMs);
  }
  return took.sort((a, b) => a - b);
}

/** For the log: what was promised, and what it took. */
export function figures(took: readonly number[]): string {
  const part = (share: number) => Math.round(took[Math.min(took.length - 1, Math.floor(share * took.length))] ?? 0);
  return `median ${part(0.5)} ms, p99 ${part(0.99)} ms, worst ${part(1)} ms over ${took.length} seeds`;
}
