import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Database } from "@blueflame/shared/store/level/database.ts";
import { openDatabase } from "@blueflame/shared/store/level/open-database.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Codec } from "./codec.ts";
import { kekOf } from "./keys/key-file.ts";
import { Ring } from "./keys/ring.ts";
import { SealedDatabase } from "./sealed-database.ts";

const kek = kekOf(Buffer.alloc(32, 1), "test", "file");
let dir = "";
let raw: Database;
let codec: Codec;
let database: SealedDatabase;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "bf-sealed-db-"));
  raw = await openDatabase(join(dir, "store"), { clock: realClock() });
  codec = new Codec(Ring.make("o", kek, undefined, 0));
  database = new SealedDatabase(raw, codec);
});
afterEach(async () => {
  await raw.close();
  rmSync(dir, { recursive: true, force: true });
});

const put = (key: string, text: string) =>
  database.submit({ build: () => [{ type: "put", key, value: Buffer.from(text) }] }, "batched");
const names = (found: readonly (readonly [string, Uint8Array])[]) =>
  found.map(([key]) => key.split("\0").slice(1).join("|"));

test("names that are hidden are listed in their own order, with bounds, limit and backwards", async () => {
  for (const name of ["b", "a", "d", "c", "aa", "ä"]) await put(`kv/w\0${name}`, name);
  await put("kv/x\0a", "another's");
  const all = { gte: "kv/w\0", lt: "kv/w\u0001" };
  expect(names(await database.entries(all))).toEqual(["a", "aa", "b", "c", "d", "ä"]);
  expect(names(await database.entries({ ...all, limit: 2 }))).toEqual(["a", "aa"]);
  expect(names(await database.entries({ ...all, limit: 2, reverse: true }))).toEqual(["ä", "d"]);
  expect(names(await database.entries({ gte: "kv/w\0aa", lt: "kv/w\0c" }))).toEqual(["aa", "b"]);
  expect((await database.keys({ gte: "kv/", lt: "kv0" })).sort()).toHaveLength(7);
  expect((await raw.keys({ gte: "kv/", lt: "kv0" })).every((place) => /^kv\/[wx]\0[0-9a-f]{32}$/.test(place))).toBe(
    true,
  );
});

test("a range inside one hidden name is read as it stands, in order", async () => {
  for (const at of ["0001", "0002", "0003"]) {
    await put(`entry/w\0log\0${at}`, at);
    await put(`entry/w\0other\0${at}`, at);
  }
  const range = { gte: "entry/w\0log\x000002", lt: "entry/w\0log\x000009" };
  expect(names(await database.entries(range))).toEqual(["log|0002", "log|0003"]);
  expect(names(await database.entriesWhile(range, () => true))).toEqual(["log|0002", "log|0003"]);
});

test("PHX-9 sealing anew never puts an older value over one that was written meanwhile", async () => {
  for (let n = 0; n < 50; n++) await put(`memory/${n}`, "old");
  codec.ring = codec.ring.rotated([kek], undefined, 1);
  // They are built while the sweep reads, and land before what it has read.
  const sweeping = database.resealSome("a", 100);
  const entries = raw.entries.bind(raw);
  raw.entries = async (range) => {
    const found = await entries(range);
    await Promise.all(Array.from({ length: 50 }, (_, n) => put(`memory/${n}`, "new")));
    return found;
  };
  await sweeping;
  raw.entries = entries;
  for (let n = 0; n < 50; n++) expect(Buffer.from((await database.get(`memory/${n}`)) ?? []).toString()).toBe("new");
  expect((await raw.entries({ gte: "a", lt: "\x7f" })).some(([, sealed]) => codec.isOld(sealed))).toBe(false);
});
