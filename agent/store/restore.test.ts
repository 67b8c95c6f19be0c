// What a person's `store restore` costs: a real store on the disk, with trades and a lock that no snapshot knows of.
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isFault } from "@blueflame/shared/errors/fault.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Operation } from "../state/commit.ts";
import { locksOf } from "../state/risk.ts";
import { type StartedStore, startStore } from "./deferred-store.ts";
import { mendStore } from "./mend.ts";
import { startSnapshots } from "./snapshot.ts";
import { snapshotNumbers, snapshotsIn } from "./snapshot-file.ts";

const clock = realClock();
const told: string[] = [];
const options = {
  ...{
    clock,
    random: Math.random,
    bootId: "boot-1",
    isAtRest: () => false,
    restOf: () => ({}),
    actor: "test",
    defaultNodeId: "host",
  },
  tell: (lines: readonly string[]) => void told.push(...lines),
};
const youngest = { is: "restore", from: undefined } as const;
const first = () => ({ is: "restore", from: join(snapshotsIn(dir), "1") }) as const;
let dir: string;
const open = new Set<StartedStore>();
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-restore-"));
  told.length = 0;
});
afterEach(async () => {
  for (const store of open) await store.close();
  open.clear();
  rmSync(dir, { recursive: true, force: true });
});

async function start(): Promise<StartedStore> {
  const store = await startStore(dir, { ...options, nodeId: "edge-1", onOpened: () => undefined });
  open.add(store);
  return store;
}
async function close(store: StartedStore): Promise<void> {
  open.delete(store);
  await store.close();
}
const commit = (store: StartedStore, ...operations: Operation[]) =>
  store.space("engine").commit({ id: "", digest: "", operations, onlyWhileOpen: false });
const loss = (n: number): Operation => ({
  is: "trade",
  trade: {
    ...{ id: `t${n}`, profit: -1, exposure: 1, openExposure: undefined, sessionProfit: undefined },
    data: new Uint8Array(),
  },
});
const inStore = (pattern: RegExp): string =>
  readdirSync(join(dir, "store")).find((file) => pattern.test(file)) ?? "none";
const copies = () => readdirSync(dir).filter((file) => file.startsWith("store.damaged-"));
const code = (error: unknown) => (isFault(error) ? error.code : String(error));

/** Two trades in a table and in a snapshot; then a life with six more in its log, and a lock by the losses. */
async function lived(): Promise<void> {
  let store = await start();
  await commit(store, loss(1), loss(2));
  const snapshots = startSnapshots({ store, clock, dataDir: dir, everyMs: 1, keep: 99 });
  while (snapshotNumbers(snapshotsIn(dir)).length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await snapshots.close();
  await close(store);
  store = await start();
  const none = { sessionLoss: 0, sessionTrades: 0, sessionExposure: 0, openExposure: 0 };
  await commit(store, { is: "limits", limits: { ...none, lossStreak: 4 } });
  for (const n of [3, 4, 5, 6, 7, 8]) await commit(store, loss(n));
  await close(store);
}
function flip(file: string, at: number): void {
  const path = join(dir, "store", file);
  const bytes = readFileSync(path);
  bytes[at] = (bytes[at] ?? 0) ^ 16;
  writeFileSync(path, bytes);
}
function cutManifest(): void {
  truncateSync(join(dir, "store", inStore(/^MANIFEST/)), 10);
}
async function engine() {
  const { risk } = (await start()).space("engine").risk();
  return { trades: risk.trades, because: locksOf(risk).map(({ because }) => because), limits: risk.limits };
}
const streak = "4 losses in a row, the limit is 4";
const causes = [streak, expect.stringMatching(/came from a backup|restored|mended/)];

test("PHX-9 a person's restore gave up eight trades and why they were locked, where a repair keeps them: it says so and does nothing", async () => {
  await lived();
  cutManifest();
  const refused: unknown = await mendStore(dir, options, youngest).catch((error: unknown) => error);
  expect(code(refused)).toBe("STORE_HOLDS_MORE");
  expect(String(refused)).toMatch(/`blueflame-agent store repair`.*--snapshot/);
  expect(copies()).toEqual([]);
  expect(await mendStore(dir, options)).toMatchObject({ by: "repair" });
  expect(await engine()).toMatchObject({ trades: 8, because: causes });
});

test("PHX-9 a person's restore of a store that is sound took it back to an older one without a word", async () => {
  await lived();
  expect(await mendStore(dir, options, youngest).catch(code)).toBe("STORE_HOLDS_MORE");
  expect(copies()).toEqual([]);
  expect(await engine()).toMatchObject({ trades: 8, because: [streak] });
});

test("PHX-9 a person's restore of a store with a damaged table left out what its log says since the snapshot", async () => {
  await lived();
  flip(inStore(/\.ldb$/), 40);
  const done = await mendStore(dir, options, youngest);
  expect(done).toMatchObject({ by: "restore" });
  expect(done.notes.join()).toMatch(/later writes of its log are in it/);
  expect(await engine()).toMatchObject({ trades: 8, because: causes });
});

const damages: [string, () => void][] = [
  ["sound", () => {}],
  ["without its index", cutManifest],
  ["with a damaged table", () => flip(inStore(/\.ldb$/), 40)],
];
test.each(damages)(
  "PHX-9 GRC-7 going back to a snapshot by its number from a store that is %s opened what had locked since, and nobody said what is given up",
  async (_, damage) => {
    await lived();
    damage();
    const tell = (lines: readonly string[]) => {
      expect(copies()).toEqual([]); // before it is done
      told.push(...lines);
    };
    const done = await mendStore(dir, { ...options, tell }, first());
    expect(done).toMatchObject({ by: "restore" });
    expect(told).toEqual([
      expect.stringMatching(/^the snapshot is of \d{4}-.*Z: what was written since is given up$/),
      "of 8 trades of 'engine' 2 are in it; its lock stays, set by a limit that was reached",
    ]);
    expect(done.notes).toEqual(expect.arrayContaining(told));
    expect(existsSync(join(dir, "store.mending"))).toBe(false);
    expect(await engine()).toMatchObject({ trades: 2, because: causes, limits: { lossStreak: 4 } });
    const [audit] = await ([...open][0]?.audit(1) ?? []);
    expect(audit?.because).toContain("of 8 trades of 'engine' 2 are in it");
  },
);

test.each([undefined, youngest])(
  "PHX-9 GRC-7 a snapshot in the place of a damaged table forgot the six trades of the table after it, and what had locked (%j)",
  async (wish) => {
    await lived();
    await close(await start()); // what was in the log is a table now
    flip(inStore(/\.ldb$/), 40);
    const done = await mendStore(dir, options, wish);
    expect(done).toMatchObject({ by: "restore" });
    expect(done.notes.join()).toMatch(/\d+ younger rows of its tables are in it/);
    expect(done.notes.join()).toContain(
      `of 8 trades of 'engine' 8 are in it; its lock stays, set by a limit that was reached`,
    );
    expect(await engine()).toMatchObject({ trades: 8, because: causes, limits: { lossStreak: 4 } });
    const trades = await [...open][0]?.space("engine").readTrades(0, 99);
    expect(trades?.map(({ trade }) => trade.id)).toEqual(["t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8"]);
  },
);

test("PHX-9 the agent's log told in a workload's own words why it is locked, after a snapshot had taken the place of a damaged table", async () => {
  await lived();
  const store = await start();
  await commit(store, { is: "lock", because: "words-of-ours" }, { is: "beginSession", name: "day-of-ours" });
  const none = { lossStreak: 0, sessionLoss: 0, sessionExposure: 0, openExposure: 0 };
  await commit(store, { is: "limits", limits: { ...none, sessionTrades: 1 } }, loss(9));
  await close(store);
  flip(inStore(/\.ldb$/), 40);
  const { by, notes } = await mendStore(dir, options);
  expect(by).toBe("restore");
  expect(notes.join()).toContain("its lock stays, set by a limit that was reached and the workload itself");
  const opened = await start();
  expect([...notes, ...opened.notes].join()).not.toMatch(/of-ours/);
  expect((await opened.audit(1))[0]?.because).not.toMatch(/of-ours/);
});

test("a store whose key is lost is given up for a snapshot by its number only with the word that nobody can read it", async () => {
  await lived();
  rmSync(join(dir, "store.key"));
  expect(await mendStore(dir, options, first()).catch(code)).toBe("STORE_KEY_MISSING");
  expect(copies()).toEqual([]);
});

test("a snapshot that is not there, or is of no use, was called a damaged store", async () => {
  await lived();
  const nowhere = (from: string) => mendStore(dir, options, { is: "restore", from }).catch(code);
  expect(await nowhere(join(snapshotsIn(dir), "99"))).toBe("NOT_FOUND");
  expect(await nowhere("/nope")).toBe("NOT_FOUND");
  writeFileSync(join(snapshotsIn(dir), "1", "entries"), "x");
  const refused: unknown = await mendStore(dir, options, first()).catch((error: unknown) => error);
  expect(code(refused)).toBe("SNAPSHOT_DAMAGED");
  expect(copies()).toEqual([]);
});

test("a restore in a directory that was never there, or never an agent's, makes nothing in it", async () => {
  const never = join(dir, "never");
  for (const wish of [youngest, { is: "newLife" }] as const)
    expect(await mendStore(never, options, wish).catch(code)).toBe("DATA_DIR_UNUSABLE");
  expect(existsSync(never)).toBe(false);
  mkdirSync(never);
  expect(await mendStore(never, options, youngest).catch(String)).toMatch(/\[NOT_FOUND\].*--data-dir/);
  expect(existsSync(join(never, "store"))).toBe(false);
});

test("what the log of somebody else's store says is not laid over a snapshot", async () => {
  await lived();
  const mine = dir;
  const other = mkdtempSync(join(tmpdir(), "bf-restore-"));
  dir = other;
  await close(await start());
  const store = await start();
  await store.saveStep({ workload: "engine", state: { n: 1 } }, "synced");
  await store.saveStep({ workload: "engine", state: undefined }, "synced");
  await close(store);
  dir = mine;
  rmSync(join(dir, "store"), { recursive: true });
  cpSync(join(other, "store"), join(dir, "store"), { recursive: true });
  rmSync(other, { recursive: true });
  flip(inStore(/\.ldb$/), 40);
  const done = await mendStore(dir, options, youngest);
  expect(done.notes.join()).not.toMatch(/later writes/);
  expect(await engine()).toMatchObject({ trades: 2 });
});
