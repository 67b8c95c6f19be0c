import { type ChildProcess, spawn } from "node:child_process";
import { appendFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import fc from "fast-check";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { bundled } from "../../test/support/bundle.ts";
import { Outputs } from "../supervise/output.driver.ts";
import { follow, lastLines, workloadsWithOutput } from "./tail.driver.ts";

let program: string;
let dir: string;
let folder: string;
let current: string;
let children: ChildProcess[];

beforeAll(async () => {
  program = await bundled("test/support/agent-cli.main.ts");
});

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-tail-"));
  folder = join(dir, "logs", "workloads");
  mkdirSync(folder, { recursive: true });
  current = join(folder, "firewall.log");
  children = [];
});

afterEach(() => {
  for (const child of children) child.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

/** Follows from the end as it is now; `stop` returns what was handed out. */
async function following() {
  const { end } = await lastLines(folder, "firewall", 0);
  const lines: string[] = [];
  let lost = 0;
  const sink = { line: (line: string) => void lines.push(line), lost: () => void lost++ };
  const controller = new AbortController();
  const running = follow(folder, "firewall", end, sink, controller.signal);
  return {
    lines,
    lost: () => lost,
    async seen(count: number) {
      for (let tries = 0; lines.length < count; tries += 1) {
        if (tries > 500) throw new Error(`saw ${lines.length} of ${count} lines in 5 s: ${lines.slice(-3)}`);
        await pause(10);
      }
    },
    async stop() {
      controller.abort();
      await running;
    },
  };
}

function write(from: number, to: number): void {
  for (let n = from; n < to; n += 1) appendFileSync(current, `line ${n}\n`);
}

function named(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, n) => `line ${from + n}`);
}

test("the last lines reach back over rotated files, whatever the lengths", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.array(
          fc.string({ maxLength: 30 }).map((text) => text.replaceAll("\n", "")),
          { maxLength: 12 },
        ),
        { minLength: 1, maxLength: 4 },
      ),
      fc.nat(40),
      async (files, count) => {
        rmSync(folder, { recursive: true });
        mkdirSync(folder);
        for (const [n, lines] of files.entries()) {
          writeFileSync(n === 0 ? current : `${current}.${n}`, lines.map((line) => `${line}\n`).join(""));
        }
        const all = files.toReversed().flat();
        expect((await lastLines(folder, "firewall", count)).lines).toEqual(count === 0 ? [] : all.slice(-count));
      },
    ),
    { numRuns: 100 },
  );
});

test("the last lines of a large file are found without reading all of it, a line without its end included", async () => {
  writeFileSync(current, `${"x".repeat(200_000)}\n`.repeat(3));
  appendFileSync(current, "last, not ended");
  const { lines } = await lastLines(folder, "firewall", 2);
  expect(lines.map((line) => line.length)).toEqual([200_000, 15]);
});

test("follow goes over the agent's own rotation by copy and truncate, and shows each line once", async () => {
  const outputs = new Outputs(folder);
  write(0, 10);
  const tail = await following();
  write(10, 20);
  await tail.seen(10);
  write(20, 30);
  await outputs.rotate("firewall", 1, 3); // what was written before it is only in the rotated file
  write(30, 40);
  await tail.seen(30);
  await outputs.rotate("firewall", 1, 3);
  write(40, 45);
  await outputs.rotate("firewall", 1, 3); // twice between two looks
  write(45, 60);
  await tail.seen(50);
  await tail.stop();
  expect(tail.lines).toEqual(named(10, 60));
  expect(tail.lost()).toBe(0);
});

test("follow sees a rotation even where the new file is longer than the old one was", async () => {
  const outputs = new Outputs(folder);
  write(0, 3);
  const tail = await following();
  write(3, 5);
  await tail.seen(2);
  await outputs.rotate("firewall", 1, 3);
  write(1000, 1200);
  await tail.seen(202);
  await tail.stop();
  expect(tail.lines).toEqual([...named(3, 5), ...named(1000, 1200)]);
});

test("follow goes over a rotation by rename, and waits for a file that is not there yet", async () => {
  const tail = await following();
  write(0, 5);
  await tail.seen(5);
  renameSync(current, `${current}.1`);
  appendFileSync(`${current}.1`, "line 5\n"); // its writer still has it open
  await pause(300);
  write(6, 10);
  await tail.seen(10);
  await tail.stop();
  expect(tail.lines).toEqual(named(0, 10));
});

test("follow says when lines were rotated away before it could read them", async () => {
  write(0, 5);
  const tail = await following();
  write(5, 6);
  await tail.seen(1);
  writeFileSync(current, ""); // no rotated file is kept
  write(7, 9);
  await tail.seen(3);
  await tail.stop();
  expect(tail.lines).toEqual(["line 5", "line 7", "line 8"]);
  expect(tail.lost()).toBe(1);
});

test("output without line breaks is handed out in pieces instead of being kept in memory", async () => {
  const tail = await following();
  appendFileSync(current, "y".repeat(300_000));
  await tail.seen(4);
  await tail.stop();
  expect(tail.lines.every((line) => line.length <= 2 * 64 * 1024)).toBe(true);
});

test("characters that are cut by a read come out whole", async () => {
  const tail = await following();
  const line = "é".repeat(40_000);
  appendFileSync(current, Buffer.from(`x${line}\n`));
  await tail.seen(1);
  await tail.stop();
  expect(tail.lines).toEqual([`x${line}`]);
});

test("output that cannot be read is an error by name, not an empty log", async () => {
  symlinkSync(current, current); // a loop: permissions would not stop root
  await expect(lastLines(folder, "firewall", 3)).rejects.toMatchObject({ code: "DATA_DIR_UNUSABLE" });
});

test("the folder tells which workloads have output", async () => {
  for (const file of ["b.log", "a.log", "a.log.1", "notes.txt"]) writeFileSync(join(folder, file), "");
  expect(await workloadsWithOutput(folder)).toEqual(["a", "b"]);
  expect(await workloadsWithOutput(join(folder, "none"))).toEqual([]);
});

test("GRC-9 logs -f works with the agent down, over a rotation, and ends with 130 on Ctrl-C", async () => {
  write(0, 100);
  const env = { ...process.env, NO_COLOR: "1" };
  const child = spawn(process.execPath, [program, "logs", "-f", "-n", "3", "--data-dir", dir], { env });
  children.push(child);
  let out = "";
  child.stdout.on("data", (chunk) => {
    out += chunk;
  });
  const ended = new Promise((resolve) => child.once("close", resolve));
  const shows = async (line: string) => {
    for (let tries = 0; !out.includes(`${line}\n`); tries += 1) {
      if (tries > 500) throw new Error(`no '${line}' in 5 s`);
      await pause(10);
    }
  };
  await shows("line 99");
  write(100, 110);
  await new Outputs(folder).rotate("firewall", 1, 3);
  write(110, 115);
  await shows("line 114");
  child.kill("SIGINT");
  expect(await ended).toBe(130);
  expect(out.trimEnd().split("\n")).toEqual(named(97, 115));
});
