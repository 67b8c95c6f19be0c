// What comes of younger tables beside a damaged one: real stores on the disk, random lives, one table of them gone. SEEDS=n tries more.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AuditRecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { RecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { type Random, seeded } from "@blueflame/shared/random/random.ts";
import { placeOf, reopenHandle } from "@blueflame/shared/store/level/opening.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { create, fromBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Operation } from "../state/commit.ts";
import { ordinal } from "./codec.ts";
import { type StartedStore, startStore } from "./deferred-store.ts";
import { mendStore } from "./mend.ts";
import { startSnapshots } from "./snapshot.ts";
import { snapshotNumbers, snapshotsIn } from "./snapshot-file.ts";

const clock = realClock();
const seeds = Number(process.env.SEEDS ?? 12);
const first = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
/** LevelDB merges four tables into one. */
const lives = 3;
let dir: string;
let store: StartedStore | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-younger-"));
});
afterEach(async () => {
  await store?.close();
  store = undefined;
  rmSync(dir, { recursive: true, force: true });
});

const options = { clock, random: Math.random, bootId: "boot-1", isAtRest: () => false };
async function open(): Promise<StartedStore> {
  store = await startStore(dir, { ...options, nodeId: "edge-1", onOpened: () => undefined });
  return store;
}
async function close(): Promise<void> {
  await store?.close();
  store = undefined;
}
const mend = () => mendStore(dir, { ...options, actor: "test", defaultNodeId: "host" });
const commit = (of: StartedStore, ...operations: Operation[]) =>
  of.space("engine").commit({ id: "", digest: "", operations, onlyWhileOpen: false });
const losingTrade = {
  ...{ profit: -1, exposure: 1, openExposure: undefined, sessionProfit: undefined },
  data: new Uint8Array(),
};
const trade = (n: number): Operation => ({
  is: "trade",
  trade: { ...losingTrade, id: `t${n}`, profit: n % 3 === 0 ? -1 : 1 },
});

async function snapshot(of: StartedStore): Promise<void> {
  const snapshots = startSnapshots({ store: of, clock, dataDir: dir, everyMs: 1, keep: 1 });
  while (snapshotNumbers(snapshotsIn(dir)).length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await snapshots.close();
}
const tables = () => readdirSync(join(dir, "store")).filter((file) => file.endsWith(".ldb"));

/** What was acknowledged: of each key every value in its order, `undefined` where it was deleted, and how many the snapshot knows of. */
interface Known {
  readonly keys: Map<string, (string | undefined)[]>;
  /** The highest revision that was given. */
  readonly revisions: Map<string, number>;
  readonly log: string[];
  readonly audits: string[];
  trades: number;
  /** In which life it was taken, and what was there then. */
  atSnapshot: {
    readonly life: number;
    readonly keys: ReadonlyMap<string, number>;
    readonly log: number;
    readonly trades: number;
  };
}

async function live(chance: Random, snapshotIn: number): Promise<Known> {
  const none = { life: 0, keys: new Map<string, number>(), log: 0, trades: 0 };
  const known: Known = { keys: new Map(), revisions: new Map(), log: [], audits: [], trades: 0, atSnapshot: none };
  for (let life = 0; life < lives; life++) {
    const now = await open();
    for (let n = 0; n < (life < lives - 1 ? 24 : 6); n++) await act(now, known, chance);
    if (life !== snapshotIn) {
      await close();
      continue;
    }
    await snapshot(now);
    const counts = new Map([...known.keys].map(([key, values]) => [key, values.length]));
    known.atSnapshot = { life, keys: counts, log: known.log.length, trades: known.trades };
    for (let n = 0; n < 6; n++) await act(now, known, chance);
    await close();
  }
  await open().then(close); // the last log becomes a table
  return known;
}

async function act(now: StartedStore, known: Known, chance: Random): Promise<void> {
  const key = `key-${Math.floor(chance() * 5)}`;
  const values = known.keys.get(key) ?? [];
  const kind = chance();
  if (kind < 0.4) {
    const value = `${key} ${values.length}`;
    const { results } = await commit(now, { is: "put", key, value: Buffer.from(value), expected: undefined });
    known.revisions.set(key, results[0]?.revision ?? 0);
    known.keys.set(key, [...values, value]);
  } else if (kind < 0.5 && values.at(-1) !== undefined) {
    await commit(now, { is: "delete", key, expected: undefined });
    known.keys.set(key, [...values, undefined]);
  } else if (kind < 0.7) {
    const entry = `entry ${known.log.length + 1}`;
    await commit(now, { is: "append", log: "book", entries: [Buffer.from(entry)] });
    known.log.push(entry);
  } else if (kind < 0.9) {
    known.trades += 1;
    await commit(now, trade(known.trades));
  } else {
    const id = `a${known.audits.length}`;
    await now.appendAudit([create(AuditRecordSchema, { id })]);
    known.audits.push(id);
  }
}

/** Of the audit records that wait for the hub those of the test. */
async function waiting(now: StartedStore): Promise<string[]> {
  const rows = await now.outbox.read(0n, 10_000, 1e8);
  const ids = rows.map(({ bytes }) => {
    const { kind } = fromBinary(RecordSchema, bytes);
    return kind.case === "audit" ? kind.value.id : "";
  });
  return ids.filter((id) => /^a\d+$/.test(id));
}

/** Each key as the snapshot has it or younger, and nothing that was never there. */
async function checkKeys(now: StartedStore, known: Known): Promise<void> {
  for (const [key, values] of known.keys) {
    const found = await now.get("engine", key);
    const text = found && Buffer.from(found.value).toString();
    const least = known.atSnapshot.keys.get(key) ?? 0;
    const may = [...(least === 0 ? [undefined] : []), ...values.slice(Math.max(0, least - 1))];
    expect(may, `${key}, of which the snapshot knows ${least}`).toContain(text);
  }
}

test("PHX-9 of a store with one damaged table all that is younger than the snapshot and can be read is kept, and nothing older comes back", async () => {
  let whole = 0;
  for (let seed = first; seed < first + seeds; seed++) {
    const chance = seeded(seed);
    // Six seeds in a row try each table with each snapshot.
    const [damaged, snapshotIn] = [seed % lives, Math.floor(seed / lives) % (lives - 1)];
    const known = await live(chance, snapshotIn);
    // One for each life.
    const all = tables();
    expect(all).toHaveLength(lives);
    const file = join(dir, "store", all[damaged] ?? "");
    const bytes = readFileSync(file);
    bytes[40] = (bytes[40] ?? 0) ^ 16;
    writeFileSync(file, bytes);
    const done = await mend();
    const said = `SEED=${seed}: ${done.notes.join("; ")}`;
    expect(done, said).toMatchObject({ is: "mended", by: "restore" });
    const now = await open();
    await checkKeys(now, known);
    const log = await now.space("engine").readLog("book", 0, 999);
    for (const { index, data } of log) expect(Buffer.from(data).toString(), said).toBe(known.log[index - 1]);
    const before = log.filter(({ index }) => index <= known.atSnapshot.log);
    expect(before, said).toHaveLength(known.atSnapshot.log);
    const trades = await now.space("engine").readTrades(0, 999);
    for (const { index, trade: one } of trades) expect(one.id, said).toBe(`t${index}`);
    const counted = now.space("engine").risk().risk.trades;
    expect(counted, said).toBeGreaterThanOrEqual(Math.max(known.atSnapshot.trades, trades.at(-1)?.index ?? 0));
    expect(counted, said).toBeLessThanOrEqual(known.trades);
    const audits = await waiting(now);
    expect(new Set(audits).size, said).toBe(audits.length);
    if (damaged < known.atSnapshot.life) {
      // The snapshot has all that was in that table.
      whole++;
      for (const [key, values] of known.keys) {
        const found = await now.get("engine", key);
        expect(found && Buffer.from(found.value).toString(), `${key}, ${said}`).toBe(values.at(-1));
      }
      expect(log, said).toHaveLength(known.log.length);
      expect(trades, said).toHaveLength(known.trades);
      expect(audits, said).toEqual(known.audits);
    }
    // Nothing that is given from now on was given before.
    const [next] = (await commit(now, { is: "append", log: "book", entries: [Buffer.from("next")] })).results;
    expect(next?.first, said).toBeGreaterThan(log.at(-1)?.index ?? 0);
    for (const [key, given] of known.revisions) {
      const { results } = await commit(now, { is: "put", key, value: Buffer.from("next"), expected: undefined });
      expect(results[0]?.revision, `${key}, ${said}`).toBeGreaterThan(given);
    }
    await close();
    rmSync(dir, { recursive: true });
    dir = mkdtempSync(join(tmpdir(), "bf-younger-"));
  }
  if (seeds >= 6) expect(whole).toBeGreaterThan(0);
});

test("PHX-9 GRC-7 trades whose risk state was lost with its table were counted by nobody, and their indexes given again", async () => {
  // LevelDB keeps a batch together until it merges tables: here the older row is put where the newer one was.
  const now = await open();
  await commit(now, { is: "beginSession", name: "1" }, trade(1), trade(2));
  await close();
  const place = placeOf(join(dir, "store"));
  const handle = await reopenHandle(place, {});
  const older = await handle.get("risk/engine");
  await handle.close();
  const again = await open();
  const losing: Operation = { is: "trade", trade: { ...losingTrade, id: "t3" } };
  await commit(again, losing, { is: "beginSession", name: "2" }, losing, losing);
  await close();
  const late = await reopenHandle(place, {});
  if (older) await late.put("risk/engine", older, { sync: true });
  await late.del(`trade/engine/${ordinal(4)}`, { sync: true });
  await late.close();
  rmSync(join(dir, "store", "CURRENT"));
  const done = await mend();
  expect(done.notes.join()).toContain(
    "2 trades of 'engine' were booked on an older risk state; 1 before the last are missing",
  );
  const { risk } = (await open()).space("engine").risk();
  expect(risk).toMatchObject({ trades: 5, lossStreak: 2, session: { name: "2", trades: 1 } });
});
