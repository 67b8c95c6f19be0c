import { expect } from "vitest";
import { broken, type Trial } from "../prove/trial.ts";

/** Runs a trial with a new seed, or `SEED`, and wants each of its promises kept. Returns how many there were. */
export async function proved(trial: Trial, rounds: number): Promise<number> {
  return (await run(trial, rounds)).rows;
}

/** As {@link proved}; returns what the trial said. */
export async function provedSaying(trial: Trial, rounds: number): Promise<string> {
  return (await run(trial, rounds)).said;
}

async function run(trial: Trial, rounds: number): Promise<{ readonly rows: number; readonly said: string }> {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
  const lines: string[] = [];
  const say = (line: string) => {
    lines.push(line);
    console.log(line);
  };
  say(`${trial.name}: SEED=${seed}`);
  const rows = await trial.run({
    rounds,
    seed,
    say: (line) => say(`  ${line}`),
    skip: (why) => say(`  SKIPPED: ${why}`),
  });
  const said = lines.join("\n");
  // One that was skipped has no rows, and so none that is broken.
  expect(rows.length, said).toBeGreaterThan(0);
  expect(broken(rows), said).toEqual([]);
  return { rows: rows.length, said };
}
