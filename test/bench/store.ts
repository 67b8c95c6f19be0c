import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Codec } from "@blueflame/agent/store/codec.ts";
import { kekOf } from "@blueflame/agent/store/keys/key-file.ts";
import { Ring } from "@blueflame/agent/store/keys/ring.ts";
import { SealedDatabase } from "@blueflame/agent/store/sealed-database.ts";
import { openDatabase } from "@blueflame/shared/store/level/open-database.ts";
import { makeHandle } from "@blueflame/shared/store/level/opening.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { keep, round, spread, table } from "./measure.ts";

/** What a workload's state weighs. */
const valueBytes = 256;
/** What a workload may keep; the stores write over them, as workloads do. */
const keys = 1000;
/** Of bare LevelDB in the same run: below it the store is too slow. */
export const promisedPart = 0.7;

/** One store under test: `write` puts `count` values, and they are on the disk when it resolves. */
interface Contender {
  readonly name: string;
  write(from: number, count: number): Promise<void>;
  close(): Promise<void>;
}
interface Case {
  readonly name: string;
  readonly writers: number;
  readonly batch: number;
}
/** The first one is promised; the others are argued in the README. */
export const cases = [
  { name: "32 writers, one value each", writers: 32, batch: 1 },
  { name: "1 writer, one value each", writers: 1, batch: 1 },
  { name: "1 writer, 100 values in a batch", writers: 1, batch: 100 },
] as const satisfies readonly Case[];

/** Synced values a second in each turn, and what the sealed store has of bare LevelDB. */
export interface Speeds {
  readonly bare: readonly number[];
  readonly sealed: readonly number[];
  readonly ratios: readonly number[];
}

/**
 * Puts into the sealed store beside those into a bare LevelDB, taken in turns: what others do on the machine meets both alike. In the
 * first turn the bare one is first, in the next one the sealed. `enough`: ends it before all turns are over.
 */
export async function speedsOf(
  one: Case,
  turns: number,
  forMs: number,
  enough: (ratios: readonly number[]) => boolean = () => false,
): Promise<Speeds> {
  const bare: number[] = [];
  const sealed: number[] = [];
  const ratios: number[] = [];
  for (let at = 0; at < turns && !enough(ratios); at++) {
    const [first, second] = at % 2 === 0 ? [openBare, openSealed] : [openSealed, openBare];
    const [a, b] = [await measure(first, one, forMs), await measure(second, one, forMs)];
    const [ofBare, ofSealed] = at % 2 === 0 ? [a, b] : [b, a];
    bare.push(ofBare);
    sealed.push(ofSealed);
    ratios.push(ofSealed / ofBare);
  }
  return { bare, sealed, ratios };
}

/** The table of `npm run bench -- store`. Rejects when the promise is broken. */
export async function store(): Promise<void> {
  const turns = Number(process.env.ROUNDS ?? 5);
  const forMs = Number(process.env.FOR_MS ?? 1500);
  const rows: (string | number)[][] = [];
  const figures: Record<string, unknown> = {};
  for (const one of cases) {
    const speeds = await speedsOf(one, turns, forMs);
    const [bare, sealed, ratio] = [spread(speeds.bare), spread(speeds.sealed), spread(speeds.ratios)];
    figures[one.name] = { bare, sealed, ratio };
    const promise = one === cases[0] ? `≥ ${promisedPart}` : "-";
    rows.push([one.name, bare.median, sealed.median, ratio.median, promise]);
  }
  table(
    `Synced values a second (${valueBytes} bytes, medians of ${turns})`,
    ["WHAT", "BARE", "SEALED", "RATIO", "PROMISE"],
    rows,
  );
  console.log(`  written to ${keep("store", figures)}`);
  const first = Number(rows[0]?.[3]);
  if (first < promisedPart)
    throw new Error(`the sealed store has ${first} of bare LevelDB, promised are ${promisedPart}`);
}

async function measure(
  open: (dir: string) => Promise<Contender>,
  { writers, batch }: Case,
  forMs: number,
): Promise<number> {
  const dir = mkdtempSync(join(tmpdir(), "bf-bench-store-"));
  const contender = await open(dir);
  try {
    let next = 0;
    const began = performance.now();
    let done = 0;
    const lane = async () => {
      while (performance.now() - began < forMs) {
        const from = next;
        next += batch;
        await contender.write(from, batch);
        done += batch;
      }
    };
    await Promise.all(Array.from({ length: writers }, lane));
    return round(done / ((performance.now() - began) / 1000));
  } finally {
    await contender.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

function writes(from: number, count: number) {
  return Array.from({ length: count }, (_, n) => {
    const key = `kv/risk\0key-${(from + n) % keys}`;
    return { type: "put", key, value: Buffer.alloc(valueBytes, String(from + n)) } as const;
  });
}

async function openBare(dir: string): Promise<Contender> {
  const level = await makeHandle(join(dir, "store"));
  return {
    name: "bare",
    async write(from, count) {
      const [one] = writes(from, count);
      if (count === 1 && one) await level.put(one.key, one.value, { sync: true } as object);
      else await level.batch(writes(from, count), { sync: true } as object);
    },
    close: () => level.close(),
  };
}

async function openSealed(dir: string): Promise<Contender> {
  const raw = await openDatabase(join(dir, "store"), { clock: realClock() });
  const kek = kekOf(Buffer.alloc(32, 1), "bench", "file");
  const database = new SealedDatabase(raw, new Codec(Ring.make("bench", kek, undefined, Date.now())));
  return {
    name: "sealed",
    write: (from, count) => database.submit({ build: () => writes(from, count) }, "synced"),
    close: () => raw.close(),
  };
}
