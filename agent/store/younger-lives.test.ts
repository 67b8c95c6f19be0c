// Lives that ended badly, one after the other: real stores, of which a row is damaged, or was lost with its table.
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { commit, KeptStore, textAt, trade } from "../../test/support/kept-store.ts";
import { stateMax } from "../state/bounds.ts";
import type { Operation } from "../state/commit.ts";
import { lockedBecause } from "../state/risk.ts";
import { formOf } from "./form.ts";
import { tradeRow } from "./workload-keys.ts";

let kept: KeptStore;
beforeEach(() => {
  kept = new KeptStore();
});
afterEach(() => kept.end());

const put = (key: string, value: string, expected?: number): Operation => ({
  ...{ is: "put", key, expected },
  value: Buffer.from(value),
});
const append = (n: number): Operation => ({
  ...{ is: "append", log: "queue" },
  entries: Array.from({ length: n }, () => Buffer.from("e")),
});
const loss = (id: string) => trade(id, -1);
/** A row that does not open: the files are sound, and a repair takes the snapshot. */
const badRow = () => kept.onDisk((handle) => handle.put("token/x", Buffer.from("garbage"), { sync: true }));

test("PHX-9 a key that was deleted after the snapshot came back, where its tombstone was lost", async () => {
  const now = await kept.open();
  await commit(now, put("order", "1"));
  await kept.snapshot();
  await commit(now, put("order", "2"));
  await kept.close();
  let rows: [string, Uint8Array][] = [];
  await kept.onDisk(async (handle) => {
    rows = await handle.iterator({ gte: "kv/", lt: "kv0" }).all();
  });
  await commit(await kept.open(), { is: "delete", key: "order", expected: undefined });
  await kept.close();
  await kept.onDisk(async (handle) => {
    for (const [place, sealed] of rows) await handle.put(place, sealed, { sync: true });
  });
  await badRow();
  expect(await kept.mend()).toMatchObject({ by: "restore" });
  expect(await textAt(await kept.open(), "order")).toBeUndefined();
});

test("PHX-9 GRC-7 what a person had forgotten came back with its table, in the place of what had begun anew", async () => {
  const now = await kept.open();
  for (let n = 1; n <= 20; n++) await commit(now, put("position", `old ${n}`), loss(`old${n}`), append(3));
  await commit(now, put("secret", "forget me"));
  await kept.close();
  const again = await kept.open();
  await again.forgetSpace("engine", "asha", "gone");
  await commit(again, put("position", "new 1"), loss("new1"), append(1));
  await kept.snapshot();
  await kept.close();
  await kept.open();
  await kept.close(); // the last log becomes a table
  const path = kept.path(kept.tables[1] ?? "");
  const bytes = readFileSync(path);
  bytes[40] = (bytes[40] ?? 0) ^ 16;
  writeFileSync(path, bytes);
  expect(await kept.mend()).toMatchObject({ by: "restore" });
  const mended = await kept.open();
  expect(await textAt(mended, "position")).toBe("new 1");
  expect(await textAt(mended, "secret")).toBeUndefined();
  const trades = await mended.space("engine").readTrades(0, 99);
  expect(trades.map(({ trade }) => trade.id)).toEqual(["new1"]);
  expect(mended.space("engine").contents().logs.get("queue")).toMatchObject({ first: 1, last: 1 });
});

test("PHX-9 entries that were trimmed after the snapshot were delivered again, and their log could not be trimmed any more", async () => {
  const now = await kept.open();
  await commit(now, append(10));
  await kept.snapshot();
  for (let n = 0; n < 15; n++) await commit(now, append(100));
  for (const through of [1000, 1500]) await commit(now, { is: "trim", log: "queue", through });
  await kept.close();
  await badRow();
  expect(await kept.mend()).toMatchObject({ by: "restore" });
  const mended = await kept.open();
  expect(mended.space("engine").contents().logs.get("queue")).toMatchObject({ first: 1501, last: 1510 });
  expect((await mended.space("engine").readLog("queue", 0, 99)).map(({ index }) => index)).toEqual(
    Array.from({ length: 10 }, (_, n) => 1501 + n),
  );
});

test("PHX-9 a log with a hole could not be trimmed beyond it, and forgetting its workload never ended", async () => {
  const now = await kept.open();
  for (let n = 0; n < 25; n++) await commit(now, append(100));
  await kept.close();
  await kept.onDisk(async (handle) => {
    const rows = await handle.keys({ gte: "entry/", lt: "entry0" }).all();
    await handle.batch(rows.slice(900, 2400).map((key) => ({ type: "del", key })));
  });
  rmSync(kept.path("CURRENT"));
  expect(await kept.mend()).toMatchObject({ by: "repair" });
  const mended = await kept.open();
  const space = mended.space("engine");
  expect(space.contents().logs.get("queue")).toMatchObject({ first: 1, last: 2500 });
  await commit(mended, { is: "trim", log: "queue", through: 1000 });
  expect(space.contents().logs.get("queue")).toMatchObject({ first: 1001, last: 2500, trimmed: 2400 });
  await space.release("asha", "seen");
  await mended.forgetSpace("engine", "asha", "gone");
  expect(mended.spaces()).toEqual([]);
});

test("PHX-9 a busy key's revision was given twice after a mend: a compare-and-set with an old read passed over another value", async () => {
  await commit(await kept.open(), put("state", "x"));
  await kept.close();
  // As if it had been written as often.
  const often = 1_500_000;
  await kept.onDisk(async (handle) => {
    const form = await formOf(handle, kept.dir);
    for (const [place, sealed] of await handle.iterator({ gte: "kv/", lt: "name0" }).all()) {
      if (!/^(kv|name)\//.test(place) || !form) continue;
      const { key, value } = form.open(place, sealed);
      const isName = key.startsWith("name/");
      const count = Buffer.from(value);
      if (!isName) count.writeBigUInt64BE(BigInt(often), 0);
      const name = () => JSON.stringify({ ...JSON.parse(count.toString()), revision: often, changed: often });
      const write = form.put(key, isName ? Buffer.from(name()) : count);
      if (write.type === "put") await handle.put(write.key, write.value, { sync: true });
    }
  });
  await kept.open();
  await kept.snapshot();
  await kept.close();
  const lost = await commit(await kept.open(), put("state", "lost"));
  await kept.close();
  rmSync(join(kept.dir, "store"), { recursive: true });
  await kept.mend();
  const mended = await kept.open();
  const given = lost.results[0]?.revision ?? 0;
  expect(given).toBe(often + 1);
  const { results } = await commit(mended, put("state", "another"));
  expect(results[0]?.revision).toBeGreaterThan(given);
  await expect(commit(mended, put("state", "from an old read", given))).rejects.toThrow("STATE_CONFLICT");
});

test("PHX-9 GRC-7 a repair that met an older risk state in a younger file loosened its limits and forgot why it was locked", async () => {
  const none = { sessionLoss: 0, sessionTrades: 0, sessionExposure: 0, openExposure: 0 };
  await commit(await kept.open(), loss("1"));
  await kept.close();
  const now = await kept.open();
  await commit(now, { is: "limits", limits: { ...none, lossStreak: 3 } });
  await commit(now, { is: "lock", because: "the broker rejects us" });
  await commit(now, loss("2"), loss("3"), loss("4"));
  await kept.close();
  await kept.open();
  await kept.close();
  // As after a merge that has written older rows anew.
  const [oldest = ""] = kept.tables;
  renameSync(kept.path(oldest), kept.path("999990.ldb"));
  rmSync(kept.path("CURRENT"));
  const done = await kept.mend();
  expect(done).toMatchObject({ by: "repair" });
  expect(done.notes.join()).not.toContain("older risk state");
  const { risk } = (await kept.open()).space("engine").risk();
  expect(risk).toMatchObject({ trades: 4, limits: { lossStreak: 3 } });
  expect(lockedBecause(risk)).toMatch(/the broker rejects us.*3 losses in a row/);
});

test("PHX-9 of more that is younger than a mend may hold it takes the first, and says so", async () => {
  const now = await kept.open();
  await commit(now, append(1));
  await kept.snapshot();
  for (let n = 0; n < 201; n++) await commit(now, append(100));
  await commit(now, loss("1"));
  await kept.close();
  await badRow();
  const done = await kept.mend();
  expect(done.notes.join()).toContain("of what is younger only the first 20000 rows are in it");
  const mended = await kept.open();
  expect(mended.space("engine").risk().risk.trades).toBe(1);
  const last = mended.space("engine").contents().logs.get("queue")?.last ?? 0;
  expect(last).toBeGreaterThan(19_000);
  const [entry] = (await commit(mended, append(1))).results;
  expect(entry?.first).toBeGreaterThan(20_101);
});

test("PHX-9 trades beyond the newest that are kept, which a mend finds again, would outlive a workload that a person forgets", async () => {
  await commit(await kept.open(), loss("1"), loss("2"));
  await kept.close();
  const last = stateMax.trades + 2;
  await kept.onDisk(async (handle) => {
    const form = await formOf(handle, kept.dir);
    for (const [place, sealed] of await handle.iterator({ gte: "trade/", lt: "trade0" }).all()) {
      if (!form || !place.endsWith("2")) continue;
      const { value } = form.open(place, sealed);
      const booked = { ...JSON.parse(Buffer.from(value).toString()), index: last };
      const write = form.put(tradeRow("engine", last), Buffer.from(JSON.stringify(booked)));
      if (write.type === "put") await handle.put(write.key, write.value, { sync: true });
    }
  });
  rmSync(kept.path("CURRENT"));
  await kept.mend();
  expect((await kept.open()).space("engine").risk().risk.trades).toBe(last);
  await kept.close();
  await kept.onDisk(async (handle) => {
    expect(await handle.keys({ gte: "trade/", lt: "trade0" }).all()).toEqual([tradeRow("engine", last)]);
  });
});
