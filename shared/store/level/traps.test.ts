// LevelDB's two traps, each shown to be one, and what stands before it.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Level } from "level";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isFault } from "../../errors/fault.ts";
import { realClock } from "../../time/real-clock.driver.ts";
import { openDatabase } from "./open-database.ts";
import { levelCode, repairIn } from "./opening.ts";

let dir: string;
let path: string;
let holder: ChildProcess | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-traps-"));
  path = join(dir, "store");
});
afterEach(() => {
  holder?.kill("SIGKILL");
  holder = undefined;
  rmSync(dir, { recursive: true, force: true });
});
const code = (error: unknown) => (isFault(error) ? error.code : String(error));
const open = () => openDatabase(path, { clock: realClock() });

/** A process that has the store open and then does `deed`. */
async function held(deed: string): Promise<void> {
  const program = `
    import { readFileSync } from "node:fs";
    import { Level } from ${JSON.stringify(import.meta.resolve("level"))};
    import { openDatabase } from ${JSON.stringify(join(import.meta.dirname, "open-database.ts"))};
    import { realClock } from ${JSON.stringify(join(import.meta.dirname, "../../time/real-clock.driver.ts"))};
    const path = process.argv[1];
    const open = () => openDatabase(path, { clock: realClock() });
    await open();
    ${deed}
    console.log("done");
    setInterval(() => {}, 1000);`;
  holder = spawn(process.execPath, ["--no-warnings", "--input-type=module", "-e", program, path], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (holder.stdout) await once(holder.stdout, "data");
}
async function rawOpen(): Promise<string> {
  const level = new Level(path);
  try {
    await level.open({ createIfMissing: false });
    await level.close();
    return "open";
  } catch (error) {
    return levelCode(error);
  }
}

test("PHX-9 the LOCK trap: whoever reads LOCK in the holder's process lets others in at LevelDB, and our lock still keeps them out", async () => {
  await held("readFileSync(path + '/LOCK');");
  expect(await open().catch(code)).toBe("STORE_LOCKED");
  expect(await rawOpen()).toBe("open"); // the trap is real: LevelDB itself would have let a second writer in
});

test("PHX-9 the LOCK trap: a second opening in the holder's process is refused before it reaches LevelDB, whose lock then still holds", async () => {
  await held("await open().catch(() => {});");
  expect(await rawOpen()).toBe("LEVEL_LOCKED");
  holder?.kill("SIGKILL");
  if (holder) await once(holder, "exit");
  holder = undefined;
  await (await open()).close();
});

test("PHX-9 the missing-CURRENT trap: LevelDB makes an empty store of it and deletes the rest; ours comes back with everything", async () => {
  let database = await open();
  const put = { type: "put", key: "a", value: Buffer.from("1") } as const;
  await database.submit({ build: () => [put] }, true);
  await database.close();
  await (await open()).close(); // what was in the log is in a table now
  rmSync(join(path, "CURRENT"));
  const copy = join(dir, "copy");
  cpSync(path, copy, { recursive: true });
  const level = new Level(copy);
  await level.open();
  expect(await level.keys().all()).not.toContain("a"); // the trap is real
  await level.close();

  database = await open();
  expect(Buffer.from((await database.get("a")) ?? []).toString()).toBe("1");
  expect(database.notes[0]).toMatch(/repaired/);
  await database.close();
  expect(readdirSync(dir).some((file) => file.startsWith("store.damaged-"))).toBe(true);
});

test("PHX-9 the repair trap: LevelDB's own repair makes a look-up answer with an older value, where a merge had written that anew", async () => {
  const at = async (work: (level: Level) => Promise<void>) => {
    const level = new Level(path);
    await level.open();
    await work(level);
    await level.close();
  };
  const merge = (level: Level, from: string, to: string): Promise<void> =>
    (Reflect.get(level, "compactRange") as (from: string, to: string) => Promise<void>).call(level, from, to);
  await at(async (level) => {
    await level.put("b", "1");
    await level.put("risk", "older");
    await merge(level, "a", "z");
  });
  await at((level) => level.put("risk", "newer"));
  await at((level) => level.put("b", "2"));
  // A merge in which the newest row of `risk` has no part.
  await at((level) => merge(level, "b", "c"));
  rmSync(join(path, "CURRENT"));
  const copy = join(dir, "copy");
  cpSync(path, copy, { recursive: true });
  await (Reflect.get(Level, "repair") as (path: string) => Promise<void>).call(Level, copy);
  const bare = new Level(copy);
  expect(await bare.get("risk")).toBe("older"); // so it is a trap
  await bare.close();
  await repairIn(path);
  await at(async (level) => expect(await level.get("risk")).toBe("newer"));
});
