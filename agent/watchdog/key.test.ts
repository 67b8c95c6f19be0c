import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { keyFor } from "./key.ts";

const rounds = 150;
const racers = 2;

/** Begins each round with the others, and prints the names that it got. */
const racer = `
const [dir, rounds, fromMs, path] = process.argv.slice(1);
import(path).then(({ keyFor }) => {
  for (let round = 0; round < rounds; round += 1) {
    while (Date.now() < Number(fromMs) + 6 * round);
    console.log(keyFor(dir + "/" + round)?.name ?? "none");
  }
});
`;

test("several that make the key of a new data directory at once all get the same: one got none, and left with 1", async () => {
  const dir = mkdtempSync(join(tmpdir(), "bf-key-"));
  try {
    for (let round = 0; round < rounds; round += 1) mkdirSync(join(dir, String(round)));
    const words = [dir, String(rounds), String(Date.now() + 1000), join(import.meta.dirname, "key.ts")];
    const race = () => promisify(execFile)(process.execPath, ["-e", racer, ...words]);
    const told = await Promise.all(Array.from({ length: racers }, race));
    const names = told.map(({ stdout }) => stdout.trim().split("\n"));
    const kept = Array.from({ length: rounds }, (_, round) => keyFor(join(dir, String(round)))?.name);
    for (const got of names) expect(got).toEqual(kept);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
