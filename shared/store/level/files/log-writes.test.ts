import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Level } from "level";
import { afterEach, beforeEach, expect, test } from "vitest";
import { logWrites } from "./log-writes.ts";

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-log-writes-"));
  path = join(dir, "killed");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** A store whose tables hold the first life and whose log the second, as a kill leaves it. */
async function killed(): Promise<void> {
  const live = join(dir, "live");
  for (const life of [1, 2]) {
    const level = new Level<string, string>(live);
    await level.put("a", `${life}`);
    await level.batch([
      { type: "put", key: `b${life}`, value: "o".repeat(70_000) },
      { type: "del", key: "gone" },
    ]);
    await level.put("ü\0c", `${life}`);
    if (life === 2) cpSync(live, path, { recursive: true });
    await level.close();
  }
}
const shown = () =>
  logWrites(path)?.map((write) =>
    write.type === "del" ? `-${write.key}` : `${write.key}=${Buffer.from(write.value).toString().slice(0, 3)}`,
  );
const log = () => join(path, readdirSync(path).find((file) => file.endsWith(".log")) ?? "");

test("it is what was written since the tables, in order, batches and long values too", async () => {
  await killed();
  expect(shown()).toEqual(["a=2", "b2=ooo", "-gone", "ü\0c=2"]);
});

test("it ends before the first byte that is damaged, and at a torn end", async () => {
  await killed();
  const bytes = readFileSync(log());
  const damaged = Buffer.from(bytes);
  damaged[bytes.length - 3] = (damaged[bytes.length - 3] ?? 0) ^ 1;
  writeFileSync(log(), damaged);
  expect(shown()).toEqual(["a=2", "b2=ooo", "-gone"]);
  damaged[40_000] = (damaged[40_000] ?? 0) ^ 1;
  writeFileSync(log(), damaged);
  expect(shown()).toEqual(["a=2"]);
  writeFileSync(log(), bytes.subarray(0, bytes.length - 3));
  expect(shown()).toEqual(["a=2", "b2=ooo", "-gone"]);
});

test("without a manifest that can be read nobody knows which logs are the newest", async () => {
  await killed();
  rmSync(join(path, "CURRENT"));
  expect(shown()).toBeUndefined();
});
