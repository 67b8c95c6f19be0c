/**
 * What sealing costs: synced values a second into the sealed store beside a bare LevelDB of the same run, and the round trips of a
 * workload's state API beside a bare echo on a unix socket. Ratios only: no figure of one machine is held against another one's.
 */
import { seeded } from "@blueflame/shared/random/random.ts";
import { spread } from "../bench/measure.ts";
import { overFloor, roundTrips } from "../bench/state.ts";
import { cases, promisedPart, type Speeds, speedsOf } from "../bench/store.ts";
import type { Row, Trial, TrialOptions } from "./trial.ts";

/** So many turns of bare and sealed make one figure: their median, which one bad turn does not move. */
const turns = 5;
const turnMs = 1500;
/** Round trips of each call, in each round. */
const trips = 600;

/** Whole: each case of the store, and the state API. */
export const storeSpeed: Trial = {
  name: "store-speed",
  about: "synced values into the sealed store beside a bare LevelDB, and the state API beside a bare echo",
  async run(options) {
    const { rounds, seed } = options;
    const values = new Map(cases.map(({ name }) => [name, [] as number[]]));
    const chance = seeded(seed);
    for (let round = 0; round < rounds; round++) {
      // In an order of chance: what a case leaves to the disk to do must not always meet the same one.
      for (const one of cases.toSorted(() => chance() - 0.5)) {
        const speeds = await speedsOf(one, turns, turnMs);
        tell(one.name, speeds, options);
        values.get(one.name)?.push(spread(speeds.ratios).median);
      }
    }
    const puts = cases.map(({ name }) => putRow(name, "median of the turns", values.get(name) ?? []));
    return [...puts, ...(await stateApi(rounds, trips, options))];
  },
};

const short = { turnsMin: 3, turnsMax: 40, turnMs: 250, trips: 50 };

/**
 * What is promised, in seconds, and each call of the state API some times. Where the whole suite works beside it a median says how
 * busy the machine is: so one turn has to reach the promise, and a store that is much too slow does so in none.
 */
export const storeSpeedShort: Trial = {
  ...storeSpeed,
  async run(options) {
    const [one] = cases;
    const enough = (ratios: readonly number[]) =>
      ratios.length >= short.turnsMin && Math.max(...ratios) >= promisedPart;
    const speeds = await speedsOf(one, short.turnsMax, short.turnMs, enough);
    tell(one.name, speeds, options);
    const put = putRow(one.name, "best of the turns", [Math.max(...speeds.ratios)]);
    return [put, ...(await stateApi(1, short.trips, options, ["alone"]))];
  },
};

function tell(name: string, { bare, sealed, ratios }: Speeds, { say }: TrialOptions): void {
  const [a, b, ratio] = [bare, sealed, ratios].map((list) => spread(list).median);
  const each = ratios.map((one) => one.toFixed(2)).join(" ");
  say(`${name}: ${a} a second bare, ${b} sealed; ratio ${ratio}, of each turn ${each}`);
}

function putRow(name: string, of: string, values: readonly number[]): Row {
  return {
    name: `sealed synced put, ${name}`,
    measure: `of bare LevelDB, ${of}`,
    promise: name === cases[0].name ? promisedPart : undefined,
    atLeast: true,
    unit: "times",
    values,
  };
}

/** Promises nothing: the figures are for whoever writes a workload. Rejects when a call fails. */
async function stateApi(rounds: number, each: number, { say }: TrialOptions, ways?: string[]): Promise<Row[]> {
  const ratios = new Map<string, { p50: number[]; p99: number[] }>();
  for (let round = 0; round < rounds; round++) {
    for (const [way, figures] of Object.entries(await roundTrips(each, ways))) {
      for (const [call, { median, p99 }] of Object.entries(figures)) {
        const name = `state API, ${way === "alone" ? "one" : "32"} at a time: ${call}`;
        say(`${name}: p50 ${median} ms, p99 ${p99} ms`);
        const over = overFloor(figures, call);
        const both = ratios.get(name) ?? { p50: [], p99: [] };
        ratios.set(name, both);
        both.p50.push(over.p50);
        both.p99.push(over.p99);
      }
    }
  }
  return [...ratios].flatMap(([name, both]) =>
    (["p50", "p99"] as const).map((which): Row => {
      const measure = `${which}, of the bare echo's`;
      return { name, measure, promise: undefined, unit: "times", values: both[which] };
    }),
  );
}
