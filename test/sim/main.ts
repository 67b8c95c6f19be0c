import { noTotals, runFleet, type Totals } from "./fleet.ts";

/**
 * `npm run sim`: many fleets, one seed each. `SEEDS=5000` sets how many, `SEED=17` replays one and prints its trace.
 * Exit code 1 when anything was violated.
 */
const one = process.env.SEED;
const count = Number(process.env.SEEDS ?? 1000);

if (one !== undefined) {
  const outcome = runFleet(Number(one));
  console.log(outcome.trace.join("\n"));
  report(
    [outcome.seed],
    outcome.totals,
    outcome.violations.map((text) => `seed ${outcome.seed}: ${text}`),
  );
} else {
  const totals = { ...noTotals };
  const violations: string[] = [];
  const seeds = Array.from({ length: count }, (_, index) => index + 1);
  for (const seed of seeds) {
    const outcome = runFleet(seed);
    for (const key of Object.keys(totals) as (keyof Totals)[]) totals[key] += outcome.totals[key];
    violations.push(...outcome.violations.map((text) => `seed ${seed}: ${text}`));
  }
  report(seeds, totals, violations);
}

function report(seeds: readonly number[], totals: Totals, violations: readonly string[]): void {
  for (const violation of violations) console.log(violation);
  const facts = Object.entries(totals).map(([what, times]) => `${times} ${what}`);
  console.log(`${seeds.length} seeds: ${facts.join(", ")}; ${violations.length} violations`);
  if (violations.length > 0) console.log("Replay one with its trace: SEED=<number> npm run sim");
  process.exitCode = violations.length > 0 ? 1 : 0;
}
