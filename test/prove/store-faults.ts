/**
 * Every single fault of the files of an agent's data directory, one after the other: gone, cut, a bit flipped, an older one in its
 * place. Then the agent's store is opened as its start opens it, and held against what was acknowledged. What is gone or changed
 * must have been noticed: a new life of the node, or a refusal with a code.
 */
import { generateKeyPairSync } from "node:crypto";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { type StartedStore, startStore } from "@blueflame/agent/store/deferred-store.ts";
import { readRingFile } from "@blueflame/agent/store/keys/ring-file.ts";
import { startSnapshots } from "@blueflame/agent/store/snapshot.ts";
import { snapshotNumbers, snapshotsIn } from "@blueflame/agent/store/snapshot-file.ts";
import { type Random, seeded } from "@blueflame/shared/random/random.ts";
import { placeOf } from "@blueflame/shared/store/level/opening.ts";
import { readWitness } from "@blueflame/shared/store/level/witness.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { looks } from "../support/looks.ts";
import { write } from "./store-lanes.ts";
import { Ledger } from "./store-ledger.ts";
import { startOnce } from "./store-start.ts";
import type { Row, Trial } from "./trial.ts";

const cuts = 16;
const bits = 64;
/** Acknowledged writes in each life: enough for tables, and for a log of more than one block. */
const writesPerLife = 120;
const restMs = 10_000;
/** As `shared/store/level/database.ts` has it. */
const barrierMs = 50;

/** One fault of one file, relative to the data directory. */
interface FileFault {
  readonly file: string;
  readonly fault: "deleted" | "cut" | "bit flipped" | "older";
  readonly break: (dir: string) => void;
}
type Ending = (typeof endings)[number];
/** In capitals: what must never be. */
const endings = [
  "harmless",
  "mended, nothing lost",
  "mended, loss told",
  "reported",
  "SILENT LOSS",
  "SILENT CHANGE",
  "DIED",
] as const;

const clock = realClock();
const isAtRest = (state: unknown) => (state as { count?: number }).count === -1;
const restOf = (state: unknown) => state;
const start = (dir: string, random: Random): Promise<StartedStore> =>
  startStore(dir, { clock, random, nodeId: "prove", bootId: "boot", isAtRest, restOf, onOpened: () => undefined });

export const storeFaults: Trial = {
  name: "store-faults",
  about:
    "each file of the agent's data directory gone, cut, with a flipped bit or replaced by an older one: never silent",
  async run({ rounds, seed, say }) {
    const chance = seeded(seed);
    const golden = await make(chance);
    const tally = new Map<string, Map<Ending, number>>();
    const wrong: string[] = [];
    try {
      const all = faultsOf(golden, chance);
      // The short form takes some of each kind of file and fault.
      const taken = all.filter((_, at) => rounds >= 1 || chance() < rounds || at % 97 === 0);
      await inTurn(taken, async (one) => {
        const { ending, saw } = await tryFault(golden, one);
        const name = `${kindOf(one.file)}, ${one.fault}`;
        const counts = tally.get(name) ?? new Map<Ending, number>();
        counts.set(ending, (counts.get(ending) ?? 0) + 1);
        tally.set(name, counts);
        if (ending === ending.toUpperCase()) wrong.push(`${one.file}, ${one.fault}: ${ending}: ${saw}`);
      });
      print(tally, say);
      say(`${taken.length} faults of ${all.length}`);
      for (const line of wrong.slice(0, 30)) say(line);
    } finally {
      golden.remove();
    }
    return [row("faults that passed in silence", wrong.length)];
  },
};

/** Two at once. */
async function inTurn<T>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  const left = [...all];
  const worker = async () => {
    for (let one = left.shift(); one !== undefined; one = left.shift()) await work(one);
  };
  await Promise.all([worker(), worker()]);
}

function row(name: string, value: number): Row {
  return { name, measure: "of every single fault", promise: 0, unit: "count", values: [value] };
}

function print(tally: ReadonlyMap<string, ReadonlyMap<Ending, number>>, say: (line: string) => void): void {
  const lines = [...tally]
    .sort()
    .map(([name, counts]) => [name, ...endings.map((one) => String(counts.get(one) ?? "-"))]);
  const table = [["FILE, FAULT", ...endings.map((one) => one.toUpperCase())], ...lines];
  const widths = (table[0] ?? []).map((_, column) => Math.max(...table.map((line) => line[column]?.length ?? 0)));
  for (const line of table)
    say(
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    );
}

/** Names of files without their numbers. */
function kindOf(file: string): string {
  return file.replace(/\d+/g, "N");
}

// ── the store that is broken ─────────────────────────────────────────────────────────────────────────────────────────

interface Golden {
  readonly dir: string;
  readonly generation: string;
  /** Whom the store is entrusted to. */
  readonly holder: string;
  /** The same directory at earlier moments, youngest first. */
  readonly older: readonly string[];
  remove(): void;
}

/** Four lives, the last of them killed: tables, a write-ahead log, and a snapshot of the second. */
async function make(random: Random): Promise<Golden> {
  const root = mkdtempSync(join(tmpdir(), "bf-faults-"));
  const [data, ledgerFile] = [join(root, "now"), join(root, "now", "ledger")];
  const older: string[] = [];
  const keep = (name: string) => {
    const copy = join(root, name);
    cpSync(data, copy, { recursive: true });
    return copy;
  };
  let ledger: Ledger | undefined;
  let generation = "";
  let holder = "";
  for (let life = 1; life <= 4; life++) {
    const store = await start(data, random);
    generation = store.identity.generation;
    ledger ??= new Ledger(ledgerFile);
    await some(store, ledger);
    if (life === 2) {
      holder = await store.entrust(publicKey());
      await snapshot(store, data);
    }
    older.unshift(keep(`open-${life}`));
    if (life === 4) {
      await some(store, ledger);
      await atRest(store, data);
      const dead = readFileSync(join(keep("golden"), "store.lock"), "utf8").replace(/"boot":"/, '"boot":"earlier-');
      writeFileSync(join(root, "golden", "store.lock"), dead);
    }
    await store.close();
    if (life < 4) older.unshift(keep(`closed-${life}`));
  }
  ledger?.close();
  return {
    dir: join(root, "golden"),
    generation,
    holder,
    older,
    remove: () => rmSync(root, { recursive: true, force: true }),
  };
}

/**
 * Until all of it is on the disk, and witnessed beside it. What was batched less than 50 ms before its process is killed is in LevelDB's
 * log only: a cut of just that is a power cut, which may take it (`power-cuts.ts`), and no single fault of a file.
 */
async function atRest(store: StartedStore, data: string): Promise<void> {
  const { witness } = placeOf(join(data, "store"));
  await pause(10 * barrierMs); // until then the epoch is that of the last sync
  for await (const _ of looks(restMs)) if (readWitness(witness) === Number(store.storeEpoch("now"))) return;
  throw new Error(`after ${restMs} ms the witness of ${witness} is behind its store`);
}

/** Of somebody who is entrusted with the store. */
function publicKey(): string {
  return String(generateKeyPairSync("x25519").publicKey.export({ type: "spki", format: "pem" }));
}

async function some(store: StartedStore, ledger: Ledger): Promise<void> {
  const until = ledger.total() + writesPerLife;
  await write(store, ledger, () => ledger.total() < until);
}

async function snapshot(store: StartedStore, dataDir: string): Promise<void> {
  const shots = startSnapshots({ store, clock, dataDir, everyMs: 1, keep: 1 });
  while (snapshotNumbers(snapshotsIn(dataDir)).length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await shots.close();
}

// ── the faults ───────────────────────────────────────────────────────────────────────────────────────────────────────

function faultsOf(golden: Golden, chance: Random): FileFault[] {
  return filesIn(golden.dir).flatMap((file) => {
    const bytes = readFileSync(join(golden.dir, file));
    const place = (dir: string) => join(dir, file);
    const faults: FileFault[] = [{ file, fault: "deleted", break: (dir) => rmSync(place(dir)) }];
    for (let cut = 0; cut < cuts && bytes.length > 0; cut++) {
      const length = cut === 0 ? 0 : Math.floor(chance() * bytes.length);
      faults.push({ file, fault: "cut", break: (dir) => truncateSync(place(dir), length) });
    }
    for (let bit = 0; bit < bits && bytes.length > 0; bit++) {
      const at = Math.floor(chance() * bytes.length);
      const flipped = Buffer.from(bytes);
      flipped[at] = (flipped[at] ?? 0) ^ (1 << Math.floor(chance() * 8));
      faults.push({ file, fault: "bit flipped", break: (dir) => writeFileSync(place(dir), flipped) });
    }
    for (const other of olderOf(golden, file, bytes)) {
      faults.push({ file, fault: "older", break: (dir) => writeFileSync(place(dir), other) });
    }
    return faults;
  });
}

/** What lay under this name, or under that of another file of its kind, at an earlier moment, and was something else. */
function olderOf(golden: Golden, file: string, bytes: Buffer): Buffer[] {
  const found = new Map<string, Buffer>();
  for (const dir of golden.older) {
    for (const other of filesIn(dir).filter((one) => kindOf(one) === kindOf(file))) {
      const then = readFileSync(join(dir, other));
      if (then.length > 0 && !then.equals(bytes)) found.set(then.toString("base64"), then);
    }
  }
  return [...found.values()];
}

/** Every file but the ledger, LevelDB's own words about itself, and locks, which hold nothing. */
function filesIn(dir: string): string[] {
  return readdirSync(dir, { recursive: true, encoding: "utf8" })
    .filter((file) => statSync(join(dir, file)).isFile())
    .filter((file) => file !== "ledger" && !/^store\/LOG(\.old)?$/.test(file))
    .sort();
}

async function tryFault(golden: Golden, one: FileFault): Promise<{ ending: Ending; saw: string }> {
  const dir = mkdtempSync(join(tmpdir(), "bf-fault-"));
  try {
    cpSync(golden.dir, dir, { recursive: true });
    one.break(dir);
    const started = await startOnce(dir, join(dir, "ledger"));
    if ("code" in started)
      return { ending: started.code === "" ? "DIED" : "reported", saw: `${started.code} ${started.saw}` };
    const { lost, changed, generation } = started;
    const saw = [...lost, ...changed].slice(0, 3).join("; ");
    const told = generation !== golden.generation;
    if (changed.length > 0) return { ending: "SILENT CHANGE", saw };
    if (!told && readRingFile(dir)?.keys.every(({ wraps }) => golden.holder in wraps) !== true)
      return { ending: "SILENT LOSS", saw: "the holder of the escrow key cannot open it any more" };
    if (lost.length > 0) return { ending: told ? "mended, loss told" : "SILENT LOSS", saw };
    return { ending: told ? "mended, nothing lost" : "harmless", saw };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
