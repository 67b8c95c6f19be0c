import { expect } from "vitest";
import { broken, type Trial } from "../prove/trial.ts";

/** Runs a trial with a new seed, or `SEED`, and wants each of its promises kept. Returns how many there were. */
export async function proved(trial: Trial, rounds: number): Promise<number> {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`${trial.name}: SEED=${seed}`);
  const rows = await trial.run({ rounds, seed, say: (line) => console.log(`  ${line}`) });
  expect(rows.length).toBeGreaterThan(0);
  expect(broken(rows)).toEqual([]);
  return rows.length;
}
