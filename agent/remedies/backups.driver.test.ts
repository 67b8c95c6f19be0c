import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openRemedyRig, type RemedyRig } from "../../test/support/remedy-rig.ts";
import { specOf } from "../../test/support/spec.ts";
import type { DataSpec } from "../supervise/spec.ts";
import { Backups } from "./backups.driver.ts";
import { differs } from "./copy.driver.ts";
import { restoreData } from "./restore.driver.ts";

let dir: string;
let data: string;
let rig: RemedyRig;
let backups: Backups;
const free = () => new AbortController().signal;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "bf-backups-"));
  data = join(dir, "srv", "data");
  mkdirSync(join(data, "deep"), { recursive: true });
  writeFileSync(join(data, "a.db"), "the ledger\n", { mode: 0o640 });
  writeFileSync(join(data, "deep", "b.db"), Buffer.alloc(300_000, 7));
  symlinkSync("a.db", join(data, "latest"));
  symlinkSync("/etc/passwd", join(data, "outside"));
  rig = await openRemedyRig(dir, [spec()]);
  backups = new Backups(rig.around);
  await backups.begin();
});
afterEach(async () => {
  await rig.close();
  rmSync(dir, { recursive: true, force: true });
});

const spec = (over: Partial<DataSpec> = {}) =>
  specOf({ name: "engine", data: { paths: [data], everyMs: 1000, keep: 2, maxBytes: 2 ** 30, ...over } });
const make = (over: Partial<DataSpec> = {}) => backups.make(spec(over), "v1", free());
const folder = () => backups.folderOf("engine");
async function newest() {
  const facts = backups.newest("engine");
  const manifest = facts && (await backups.manifest(facts));
  if (!manifest) throw new Error("there is a backup");
  return manifest;
}
async function restore(mark = "r1") {
  const manifest = await newest();
  const marks = join(rig.around.dataDir, "restored");
  return restoreData({ folder: join(folder(), manifest.id), manifest, mark, marks, wallMs: 0 }, free());
}
function script(name: string, text: string): string {
  const path = join(dir, name);
  writeFileSync(path, `#!/bin/sh\n${text}`, { mode: 0o755 });
  return path;
}

test("PRA-10 SYN-3 corrupt data is replaced by the newest verified backup, and kept aside", async () => {
  expect(await make()).toMatchObject({ ok: true });
  writeFileSync(join(data, "a.db"), "garbage");
  rmSync(join(data, "deep"), { recursive: true });
  const { because, movedAside } = await restore();
  expect(readFileSync(join(data, "a.db"), "utf8")).toBe("the ledger\n");
  expect(statSync(join(data, "a.db")).mode & 0o777).toBe(0o640);
  expect(readFileSync(join(data, "deep", "b.db"))).toEqual(Buffer.alloc(300_000, 7));
  expect(readlinkSync(join(data, "latest"))).toBe("a.db");
  expect(movedAside).toEqual([`${data}.corrupt-r1`]);
  expect(readFileSync(join(`${data}.corrupt-r1`, "a.db"), "utf8")).toBe("garbage");
  expect(because).toMatch(/restored is locked/);
  expect(JSON.parse(readFileSync(join(rig.around.dataDir, "restored", "engine.json"), "utf8"))).toMatchObject({
    workload: "engine",
    config_version: "v1",
  });
});

test("a link is copied as a link: nothing from outside gets into a backup, and it is readable for the agent alone", async () => {
  await make();
  const [id = ""] = readdirSync(folder());
  const copy = join(folder(), id, "copy", "data");
  expect(readlinkSync(join(copy, "outside"))).toBe("/etc/passwd");
  expect(statSync(copy).mode & 0o777).toBe(0o700);
  expect(statSync(join(copy, "a.db")).mode & 0o777).toBe(0o600);
  expect(statSync(join(folder(), id, "manifest.json")).mode & 0o777).toBe(0o600);
});

test("PRA-10 it is made only while the workload is well, also when it falls ill meanwhile", async () => {
  rig.stands.set("engine", { is: "recovering" });
  expect(await make()).toMatchObject({ ok: false, because: expect.stringMatching(/not well/) });
  rig.stands.delete("engine");
  const verify = script("ill", "sleep 0.3\n");
  setTimeout(() => rig.stands.set("engine", { is: "down" }), 100);
  expect(await make({ verify: [verify] })).toMatchObject({
    ok: false,
    because: expect.stringMatching(/not well any more/),
  });
  expect(existsSync(folder()) ? readdirSync(folder()) : []).toEqual([]);
});

test("PRA-10 it is verified by the workload's own command, and one that says no is no backup", async () => {
  const verify = script("verify", 'grep -q ledger "$1/data/a.db"\n');
  expect(await make({ verify: [verify] })).toMatchObject({
    ok: true,
    because: expect.stringMatching(/verified by command/),
  });
  writeFileSync(join(data, "a.db"), "garbage");
  expect(await make({ verify: [verify] })).toMatchObject({ ok: false, because: expect.stringMatching(/says no/) });
  expect(readdirSync(folder())).toHaveLength(1);
});

test("a dump makes a consistent copy, under the path's base name or as the content of the one folder", async () => {
  const dump = script("dump", 'mkdir -p "$1/data" && echo dumped > "$1/data/a.db"\n');
  expect(await make({ dump: [dump] })).toMatchObject({ ok: true });
  const flat = script("flat", 'echo flat > "$1/a.db"\n');
  expect(await make({ dump: [flat] })).toMatchObject({ ok: true });
  await restore();
  expect(readdirSync(data)).toEqual(["a.db"]);
  expect(readFileSync(join(data, "a.db"), "utf8")).toBe("flat\n");
  const fails = script("fails", "echo the lock is held >&2; exit 3\n");
  expect(await make({ dump: [fails] })).toMatchObject({
    ok: false,
    because: expect.stringMatching(/exit code 3: the lock is …/),
  });
  expect(readdirSync(folder())).toHaveLength(2);
});

test("PRA-10 backups are bounded: by number, by size, and nothing half made stays", async () => {
  for (let n = 0; n < 4; n++) expect(await make()).toMatchObject({ ok: true });
  expect(readdirSync(folder()).map((id) => id.slice(0, 6))).toEqual(["000003", "000004"]);
  expect(await make({ maxBytes: 1000 })).toMatchObject({ ok: false, because: expect.stringMatching(/1000 bytes/) });
  mkdirSync(join(folder(), ".new-000005-20260101T000000Z", "copy"), { recursive: true });
  mkdirSync(join(folder(), "000009-20260101T000000Z"));
  const next = new Backups(rig.around);
  await next.begin();
  expect(next.newest("engine")?.id.slice(0, 6)).toBe("000004");
  expect(readdirSync(folder()).some((name) => name.startsWith(".new-"))).toBe(false);
});

test("a backup whose bytes have rotted is found, put aside, and the one before it is the newest", async () => {
  await make();
  await make();
  const rotten = await newest();
  writeFileSync(join(folder(), rotten.id, "copy", "data", "a.db"), "the ledgeR\n");
  expect(await backups.check(spec(), rotten, free())).toMatchObject({
    ok: false,
    because: expect.stringMatching(/not what was copied/),
  });
  expect(backups.newest("engine")?.id.slice(0, 6)).toBe("000001");
  expect(readdirSync(folder()).sort()).toEqual([expect.stringMatching(/^000001/), `bad-${rotten.id}`]);
});

test("PRA-10 a verify program that was gone for a moment had all backups put aside, and then there was none", async () => {
  const tool = script("tool", "exit 0\n");
  const verify = [script("verify", `${tool} "$1"\n`)] as const;
  await make({ verify });
  await make({ verify });
  rmSync(tool);
  const unsaid = { ok: false, because: expect.stringMatching(/could not be checked: .*says nothing: exit code 127/) };
  for (const facts of backups.all("engine"))
    expect(await backups.check(spec({ verify }), facts, free())).toMatchObject(unsaid);
  rmSync(join(dir, "verify"));
  for (const facts of backups.all("engine"))
    expect(await backups.check(spec({ verify }), facts, free())).toMatchObject({
      because: expect.stringMatching(/could not be checked: .*cannot be started: ENOENT/),
    });
  expect(backups.all("engine")).toHaveLength(2);
  expect(readdirSync(folder()).some((name) => name.startsWith("bad-"))).toBe(false);
});

test("PRA-10 a copy that the machine could not read is not called changed: only what the disk says of the file itself counts", async () => {
  await make();
  const { entries } = await newest();
  const long = [...entries, { at: "x".repeat(300), is: "link", target: "a" } as const];
  const copy = join(folder(), (await newest()).id, "copy");
  await expect(differs(copy, long, free())).rejects.toThrow("ENAMETOOLONG");
  rmSync(join(copy, "data", "a.db"));
  expect(await differs(copy, entries, free())).toMatch(/a\.db cannot be read: ENOENT/);
  symlinkSync("/etc/passwd", join(copy, "data", "a.db"));
  expect(await differs(copy, entries, free())).toMatch(/a\.db cannot be read: ELOOP/);
});

test("a file that grows while it is copied is copied as it was; sockets and pipes are passed over", async () => {
  execFileSync("mkfifo", [join(data, "pipe")]);
  const busy = setInterval(() => appendFileSync(join(data, "deep", "b.db"), "more"), 1);
  try {
    expect(await make()).toMatchObject({ ok: true });
  } finally {
    clearInterval(busy);
  }
  expect(await newest()).toMatchObject({ passedOver: 1 });
});

test("SYN-3 a restore that was cut off between any two renames is gone on with, and a second time it is done", async () => {
  const second = join(dir, "srv", "second");
  writeFileSync(second, "two\n");
  const both = { paths: [data, second] };
  expect(await make(both)).toMatchObject({ ok: true });
  // The first path was moved aside and its copy made, and then the agent died.
  writeFileSync(second, "bent");
  const manifest = await newest();
  const copy = join(dir, "srv", ".data.restoring-r1");
  execFileSync("cp", ["-a", join(folder(), manifest.id, "copy", "data"), copy]);
  renameSync(data, `${data}.corrupt-r1`);
  await restore();
  expect(readFileSync(join(data, "a.db"), "utf8")).toBe("the ledger\n");
  expect(readFileSync(second, "utf8")).toBe("two\n");
  writeFileSync(second, "written after the restore\n");
  await restore();
  expect(readFileSync(second, "utf8")).toBe("written after the restore\n");
  expect(readdirSync(join(dir, "srv")).sort()).toEqual(["data", "data.corrupt-r1", "second", "second.corrupt-r1"]);
});

test("SYN-9 corrupt data is kept, the newest two of each path", async () => {
  await make();
  for (const mark of ["0000000a", "0000000b", "0000000c"]) {
    writeFileSync(join(data, "a.db"), `garbage ${mark}`);
    await restore(mark);
  }
  expect(readdirSync(join(dir, "srv")).sort()).toEqual(["data", "data.corrupt-0000000b", "data.corrupt-0000000c"]);
});

test("data that is gone altogether is restored too, and a cancelled restore has changed nothing", async () => {
  await make();
  const manifest = await newest();
  const stop = new AbortController();
  stop.abort(new Error("cancelled"));
  const marks = join(rig.around.dataDir, "restored");
  const request = { folder: join(folder(), manifest.id), manifest, mark: "r0", marks, wallMs: 0 };
  await expect(restoreData(request, stop.signal)).rejects.toThrow("cancelled");
  expect(readdirSync(join(dir, "srv")).filter((name) => !name.startsWith("."))).toEqual(["data"]);
  rmSync(data, { recursive: true });
  await restore("r1");
  expect(readdirSync(data).sort()).toEqual(["a.db", "deep", "latest", "outside"]);
});

test("a folder that nobody may write keeps its mode", async () => {
  chmodSync(join(data, "deep"), 0o500);
  await make();
  await restore();
  expect(statSync(join(data, "deep")).mode & 0o777).toBe(0o500);
  for (const path of [join(data, "deep"), join(`${data}.corrupt-r1`, "deep")]) chmodSync(path, 0o700);
});
