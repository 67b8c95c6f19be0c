import { mkdtempSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Level } from "level";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isFault } from "../../errors/fault.ts";
import { realClock } from "../../time/real-clock.driver.ts";
import type { Database } from "./database.ts";
import { openDatabase } from "./open-database.ts";
import { readWitness } from "./witness.ts";

const clock = realClock();
let dir = "";
let path = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-marks-"));
  path = join(dir, "store");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const open = (repair = false) => openDatabase(path, { clock, repair });
const put = (database: Database, key: string, synced = true) =>
  database.submit({ build: () => [{ type: "put", key, value: Buffer.alloc(100, key) }] }, synced);
async function written(count: number): Promise<void> {
  const database = await open();
  for (let n = 0; n < count; n++) await put(database, `k${n}`);
  await database.close();
}
const code = (error: unknown) => (isFault(error) ? error.code : String(error));
const log = () => join(path, readdirSync(path).find((file) => file.endsWith(".log")) ?? "none");

test("PHX-9 a log that lost its end, which LevelDB says nothing of, is noticed at the next opening", async () => {
  await written(20);
  truncateSync(log(), statSync(log()).size - 150);
  const error = await open().catch((reason: unknown) => reason);
  expect(code(error)).toBe("STORE_DAMAGED");
  expect(String(error)).toMatch(/groups \d+ to \d+ were on the disk and are gone/);
});

test("PHX-9 a group that is gone from the middle is noticed although later ones are there", async () => {
  await written(20);
  const level = new Level<string, string>(path);
  await level.del("!mark/0007");
  await level.close();
  expect(String(await open().catch((reason: unknown) => reason))).toMatch(/group 7 of \d+ is gone/);
});

test("whoever may repair opens it all the same, says what is gone, counts a repair, and is content the next time", async () => {
  await written(20);
  truncateSync(log(), statSync(log()).size - 150);
  let database = await open(true);
  expect(database.repairs).toBe(1);
  expect(database.notes[0]).toMatch(/acknowledged writes are gone/);
  await put(database, "again");
  await database.close();
  database = await open();
  expect([database.repairs, database.notes]).toEqual([1, []]);
  await database.close();
});

test("a witness that is gone, cut or changed witnesses nothing, and one that lags is no lie", async () => {
  for (const harm of [
    () => rmSync(`${path}.witness`),
    () => truncateSync(`${path}.witness`, 5),
    () => writeFileSync(`${path}.witness`, "00000000ffffff 00000000\n"),
  ]) {
    await written(3);
    expect(readWitness(`${path}.witness`)).toBeGreaterThan(0);
    harm();
    await (await open()).close();
  }
});

test("a store from before there were marks opens, and has them from then on", async () => {
  await written(5);
  const level = new Level<string, string>(path);
  await level.clear({ gte: "!mark", lt: "!n" });
  await level.close();
  await written(5);
  truncateSync(log(), statSync(log()).size - 150);
  expect(await open().catch(code)).toBe("STORE_DAMAGED");
});

test("PHX-9 synced writes of many writers share their syncs, and the epoch counts what is on the disk", async () => {
  const database = await open();
  const before = database.epoch;
  await Promise.all(Array.from({ length: 32 }, (_, n) => put(database, `w${n}`)));
  expect(database.epoch - before).toBeLessThanOrEqual(2);
  const synced = database.epoch;
  await put(database, "later", false);
  expect(database.epoch).toBe(synced);
  await database.sync();
  expect(database.epoch).toBe(synced + 2);
  await database.close();
});

test("below its bound of bytes only what may be spared is refused, by name", async () => {
  const database = await openDatabase(path, { clock, bytesMax: 1 });
  const job = { build: () => [{ type: "put", key: "reading", value: Buffer.from("v") } as const] };
  let refused: unknown;
  for (let n = 0; n < 200 && refused === undefined; n++) {
    await database.submit(job, "spare").catch((error: unknown) => {
      refused = error;
    });
    await new Promise((done) => setTimeout(done, 5));
  }
  expect(code(refused)).toBe("STORE_SPACE_LOW");
  await put(database, "order");
  await database.submit(job, "batched");
  await database.close();
});
