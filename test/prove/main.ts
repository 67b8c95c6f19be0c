// npm run prove [-- NAME…]: the long trials in real time. Prints promise, median, p99, worst; writes out/prove/NAME.json.
import { keep } from "../bench/measure.ts";
import { agentKills } from "./agent-kills.ts";
import { canary } from "./canary.ts";
import { damage } from "./damage.ts";
import { diskFull } from "./disk-full.ts";
import { drain } from "./drain.ts";
import { guards } from "./guards.ts";
import { heal } from "./heal.ts";
import { hubAway } from "./hub-away.ts";
import { init } from "./init.ts";
import { offlineReboot } from "./offline-reboot.ts";
import { powerCuts } from "./power-cuts.ts";
import { rest } from "./rest.ts";
import { riskKills } from "./risk-kills.ts";
import { storeFaults } from "./store-faults.ts";
import { storeKills } from "./store-kills.ts";
import { storeSpeed } from "./store-speed.ts";
import { stress } from "./stress.ts";
import { dol } from "./systems-dol.ts";
import { grc } from "./systems-grc.ts";
import { phx } from "./systems-phx.ts";
import { pra } from "./systems-pra.ts";
import { syn } from "./systems-syn.ts";
import { broken, type Outcome, outcomeOf, type Row, spreadOf, type Trial, verdict } from "./trial.ts";

const trials: readonly (Trial & { readonly fullRounds: number })[] = [
  { ...heal, fullRounds: 20 },
  { ...agentKills, fullRounds: 50 },
  { ...hubAway, fullRounds: 200 },
  { ...guards, fullRounds: 100 },
  { ...damage, fullRounds: 1 },
  { ...diskFull, fullRounds: 500 },
  { ...rest, fullRounds: 10 },
  { ...phx, fullRounds: 20 },
  { ...pra, fullRounds: 3 },
  { ...init, fullRounds: 5 },
  { ...stress, fullRounds: 60 },
  { ...syn, fullRounds: 20 },
  { ...grc, fullRounds: 20 },
  { ...dol, fullRounds: 20 },
  { ...storeFaults, fullRounds: 1 },
  { ...storeKills, fullRounds: 10_000 },
  { ...powerCuts, fullRounds: 300 },
  { ...offlineReboot, fullRounds: 100 },
  { ...storeSpeed, fullRounds: 3 },
  { ...riskKills, fullRounds: 100 },
  { ...drain, fullRounds: 20 },
  { ...canary, fullRounds: 20 },
];

process.exitCode = await main(process.argv.slice(2));

async function main(names: readonly string[]): Promise<number> {
  const unknown = names.find((name) => !trials.some((trial) => trial.name === name));
  if (unknown !== undefined) {
    console.error(`There is no trial '${unknown}'. There are: ${trials.map((trial) => trial.name).join(", ")}.`);
    return 2;
  }
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`SEED=${seed}`);
  const outcomes: Outcome[] = [];
  for (const trial of trials)
    if (names.length === 0 || names.includes(trial.name)) outcomes.push(await run(trial, seed));
  const { line, exitCode } = verdict(outcomes);
  console.log(`\n${line}`);
  return exitCode;
}

async function run(trial: (typeof trials)[number], seed: number): Promise<Outcome> {
  console.log(`\n${trial.name}: ${trial.about}`);
  const beganMs = performance.now();
  const rounds = Number(process.env.ROUNDS ?? trial.fullRounds);
  const skipped: string[] = [];
  const skip = (why: string) => void skipped.push(why);
  try {
    const rows = await trial.run({ rounds, seed, say: (line) => console.log(`  ${line}`), skip });
    const outcome = outcomeOf(rows, skipped);
    print(rows);
    const figures = rows.map((row) => ({ ...row, spread: spreadOf(row) }));
    const file = keep(trial.name, { seed, rounds, skipped: outcome.skipped, rows: figures }, "prove");
    for (const row of broken(rows)) console.log(`  BROKEN: ${row.name}, ${row.measure}`);
    for (const why of outcome.skipped) console.log(`  SKIPPED: ${why}`);
    console.log(`  ${Math.round((performance.now() - beganMs) / 1000)} s, written to ${file}`);
    return outcome;
  } catch (error) {
    console.log(`  BROKEN: ${error instanceof Error ? error.message : error}`);
    return { broke: true, skipped };
  }
}

function print(rows: readonly Row[]): void {
  const cells = rows.map((row) => {
    const { n, median, p99, worst } = spreadOf(row);
    const promise = row.promise === undefined ? "-" : `${row.atLeast ? "≥" : "≤"} ${row.promise} ${row.unit}`;
    return [row.name, row.measure, String(n), promise, ...[median, p99, worst].map(String)];
  });
  const all = [["WHAT", "MEASURE", "N", "PROMISE", "MEDIAN", "P99", "WORST"], ...cells];
  const widths = (all[0] ?? []).map((_, column) => Math.max(...all.map((line) => line[column]?.length ?? 0)));
  for (const line of all)
    console.log(`  ${line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")}`.trimEnd());
}
