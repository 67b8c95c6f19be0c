import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { signalIfThere } from "../../deploy/running.ts";
import { Pager } from "./pager.driver.ts";

let dir: string;
let said: string[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-pager-"));
  said = [];
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** A pager that is a program of the shell; `$1` is the file. It runs in no folder of its own, so it is told where to write. */
function pagerOf(program: string, triesAfterMs: readonly number[] = [1, 1]): Pager {
  const script = join(dir, "script");
  writeFileSync(script, `#!/bin/sh\ncd ${dir}\n${program}\n`, { mode: 0o755 });
  return new Pager([script], (because) => said.push(because), triesAfterMs);
}
const called = () =>
  existsSync(join(dir, "called")) ? readFileSync(join(dir, "called"), "utf8").trim().split("\n") : [];
const soon = { timeout: 20_000 };

test("GRC-8 a pager that failed once was never run again: nobody was called", async () => {
  let over = 0;
  pagerOf(`echo "$1" >> called; test "$(wc -l < called)" -ge 3`).page("/a.json", () => (over += 1));
  await expect.poll(() => over, soon).toBe(1);
  expect(called()).toEqual(["/a.json", "/a.json", "/a.json"]);
  expect(said).toEqual(Array(2).fill("the pager has not taken /a.json: exit code 1; it is tried again in 0.001 s"));
});

test("a pager that always fails, or is not there, is run three times, and then its page is over", async () => {
  let over = 0;
  pagerOf(`echo "$1" >> called; kill -9 $$`).page("/a.json", () => (over += 1));
  await expect.poll(() => over, soon).toBe(1);
  expect(called()).toHaveLength(3);
  expect(said.at(-1)).toBe("the pager has not taken /a.json: ended by SIGKILL; it is not tried again");
  new Pager([join(dir, "nothing")], (because) => said.push(because), []).page("/b.json", () => (over += 1));
  await expect.poll(() => over, soon).toBe(2);
  expect(said.at(-1)).toBe("the pager has not taken /b.json: it could not be started (ENOENT); it is not tried again");
});

test("GRC-8 the fifth page of a moment called nobody: four pagers were at work", async () => {
  const pager = pagerOf(`while ! test -e go; do sleep 0.02; done; echo "$1" >> called`);
  let over = 0;
  for (let n = 1; n <= 70; n++) pager.page(`/${n}.json`, () => (over += 1));
  // The bound: 64 are under way, and nothing has ended yet.
  expect(over).toBe(6);
  expect(said).toHaveLength(6);
  expect(said[0]).toBe("64 pages are under way already: this one is the file /65.json only");
  writeFileSync(join(dir, "go"), "");
  await expect.poll(() => over, soon).toBe(70);
  expect(
    called()
      .map((line) => Number.parseInt(line.slice(1), 10))
      .sort((a, b) => a - b),
  ).toEqual(Array.from({ length: 64 }, (_, n) => n + 1));
});

test("a pager that printed more than a mebibyte was ended midway, and one that left a process behind kept its place", async () => {
  let over = 0;
  const pager = pagerOf(`sleep 60 & echo $! >> pids; head -c 2000000 /dev/zero; echo "$1" >> called`);
  for (let n = 1; n <= 5; n++) pager.page(`/${n}.json`, () => (over += 1));
  await expect.poll(() => over, soon).toBe(5);
  expect(called()).toHaveLength(5);
  expect(said).toEqual([]);
  for (const pid of readFileSync(join(dir, "pids"), "utf8").trim().split("\n")) signalIfThere(Number(pid), "SIGKILL");
});
