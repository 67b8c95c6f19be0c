import { spawn } from "node:child_process";
import {
  chmodSync,
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
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { emergency } from "./emergency.ts";
import { alone } from "./lock.ts";
import { asked, Log, page, printed, type Report } from "./report.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-report-"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(dir, { recursive: true, force: true });
});

const report: Report = {
  first: [{ part: "store", state: "broken", saw: "it looks bad" }],
  verdicts: [
    { part: "store", state: "broken", saw: "it is \u001b[31mgone" },
    { part: "agent", state: "well", saw: "pid 1" },
  ],
  troubles: [{ code: "STORE_MISSING", because: "it is gone", commands: ["# then", "bf store restore"] }],
  done: [{ step: { do: "mendStore" }, ok: false, because: "no snapshot" }],
  would: [],
};
const alerts = () => readdirSync(join(dir, "alerts"));
const paged = (triesAfterMs: readonly number[] = []) => page(dir, true, report, () => undefined, triesAfterMs);

test("a verdict per part in a table or as data; control characters of what was found reach no terminal", () => {
  expect(printed(report, "table")).toBe("PART   STATE   FOUND\nstore  broken  it is  [31mgone\nagent  well    pid 1\n");
  expect(JSON.parse(printed(report, "json"))).toMatchObject({
    outcome: "broken",
    found: [{ part: "store" }],
    steps: [{ step: "mendStore", ok: false }],
  });
  expect(printed(report, "jsonl").trim().split("\n")).toHaveLength(2);
  expect(asked(report)).toBe("[STORE_MISSING] it is gone.\n  # then\n  bf store restore\n");
});

test("SYN-5 a person is paged by a file that only its owner reads, and the oldest of a hundred goes", async () => {
  expect(await paged()).toEqual([]);
  const [name = ""] = alerts();
  expect(name).toMatch(/^\d{4}-\d\d-\d\dT[\d.-]+Z-emergency\.json$/);
  expect(statSync(join(dir, "alerts", name)).mode & 0o777).toBe(0o600);
  expect(JSON.parse(readFileSync(join(dir, "alerts", name), "utf8"))).toMatchObject({
    by: "itself",
    severity: "critical",
    said: "the node needs a person; its agent guards the workloads meanwhile",
    verdicts: [{ part: "store" }],
    troubles: [{ code: "STORE_MISSING" }],
  });
  for (let at = 0; at < 110; at++)
    writeFileSync(join(dir, "alerts", `2020-01-01T00-00-00.${String(at).padStart(3, "0")}Z-emergency.json`), "{}");
  writeFileSync(join(dir, "alerts", "of-another-part.json"), "{}");
  await paged();
  expect(alerts().filter((one) => one.endsWith("-emergency.json"))).toHaveLength(100);
  expect(alerts()).toContain(name);
  expect(alerts()).toContain("of-another-part.json");
});

test("SYN-5 the pager is run by its words, never by a shell, and is given the page", async () => {
  const out = join(dir, "out");
  vi.stubEnv("BLUEFLAME_PAGER", JSON.stringify(["/usr/bin/tee", out, join(dir, "$(touch x)")]));
  expect(await paged()).toEqual([]);
  expect(JSON.parse(readFileSync(out, "utf8"))).toMatchObject({ part: "emergency" });
  expect(existsSync(join(dir, "$(touch x)"))).toBe(true);
});

test("SYN-5 the pager of an emergency was told where the service manager keeps the store's key", async () => {
  const out = join(dir, "out");
  vi.stubEnv("CREDENTIALS_DIRECTORY", "/run/credentials");
  vi.stubEnv("BLUEFLAME_PAGER", JSON.stringify(["/bin/sh", "-c", `env > ${out}`]));
  expect(await paged()).toEqual([]);
  expect(readFileSync(out, "utf8")).not.toContain("CREDENTIALS_DIRECTORY");
});

test("SYN-5 without a pager of its own the emergency calls the one of the agent's config, with the path of the page", async () => {
  const out = join(dir, "paged");
  const pager = ["/bin/sh", "-c", 'cp "$1" "$0"', out];
  writeFileSync(join(dir, "last-good-config.json"), JSON.stringify({ format: 3, config: { pager } }));
  expect(await paged()).toEqual([]);
  expect(JSON.parse(readFileSync(out, "utf8"))).toMatchObject({ part: "emergency", by: "itself" });
  writeFileSync(join(dir, "last-good-config.json"), "{");
  expect(await paged()).toEqual([]);
});

test("a pager in a file is used when nobody else may write it; one that fails or is no command is told", async () => {
  const file = join(dir, "pager");
  const out = join(dir, "out");
  writeFileSync(file, JSON.stringify(["/usr/bin/tee", out]), { mode: 0o600 });
  expect(await paged()).toEqual([]);
  expect(existsSync(out)).toBe(true);
  chmodSync(file, 0o666);
  expect(await paged()).toEqual([expect.stringMatching(/others may write it/)]);
  chmodSync(file, 0o600);
  for (const bad of ["tee out", '["tee"]', "[]", '"/usr/bin/tee"', "[1]"]) {
    writeFileSync(file, bad);
    expect(await paged()).toEqual([expect.stringMatching(/the pager is not used/)]);
  }
  writeFileSync(file, '["/bin/false"]');
  expect(await paged()).toEqual([expect.stringMatching(/^the pager \/bin\/false did not take the page: exit code 1/)]);
});

test("a pager with a slip in its JSON was quoted with its key, from its file or from BLUEFLAME_PAGER", async () => {
  const bad = '["/usr/bin/page-me", "--key", "canary" "now"]';
  const said = (from: string) => [
    `the pager is not used: ${from} is no JSON array of words that begins with an absolute path, like ["/usr/bin/page-me", "--now"]`,
  ];
  writeFileSync(join(dir, "pager"), bad, { mode: 0o600 });
  expect(await paged()).toEqual(said(join(dir, "pager")));
  vi.stubEnv("BLUEFLAME_PAGER", bad);
  expect(await paged()).toEqual(said("BLUEFLAME_PAGER"));
  vi.unstubAllEnvs();
  rmSync(join(dir, "pager"));
  mkdirSync(join(dir, "pager"), { mode: 0o700 });
  expect(await paged()).toEqual([`the pager is not used: ${join(dir, "pager")}: EISDIR`]);
});

test("a pager that was written as one text stood with its key in the log of the emergency", async () => {
  writeFileSync(join(dir, "pager"), '["/nonexistent/page-me --key canary"]', { mode: 0o600 });
  expect(await paged()).toEqual([
    "the pager /nonexistent/page-me … did not take the page: /nonexistent/page-me …: ENOENT",
  ]);
});

test("SYN-8 its log is lines of JSON in a file of at most 1 MiB and the one before it; a dry run leaves none", () => {
  const path = join(dir, "logs", "emergency.log");
  new Log(dir, false).say(30, "no folder yet"); // does not throw
  new Log(dir, true).say(30, "silent");
  expect(existsSync(path)).toBe(false);
});

test("SYN-8 it is rotated at its bound", () => {
  mkdirSync(join(dir, "logs"));
  const log = new Log(dir, false);
  for (let at = 0; at < 40; at++) log.say(40, "x".repeat(60_000), { at });
  expect(readdirSync(join(dir, "logs")).sort()).toEqual(["emergency.log", "emergency.log.1"]);
  const lines = readFileSync(join(dir, "logs", "emergency.log"), "utf8")
    .trim()
    .split("\n");
  expect(lines.map((line) => JSON.parse(line)).at(-1)).toMatchObject({ level: 40, part: "emergency", at: 39 });
  expect(statSync(join(dir, "logs", "emergency.log")).size).toBeLessThan(1.1 * 1024 * 1024);
});

test("one emergency works at a time; the lock of a dead one, of another boot, or garbage is taken over", async () => {
  const path = join(dir, "emergency.lock");
  const first = alone(path);
  expect(alone(path)).toEqual({ pid: process.pid });
  if (!first || !("release" in first)) throw new Error("not alone");
  first.release();
  expect(existsSync(path)).toBe(false);
  const child = spawn(process.execPath, ["-e", ""]);
  await new Promise((resolve) => child.once("exit", resolve));
  for (const left of [
    `{"pid":${child.pid},"started":"1","boot":""}`,
    "garbage",
    "",
    `{"pid":${process.pid},"started":"1","boot":"another"}`,
  ]) {
    writeFileSync(path, left);
    const lock = alone(path);
    expect(lock).toHaveProperty("release");
    if (lock && "release" in lock) lock.release();
  }
  expect(alone(join(dir, "nowhere", "lock"))).toBeUndefined();
  expect(readdirSync(dir)).toEqual([]);
});

test("SYN-5 a pager that failed once was the only call for help of a node that stays down; a person at a terminal waits for none", async () => {
  const count = join(dir, "count");
  const script = join(dir, "script");
  writeFileSync(script, `#!/bin/sh\necho x >> ${count}\ntest "$(wc -l < ${count})" -ge 3\n`, { mode: 0o755 });
  vi.stubEnv("BLUEFLAME_PAGER", JSON.stringify([script]));
  expect(await page(dir, false, report, () => undefined, [1, 1])).toEqual([expect.stringContaining("exit code 1")]);
  expect(readFileSync(count, "utf8").trim().split("\n")).toHaveLength(1);
  expect(await paged([1, 1])).toEqual([]);
  expect(readFileSync(count, "utf8").trim().split("\n")).toHaveLength(3);
});

test("SYN-5 an emergency whose data directory was gone called nobody, and none is made for the page", async () => {
  const [out, gone] = [join(dir, "out"), join(dir, "gone")];
  vi.stubEnv("BLUEFLAME_PAGER", JSON.stringify(["/usr/bin/tee", out]));
  vi.spyOn(process.stdout, "write").mockReturnValue(true);
  vi.spyOn(process.stderr, "write").mockReturnValue(true);
  expect(await emergency(["--data-dir", gone, "--auto"], process.env)).toBe(1);
  vi.restoreAllMocks();
  expect(JSON.parse(readFileSync(out, "utf8"))).toMatchObject({
    by: "itself",
    severity: "critical",
    outcome: "broken",
  });
  expect(existsSync(gone)).toBe(false);
});
