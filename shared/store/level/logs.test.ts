import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { VirtualClock } from "../../time/virtual-clock.ts";
import { Logs } from "./logs.ts";
import { openDatabase } from "./open-database.ts";
import type { Write } from "./writer.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-logs-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const kib = 1024;
const put = (key: string, bytes: number): Write => ({ type: "put", key, value: new Uint8Array(bytes).fill(7) });
const logsIn = (path: string) => readdirSync(path).filter((file) => file.endsWith(".log"));

test("a group that begins a new log was durable before the unsynced ones in the old log: a power cut left a hole between them", async () => {
  const path = join(dir, "store");
  const database = await openDatabase(path, { clock: new VirtualClock(), sizes: { writeBufferBytes: 64 * kib } });
  // The names of LevelDB's own logs, watched by a second eye on the same folder.
  const synced: string[] = [];
  const logs = new Logs(path, 64 * kib, async (file) => void synced.push(basename(file)));
  const turns: { readonly old: string; readonly wasSynced: boolean }[] = [];
  for (let n = 0; n < 400; n++) {
    const writes = [put(`k${n}`, 500 + ((n * 37) % 900))];
    const [before = ""] = logsIn(path).slice(-1);
    synced.length = 0;
    await logs.before(writes, true);
    await database.submit({ build: () => writes }, false);
    const [after = ""] = logsIn(path).slice(-1);
    if (after !== before) turns.push({ old: before, wasSynced: synced.includes(before) });
  }
  await database.close();
  expect(turns.length).toBeGreaterThan(3);
  expect(turns.filter(({ wasSynced }) => !wasSynced)).toEqual([]);
});

test("a log that began unseen, in a merge or a reopening, is not taken for one that has just begun: the next turn came without a sync", async () => {
  const path = join(dir, "store");
  const database = await openDatabase(path, { clock: new VirtualClock(), sizes: { writeBufferBytes: 64 * kib } });
  const synced: string[] = [];
  const logs = new Logs(path, 64 * kib, async (file) => void synced.push(basename(file)));
  const write = async (n: number, bytes: number) => {
    const writes = [put(`k${n}`, bytes)];
    synced.length = 0;
    await logs.before(writes, true);
    await database.submit({ build: () => writes }, false);
  };
  const turns: boolean[] = [];
  for (let n = 0; n < 400; n++) {
    const [before = ""] = logsIn(path).slice(-1);
    await write(n, 500 + ((n * 37) % 900));
    if (logsIn(path).at(-1) === before) continue;
    turns.push(synced.includes(before));
    await write(1000 + n, 500); // the turn is seen
    await logs.merging(() => database.compact({ gte: "a", lt: "z" })); // and another log begins, unseen
  }
  await database.close();
  expect(turns.length).toBeGreaterThan(3);
  expect(turns).not.toContain(false);
});

test("logs are not synced while a new one cannot begin, nor when nothing waits", async () => {
  const path = join(dir, "store");
  const database = await openDatabase(path, { clock: new VirtualClock() });
  let syncs = 0;
  const logs = new Logs(path, 1024 * kib, async () => void syncs++);
  for (let n = 0; n < 500; n++) await logs.before([put(`k${n}`, kib)], true);
  expect(syncs).toBe(0);
  await logs.before([put("large", 900 * kib)], false);
  expect(syncs).toBe(0);
  await logs.before([put("next", 1)], true);
  expect(syncs).toBe(1);
  await database.close();
});

test("while files are merged a new log may begin at any time: each group is written after those before it are durable", async () => {
  const path = join(dir, "store");
  const database = await openDatabase(path, { clock: new VirtualClock() });
  let syncs = 0;
  const logs = new Logs(path, undefined, async () => void syncs++);
  await logs.merging(async () => {
    await logs.before([put("one", 1)], true);
    await logs.before([put("two", 1)], false);
  });
  await logs.before([put("three", 1)], true);
  expect(syncs).toBe(1);
  await database.close();
});

test("a log that has just become a table is no error, a disk that refuses is one", async () => {
  const logs = new Logs(join(dir, "gone"), 1);
  await expect(logs.before([put("a", 1)], true)).rejects.toThrow(/ENOENT/);
});

test("after a million files the newest log was taken for the oldest: its name has a digit more", async () => {
  const logs = new Logs(dir, 64 * kib, async () => undefined);
  writeFileSync(join(dir, "999999.log"), "");
  for (const size of [50, 1]) await logs.before([put("a", size * kib)], true);
  writeFileSync(join(dir, "1000000.log"), "");
  await logs.before([put("b", kib)], true);
  expect(logs.before([put("c", kib)], true)).toBeUndefined();
});
