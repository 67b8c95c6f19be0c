import { execFileSync, spawnSync } from "node:child_process";
import {
  appendFileSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Place } from "../meta/places.ts";
import { documentBytesMax, readText, tailOf } from "./bounded-file.driver.ts";
import { FileDesk } from "./file-desk.driver.ts";
import { jsonPage } from "./json-page.driver.ts";
import { OutputWatch } from "./output-watch.driver.ts";
import { lineCounter } from "./pattern.driver.ts";
import { PlaceReader } from "./places.driver.ts";
import { portAccepts } from "./port.driver.ts";

let dir: string;
let file: string;
let servers: Server[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-places-"));
  file = join(dir, "data.json");
  servers = [];
});
afterEach(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  rmSync(dir, { recursive: true, force: true });
});

const place = (over: Partial<Place> = {}): Place => ({ file, url: "", fields: [], lines: false, ...over });

async function serve(answer: RequestListener): Promise<string> {
  const server: Server = createServer(answer);
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  servers.push(server);
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/data`;
}

test("DOL-10 a real file is seen by its modification time, when it is replaced and when it is away", async () => {
  const reader = new PlaceReader();
  expect(await reader.look(place(), 1000)).toEqual({ reached: false, because: "it is not there" });
  writeFileSync(file, "{}");
  utimesSync(file, 1_700_000_000, 1_700_000_000);
  expect(await reader.look(place(), 1000)).toEqual({ reached: true, writtenWallMs: 1_700_000_000_000, fields: {} });
  writeFileSync(join(dir, "next"), "{}");
  utimesSync(join(dir, "next"), 1_600_000_000, 1_600_000_000);
  renameSync(join(dir, "next"), file);
  expect(await reader.look(place(), 1000)).toMatchObject({ writtenWallMs: 1_600_000_000_000 });
  rmSync(file);
  symlinkSync(file, file);
  expect(await reader.look(place(), 1000)).toEqual({ reached: false, because: "ELOOP" });
});

test("fields of a real JSON file are read, and read again only when it has changed", async () => {
  const reader = new PlaceReader();
  const wants = place({ fields: ["engine.at", "bars", "none"] });
  writeFileSync(file, JSON.stringify({ engine: { at: 5 }, bars: [1, 2] }));
  expect(await reader.look(wants, 1000)).toMatchObject({
    fields: { "engine.at": { is: "value", value: 5 }, bars: { is: "list", items: 2 }, none: { is: "absent" } },
  });
  writeFileSync(file, JSON.stringify({ engine: { at: 66 }, bars: [1, 2] }));
  expect(await reader.look(wants, 1000)).toMatchObject({ fields: { "engine.at": { is: "value", value: 66 } } });
  writeFileSync(file, '{"engine":');
  expect(await reader.look(wants, 1000)).toMatchObject({ problem: { is: "broken", because: "it is no JSON" } });
  writeFileSync(file, JSON.stringify({ engine: { at: 7 } }));
  expect(await reader.look(wants, 1000)).toMatchObject({ fields: { "engine.at": { is: "value", value: 7 } } });
});

test("a document beyond a MiB is refused and says so; one of a MiB is read", async () => {
  const text = (bytes: number) => `"${"x".repeat(bytes - 2)}"`;
  writeFileSync(file, text(documentBytesMax));
  expect((await readText(file)).length).toBe(documentBytesMax);
  writeFileSync(file, text(documentBytesMax + 1));
  expect(await new PlaceReader().look(place({ fields: ["a"] }), 1000)).toMatchObject({
    reached: true,
    problem: { is: "unread", because: `it has ${documentBytesMax + 1} bytes, at most ${documentBytesMax} are read` },
  });
});

test("DOL-9 a pipe that nobody writes to, a folder and a device are no files, and nothing waits for them", async () => {
  const pipe = join(dir, "pipe");
  execFileSync("mkfifo", [pipe]);
  const looks = await Promise.all(
    [pipe, dir, "/dev/zero"].map((path) => new PlaceReader().look(place({ file: path, fields: ["a"] }), 5000)),
  );
  for (const seen of looks) expect(seen).toMatchObject({ problem: { is: "unread" } });
  expect(looks[0]).toMatchObject({ problem: { because: "it is no regular file" } });
  expect(await tailOf(pipe)).toBe("");
});

test("lines of a real file are counted as it grows, is rotated and is replaced", async () => {
  const reader = new PlaceReader();
  const lines = async () => {
    const seen = await reader.look(place({ lines: true }), 1000);
    return seen.reached ? seen.lines : undefined;
  };
  writeFileSync(file, "one\ntwo\n");
  expect(await lines()).toBe(0);
  appendFileSync(file, "half");
  expect(await lines()).toBe(0);
  appendFileSync(file, " line\nthree\n");
  expect(await lines()).toBe(2);
  truncateSync(file, 0);
  appendFileSync(file, "four\n");
  expect(await lines()).toBe(3);
  writeFileSync(join(dir, "next"), "a\nb\nc\nd\ne\nf\ng\n");
  renameSync(join(dir, "next"), file);
  expect(await lines()).toBe(10);
});

test("a page is read whole within its deadline, whatever its status", async () => {
  const url = await serve((request, response) => {
    if (request.headers["user-agent"] !== "blueflame-sensor") response.destroy();
    response.statusCode = 503;
    response.end('{"engine":{"at":"2026-01-01T00:00:00Z"}}');
  });
  expect(await new PlaceReader().look(place({ file: "", url, fields: ["engine.at"] }), 2000)).toEqual({
    reached: true,
    fields: { "engine.at": { is: "value", value: "2026-01-01T00:00:00Z" } },
    unwell: "HTTP 503",
  });
});

test.each([
  ["drips a byte at a time", "no answer within 300 ms"],
  ["says nothing", "no answer within 300 ms"],
  ["floods", "the answer has more than 1048576 bytes"],
  ["speaks no JSON", "HTTP 200, and the answer is no JSON"],
  ["hangs up", "socket hang up"],
])("a server that %s is given up: %s", async (how, because) => {
  const url = await serve((_request, response) => {
    if (how.startsWith("speaks")) response.end("<html>");
    if (how.startsWith("hangs")) response.destroy();
    if (how.startsWith("floods")) for (let n = 0; n < 40; n += 1) response.write("x".repeat(65_536));
    if (how.startsWith("drips")) {
      const timer = setInterval(() => response.write(" "), 20);
      response.on("close", () => clearInterval(timer));
    }
  });
  await expect(jsonPage(url, how.startsWith("drips") || how.startsWith("says") ? 300 : 10_000)).rejects.toThrow(
    because,
  );
});

test("DOL-1 M4 a real port accepts, refuses, or is silent within its deadline", async () => {
  const server = createTcpServer(() => undefined);
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  expect(await portAccepts("127.0.0.1", port, 2000)).toEqual({ value: 1, because: "" });
  await new Promise((closed) => server.close(closed));
  expect(await portAccepts("127.0.0.1", port, 2000)).toEqual({
    value: 0,
    because: expect.stringContaining("ECONNREFUSED"),
  });
});

test("output is measured and its error lines are counted, over a rotation too; what lay there before is not new", async () => {
  const nowMs = 1_000_000;
  const troubled: string[] = [];
  const output = new OutputWatch(
    () => nowMs,
    (workload) => troubled.push(workload),
  );
  const look = () => output.look("w", file, "error|fatal", 2000);
  expect(await look()).toBeUndefined();
  writeFileSync(file, "ERROR before\n");
  expect(await look()).toEqual({ grownBytes: 0, errorLines: 0, newErrorLines: 0 });
  appendFileSync(file, "fine\nAn Error here\nhalf of a fat");
  expect(await look()).toEqual({ grownBytes: 32, errorLines: 1, newErrorLines: 1 });
  appendFileSync(file, "al line\n");
  expect(await look()).toEqual({ grownBytes: 8, errorLines: 2, newErrorLines: 1 });
  truncateSync(file, 0);
  appendFileSync(file, "error\n");
  expect(await look()).toEqual({ grownBytes: 6, errorLines: 3, newErrorLines: 1 });
  // Of a flood the newest 64 KiB are looked through.
  appendFileSync(file, "error\n".repeat(100_000));
  const flood = await look();
  expect(flood?.grownBytes).toBe(600_000);
  expect(flood?.errorLines).toBeLessThan(11_000);
  expect(flood?.errorLines).toBeGreaterThan(10_000);
  output.forget("w");
  expect(await look()).toEqual({ grownBytes: 0, errorLines: 0, newErrorLines: 0 });
  expect(troubled).toEqual([]);
});

test("DOL-9 output on a disk that hangs is not known, and is waited for no longer than asked", async () => {
  const dead = new FileDesk({ clock: realClock(), max: 4, perDiskMax: 2, stat: () => new Promise(() => undefined) });
  const output = new OutputWatch(
    () => 0,
    () => undefined,
    dead,
  );
  writeFileSync(file, "error\n");
  const looks = Array.from({ length: 50 }, (_, n) => output.look(`w${n}`, `${file}.${n}`, "error", 200));
  expect(await Promise.all(looks)).toEqual(Array(50).fill(undefined));
  expect(dead.underWay).toBeLessThanOrEqual(2);
});

test("output that lies on no local disk is measured through the desk all the same", async () => {
  const output = new OutputWatch(
    () => 0,
    () => undefined,
  );
  const look = () => output.look("w", "/proc/self/status", "threads", 2000);
  // A file of the kernel: there, not local, and of size 0 whatever it holds.
  expect(await look()).toEqual({ grownBytes: 0, errorLines: 0, newErrorLines: 0 });
  expect(await look()).toEqual({ grownBytes: 0, errorLines: 0, newErrorLines: 0 });
});

test("an error pattern that runs wild is given up and told, and the output is measured all the same", async () => {
  const troubled: string[] = [];
  const output = new OutputWatch(
    () => 0,
    (workload, because) => troubled.push(`${workload}: ${because}`),
  );
  const look = () => output.look("w", file, "(a+)+$", 5000);
  writeFileSync(file, "");
  await look();
  appendFileSync(file, `${"a".repeat(200)}b\n`);
  expect(await look()).toEqual({ grownBytes: 202, errorLines: 0, newErrorLines: 0 });
  appendFileSync(file, `${"a".repeat(200)}b\n`);
  expect(await look()).toEqual({ grownBytes: 202, errorLines: 0, newErrorLines: 0 });
  expect(troubled).toEqual(["w: its error pattern takes too long on its output and is not used any more"]);
  expect(lineCounter("x{2,}")(["xx", "XX", "x"])).toBe(2);
});

test("the tail of a file is its last whole lines", async () => {
  expect(await tailOf(join(dir, "none"))).toBe("");
  writeFileSync(file, "one\ntwo\nthree\n");
  expect(await tailOf(file)).toBe("one\ntwo\nthree\n");
  expect(await tailOf(file, 8)).toBe("three\n");
  expect(await tailOf(file, 3)).toBe("");
});

test("DOL-4 an agent without a free descriptor took its own want for a document that cannot be read: fresh sources grew stale", () => {
  writeFileSync(file, "{}");
  const program = `
    const { PlaceReader } = await import(process.argv[1]);
    const { openSync } = await import("node:fs");
    const reader = new PlaceReader();
    const place = { file: process.argv[2], url: "", fields: ["at"], lines: false };
    await reader.look({ ...place, file: "/dev/null" }, 5000); // all code is loaded
    try { for (;;) openSync("/dev/null"); } catch {}
    console.log(JSON.stringify(await reader.look(place, 5000)));
  `;
  const reader = join(import.meta.dirname, "places.driver.ts");
  const limited = `ulimit -n 64; exec "$0" --input-type=module -e "$1" "$2" "$3"`;
  const run = spawnSync("/bin/sh", ["-c", limited, process.execPath, program, reader, file], { encoding: "utf8" });
  expect(JSON.parse(run.stdout || "{}"), run.stderr).toMatchObject({ reached: false, unasked: true });
});
