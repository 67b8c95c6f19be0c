import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Level } from "level";
import { afterEach, beforeEach, expect, test } from "vitest";
import { seeded } from "../../../random/random.ts";
import { examine } from "./examine.ts";
import { readManifest } from "./manifest-file.ts";

let path: string;
beforeEach(() => {
  path = mkdtempSync(join(tmpdir(), "bf-examine-"));
});
afterEach(() => rmSync(path, { recursive: true, force: true }));

/** A closed store with tables of its first lives and a write-ahead log of the last one; `random` values do not compress. */
async function made(random = false): Promise<Map<string, string>> {
  const chance = seeded(7);
  const kept = new Map<string, string>();
  for (let life = 0; life < 3; life++) {
    const level = new Level<string, string>(path, { writeBufferSize: 64 * 1024, blockSize: 1024 });
    for (let at = 0; at < 300; at++) {
      const key = `k${String(at + life * 200).padStart(5, "0")}`;
      const value = random
        ? Array.from({ length: 40 }, () => String.fromCharCode(33 + chance() * 90)).join("")
        : `${life}`.repeat(400);
      kept.set(key, value);
      await level.put(key, value);
    }
    await level.del("k00000");
    kept.delete("k00000");
    await level.close();
  }
  return kept;
}
/** What the manifest names: LevelDB may close before it has removed what a compaction has replaced, or with one log more. */
function files(pattern: RegExp): string[] {
  const current = join(path, "CURRENT");
  const index = existsSync(current) ? readFileSync(current, "utf8").trim() : "";
  const { tables, log } = index === "" ? { tables: [], log: 0 } : readManifest(readFileSync(join(path, index)));
  const isLive = (name: string) => {
    if (name.endsWith(".ldb")) return tables.some(({ number }) => number === Number.parseInt(name, 10));
    if (name.endsWith(".log")) return Number.parseInt(name, 10) === log;
    return !name.startsWith("MANIFEST") || name === index;
  };
  return readdirSync(path).filter((name) => pattern.test(name) && isLive(name));
}
const found = () => examine(path).damage.map(({ file, is, part }) => `${file} ${is} ${part}`);

test.each([false, true])("a store as LevelDB wrote it is sound (values that do not compress: %s)", async (random) => {
  await made(random);
  expect(files(/\.ldb$/).length).toBeGreaterThan(1);
  expect(examine(path)).toMatchObject({ is: "sound", damage: [], notes: [] });
});

test("a folder without records is absent, and so is no folder", () => {
  expect(examine(path).is).toBe("absent");
  writeFileSync(join(path, "LOG"), "");
  expect(examine(path).is).toBe("absent");
  expect(examine(join(path, "nowhere")).is).toBe("absent");
});

test("each file that is gone is missed by name, also the write-ahead log that LevelDB itself does not miss", async () => {
  await made();
  for (const file of files(/^(?!LOG$|LOG\.old$|LOCK$)/)) {
    const bytes = readFileSync(join(path, file));
    rmSync(join(path, file));
    expect(found(), `${file} of ${readdirSync(path)}`).toEqual([expect.stringMatching(new RegExp(`^${file} missing`))]);
    writeFileSync(join(path, file), bytes);
  }
  expect(found()).toEqual([]);
});

test("a bit that flips anywhere in a table, a write-ahead log, the manifest or CURRENT is seen", async () => {
  await made();
  const chance = seeded(11);
  for (const file of files(/\.ldb$|\.log$|^MANIFEST|^CURRENT/)) {
    const bytes = readFileSync(join(path, file));
    for (let round = 0; round < 60; round++) {
      const at = Math.floor(chance() * bytes.length);
      const flipped = Buffer.from(bytes);
      flipped[at] = (flipped[at] ?? 0) ^ (1 << Math.floor(chance() * 8));
      writeFileSync(join(path, file), flipped);
      const { is, damage, notes } = examine(path);
      // In the length of the last fragment it may look like a torn end, which a kill leaves too; the padding of a table's footer holds nothing.
      const harmless = file.endsWith(".ldb") && at >= bytes.length - 48 && at < bytes.length - 8;
      expect(is === "damaged" || notes.length > 0 || harmless, `${file} at ${at}`).toBe(true);
      for (const one of damage.filter(({ file: name }) => name === file)) {
        expect(one.part).toBe(file.endsWith(".ldb") ? "table" : file.endsWith(".log") ? "log" : "index");
      }
    }
    writeFileSync(join(path, file), bytes);
  }
});

test("a table that no manifest names any more is no part of the store, whatever is in it", async () => {
  await made();
  writeFileSync(join(path, "000001.ldb"), "left over");
  expect(examine(path)).toMatchObject({ is: "sound", damage: [] });
});

test("a cut table and a cut manifest are damage; a cut write-ahead log looks like a kill, and is noted", async () => {
  await made();
  const cut = (pattern: RegExp, part: number) => {
    const [file = ""] = files(pattern);
    const bytes = readFileSync(join(path, file));
    truncateSync(join(path, file), Math.floor(bytes.length * part));
    return { file, back: () => writeFileSync(join(path, file), bytes) };
  };
  const table = cut(/\.ldb$/, 0.5);
  expect(found()).toEqual([`${table.file} cut table`]);
  table.back();
  const manifest = cut(/^MANIFEST/, 0);
  expect(found()).toEqual([`${manifest.file} changed index`]);
  manifest.back();
  const log = cut(/\.log$/, 0.503);
  expect(found()).toEqual([]);
  expect(examine(path).notes).toEqual([expect.stringContaining(`${log.file} ends inside a record`)]);
});

test("an older manifest than the logs is damage: LevelDB would open it and delete the tables that it does not name", async () => {
  await made();
  const [manifest = ""] = files(/^MANIFEST/);
  const bytes = readFileSync(join(path, manifest));
  // Its last record says that the log of the life before went into a table; cut away, the log it named is gone.
  truncateSync(join(path, manifest), bytes.length - 20);
  expect(found().length).toBeGreaterThan(0);
});
