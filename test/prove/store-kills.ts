/**
 * The agent's store under SIGKILL: a process writes to it until it is killed at a random moment, while it opens, checks or writes, and
 * the next one finds everything that was acknowledged. The ledger of what was acknowledged is a file beside the store.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Random, seeded } from "@blueflame/shared/random/random.ts";
import { Ledger } from "./store-ledger.ts";
import { startLife } from "./store-start.ts";
import type { Row, Trial } from "./trial.ts";

/** Two stores at once: while one process is loaded the other one writes. */
const besides = 2;
/** A store of so many lives is checked once more and left, so that checking stays fast. */
const livesMax = 40;
/** Of the kills, this part comes while the store opens and is checked. */
const openingPart = 0.3;
const openingMs = 40;
/** The others come when it has acknowledged at most so many writes, and a moment later: on a busy machine a time alone means none. */
const writesMax = 40;
const writingMs = 4;
const hangMs = 60_000;
/** A kill takes back nothing that the kernel was given: a file system in memory is as good, and no disk's speed is measured. */
const folder = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

/** How the kills ended. */
interface Tally {
  kills: number;
  acked: number;
  readonly wrong: { lost: string[]; unopenable: string[]; changed: string[] };
}

export const storeKills: Trial = {
  name: "kills",
  about: "the agent's store: its writer killed with SIGKILL at random moments; every acknowledged write is looked for",
  async run({ rounds, seed, say }) {
    const tally: Tally = { kills: 0, acked: 0, wrong: { lost: [], unopenable: [], changed: [] } };
    const stores: Promise<void>[] = [];
    let store = 0;
    let left = rounds;
    const worker = async () => {
      while (left > 0) {
        const lives = Math.min(livesMax, left);
        left -= lives;
        const own = seed + store++;
        await killInOne(own, lives, tally);
        if (store % 25 === 0) say(`${tally.kills} kills, ${tally.acked} acknowledged writes`);
      }
    };
    for (let at = 0; at < besides; at++) stores.push(worker());
    await Promise.all(stores);
    say(
      `${tally.kills} kills, ${tally.acked} acknowledged writes in ${store} stores; store n has the seed ${seed} + n`,
    );
    for (const one of Object.values(tally.wrong).flat().slice(0, 20)) say(`WRONG: ${one}`);
    return rowsOf(tally, "kill");
  },
};

/** The three promises, as counts that must be nought. */
export function rowsOf({ wrong }: Pick<Tally, "wrong">, death: string): Row[] {
  const row = (name: string, values: readonly string[]): Row => {
    return { name, measure: `after a ${death}`, promise: 0, unit: "count", values: [values.length] };
  };
  return [
    row("acknowledged writes lost", wrong.lost),
    row("stores that did not open", wrong.unopenable),
    row("values silently changed", wrong.changed),
  ];
}

async function killInOne(seed: number, lives: number, tally: Tally): Promise<void> {
  const chance = seeded(seed);
  const dir = mkdtempSync(join(folder, "bf-kills-"));
  try {
    for (let life = 1; life <= lives; life++) {
      note(await live(dir, ["write", String(life)], chance), seed, life, tally);
      tally.kills++;
    }
    note(await live(dir, ["check", "kill"]), seed, lives, tally);
    const ledger = new Ledger(join(dir, "ledger"));
    tally.acked += ledger.total();
    ledger.close();
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Sorts what a life found wrong into `tally`. */
export function note(said: string, seed: number, life: number, { wrong }: Pick<Tally, "wrong">): void {
  for (const line of said.split("\n").filter((one) => one !== "")) {
    const kind = (["lost", "changed"] as const).find((one) => line.startsWith(`${one}:`)) ?? "unopenable";
    wrong[kind].push(`${line} (seed ${seed}, life ${life})`);
  }
}

/** One life, ended by a kill at a moment of `chance`; without it, by itself. Resolves with what it found wrong. */
function live(dir: string, words: readonly string[], chance?: Random): Promise<string> {
  const child = startLife(join(dir, "store"), join(dir, "ledger"), ...words);
  const kill = () => void child.kill("SIGKILL");
  let [said, heard] = ["", ""];
  let timer = setTimeout(kill, hangMs);
  child.stderr.on("data", (bytes) => (said += bytes));
  const atOpening = chance !== undefined && chance() < openingPart;
  // It says "ow" and a dot for each write.
  const letters = chance === undefined ? Infinity : atOpening ? 1 : 2 + Math.floor(chance() * writesMax);
  const delayMs = (chance?.() ?? 0) * (atOpening ? openingMs : writingMs);
  child.stdout.on("data", (bytes) => {
    const before = heard.length;
    heard += bytes;
    if (before >= letters || heard.length < letters) return;
    clearTimeout(timer);
    timer = setTimeout(kill, delayMs);
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      const ended = code === 0 || code === 3 || signal === "SIGKILL";
      resolve(said === "" && !ended ? `unopenable: it ended with ${code ?? signal}` : said);
    });
  });
}
