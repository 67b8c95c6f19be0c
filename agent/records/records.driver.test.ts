import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type AlertFile, Alerts } from "./alerts.driver.ts";
import { PartLog } from "./part-log.driver.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-records-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const alert = (over: Partial<AlertFile> = {}): AlertFile => ({
  kind: "opened",
  severity: "high",
  page: false,
  because: "crash: ended by SIGKILL",
  nodeId: "n1",
  workload: "engine",
  incidentId: "0190-abcdef",
  wallMs: Date.parse("2026-11-25T10:00:00Z"),
  ...over,
});

test("GRC-8 an alert is a JSON file that only its owner can read", async () => {
  const alerts = new Alerts(join(dir, "alerts"), []);
  alerts.raise(alert());
  await alerts.close();
  const [file = ""] = readdirSync(join(dir, "alerts"));
  expect(JSON.parse(readFileSync(join(dir, "alerts", file), "utf8"))).toMatchObject({
    at: "2026-11-25T10:00:00.000Z",
    kind: "opened",
    workload: "engine",
    because: "crash: ended by SIGKILL",
  });
  expect(statSync(join(dir, "alerts", file)).mode & 0o777).toBe(0o600);
});

test("only the newest 500 alerts are kept", async () => {
  const alerts = new Alerts(dir, []);
  for (let n = 0; n < 499; n++)
    writeFileSync(join(dir, `2020-01-01T00-00-00-${String(n).padStart(3, "0")}Z.json`), "{}");
  for (let n = 0; n < 5; n++) alerts.raise(alert({ wallMs: n * 1000 + Date.parse("2026-01-01T00:00:00Z") }));
  await alerts.close();
  const files = readdirSync(dir);
  expect(files).toHaveLength(500);
  expect(files.filter((file) => file.startsWith("2026"))).toHaveLength(5);
});

test("a page runs the pager with the file's path as its last argument", async () => {
  const out = join(dir, "paged");
  const script = `require("node:fs").writeFileSync(${JSON.stringify(out)}, process.argv[2] + " " + process.argv[3])`;
  const alerts = new Alerts(join(dir, "alerts"), [process.execPath, "-e", script, "--", "oncall"]);
  alerts.raise(alert({ kind: "needs_person", page: true }));
  await alerts.close();
  let paged = "";
  for (let n = 0; n < 400 && paged === ""; n++) {
    await pause(25);
    try {
      paged = readFileSync(out, "utf8");
    } catch {
      // not yet
    }
  }
  expect(paged).toMatch(/needs_person-engine/);
});

test("GRC-8 a disk that took no file kept the page back: its own fault was never told", async () => {
  const out = join(dir, "paged");
  const script = `const fs = require("node:fs"); fs.writeFileSync(${JSON.stringify(out)}, process.argv[1] + "\\n" + fs.readFileSync(process.argv[1]))`;
  writeFileSync(join(dir, "alerts"), "");
  const alerts = new Alerts(join(dir, "alerts"), [process.execPath, "-e", script, "--"]);
  let told = 0;
  alerts.raise(alert({ page: true, because: "the disk is full" }), () => (told += 1));
  await alerts.close();
  await expect
    .poll(() => existsSync(out) && readFileSync(out, "utf8"), { timeout: 20_000 })
    .toContain("the disk is full");
  expect(told).toBe(0); // its file is owed still
  const [path = ""] = readFileSync(out, "utf8").split("\n");
  await expect.poll(() => existsSync(dirname(path)), { timeout: 20_000 }).toBe(false);
});

test("GRC-8 a clock that is behind made the newest alert the oldest of 500: it was removed as it was written", async () => {
  for (let n = 0; n < 500; n++)
    writeFileSync(join(dir, `2026-01-01T00-00-00-${String(n).padStart(3, "0")}Z.json`), "{}");
  const alerts = new Alerts(dir, []);
  alerts.raise(alert({ wallMs: Date.parse("1970-01-01T00:01:00Z") }));
  await alerts.close();
  expect(readdirSync(dir).filter((file) => file.startsWith("1970"))).toHaveLength(1);
  expect(readdirSync(dir)).toHaveLength(500);
});

test("GRC-8 an alert that could not be written left its half behind, and two of one moment were one file", async () => {
  const taken = join(dir, "2026-11-25T10-00-00-000Z-opened-engine-abcdef.json");
  mkdirSync(join(taken, "x"), { recursive: true });
  const alerts = new Alerts(dir, []);
  alerts.raise(alert());
  for (const because of ["cpu", "memory"]) alerts.raise(alert({ kind: "told", incidentId: "", because }));
  await alerts.close();
  const files = readdirSync(dir);
  expect(files.filter((file) => file.endsWith(".new"))).toEqual([]);
  expect(files.filter((file) => file.includes("-told-"))).toHaveLength(2);
});

test("a disk that refuses holds nobody up", async () => {
  writeFileSync(join(dir, "file"), "");
  const alerts = new Alerts(join(dir, "file", "alerts"), []);
  alerts.raise(alert());
  await alerts.close();
  const log = new PartLog(join(dir, "file"), "phoenix");
  log.write(0, { a: 1 });
  await log.close();
});

test("SYN-8 a part's log is JSON lines in order, rotated at its bound, three old ones at most", async () => {
  const logs = join(dir, "logs");
  mkdirSync(logs);
  writeFileSync(join(logs, "incidents.log"), "x".repeat(10 * 1024 * 1024));
  for (const n of [1, 2, 3]) writeFileSync(join(logs, `incidents.log.${n}`), String(n));
  const log = new PartLog(dir, "incidents");
  for (let n = 0; n < 3; n++) log.write(n, { incident: "i1", revision: n });
  await log.close();
  const lines = readFileSync(join(logs, "incidents.log"), "utf8").trim().split("\n");
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    { part: "incidents", revision: 0, time: "1970-01-01T00:00:00.000Z" },
    { revision: 1 },
    { revision: 2 },
  ]);
  expect(readFileSync(join(logs, "incidents.log.2"), "utf8")).toBe("1");
  expect(readFileSync(join(logs, "incidents.log.3"), "utf8")).toBe("2");
  expect(readdirSync(logs)).toHaveLength(4);
});
