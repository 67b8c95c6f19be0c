import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isFault } from "../../errors/fault.ts";
import { realClock } from "../../time/real-clock.driver.ts";
import { VirtualClock } from "../../time/virtual-clock.ts";
import { openDatabase } from "./open-database.ts";
import { type Compacted, Space } from "./space.ts";

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-space-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));
async function until(what: string, holds: () => boolean): Promise<void> {
  for (let n = 0; n < 2000 && !holds(); n++) await pause(5);
  expect(holds(), what).toBe(true);
}

test("readings were refused for space that deleted records still took", async () => {
  const done: Compacted[] = [];
  const bytesMax = 6 * 1024 * 1024;
  const options = { clock: realClock(), bytesMax, onCompacted: (one: Compacted) => void done.push(one) };
  const database = await openDatabase(join(dir, "store"), options);
  const keys = Array.from({ length: 140 }, (_, n) => `k${n}`);
  const value = crypto.getRandomValues(new Uint8Array(64 * 1024));
  for (const key of keys) await database.submit({ build: () => [{ type: "put", key, value }] }, false);
  await database.submit({ build: () => keys.map((key) => ({ type: "del", key }) as const) }, true);
  const reading = { build: () => [{ type: "put", key: "r", value: Buffer.from("v") } as const] };
  await database.submit(reading, "spare");
  await until("the files are merged", () => done.length > 0);
  expect(done[0]?.beforeBytes).toBeGreaterThan(bytesMax);
  expect(done[0]?.afterBytes).toBeLessThan(bytesMax / 4);
  await database.submit(reading, "spare");
  await database.close();
  expect(done).toHaveLength(1);
});

test("files that hold what must be kept are merged once, then not for six hours, and what can be spared is refused", async () => {
  writeFileSync(join(dir, "1.ldb"), Buffer.alloc(1000));
  const clock = new VirtualClock();
  let merges = 0;
  const compact = async () => void merges++;
  const space = new Space({ path: dir, clock, bytesMax: 900, compact });
  expect(space.low()).toBeUndefined();
  await until("it is low", () => space.low() !== undefined);
  for (let n = 0; n < 20; n++) {
    clock.advance(60_000);
    space.low();
    await pause(5);
  }
  expect(merges).toBe(1);
  clock.advance(6 * 3_600_000);
  space.low();
  await until("another try", () => merges === 2);
  await space.close();
});

test("after a merge behind which the disk could not be looked at, files were never merged again", async () => {
  const path = join(dir, "store");
  const make = () => {
    mkdirSync(path);
    writeFileSync(join(path, "1.ldb"), Buffer.alloc(1000));
  };
  make();
  const clock = new VirtualClock();
  let merges = 0;
  const compact = async () => {
    if (++merges === 1) rmSync(path, { recursive: true });
  };
  const space = new Space({ path, clock, bytesMax: 900, compact });
  space.low();
  await until("it was merged", () => merges === 1);
  await pause(50); // and looked for the folder
  make();
  await until("another try", () => {
    clock.advance(3_600_000);
    space.low();
    return merges === 2;
  });
  await space.close();
});

test("a merge that fails says so, and harms nobody", async () => {
  writeFileSync(join(dir, "1.ldb"), Buffer.alloc(1000));
  const done: Compacted[] = [];
  const space = new Space({
    path: dir,
    clock: new VirtualClock(),
    bytesMax: 1000,
    compact: () => Promise.reject(new Error("no room")),
    onCompacted: (one) => void done.push(one),
  });
  space.low();
  await until("it failed", () => done.length === 1);
  expect(done[0]).toMatchObject({ failed: "no room", beforeBytes: 1000, afterBytes: 1000 });
  expect(isFault(space.low())).toBe(false);
  await space.close();
});
