import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isDamaged, goodProgram as watchdogsGoodProgram } from "../watchdog/good.ts";
import {
  type GoodManifest,
  goodProgram,
  installedProgram,
  readGoodCopy,
  refreshGoodConfig,
  reinstall,
  verifyGoodCopy,
  writeGoodCopy,
} from "./good-copy.ts";

let dir: string;
let dataDir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-good-"));
  dataDir = join(dir, "d");
  for (const folder of [dataDir, join(dir, "lib"), join(dir, "lib", "native")]) mkdirSync(folder);
  write("lib/blueflame-agent.cjs", "console.log(process.argv.slice(2).join())", 0o755);
  write("lib/native/addon.node", "addon", 0o644);
  write("agent.yaml", "site: one\n", 0o600);
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function write(name: string, text: string, mode: number): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}
const at = (name: string) => join(dir, name);
function make(more: Parameters<typeof writeGoodCopy>[1] = []): void {
  const installed = (path: string, name: string) => ({ source: at(path), target: at(path), name });
  const files = [
    installed("lib/blueflame-agent.cjs", "blueflame-agent.cjs"),
    installed("lib/native/addon.node", "native/addon.node"),
    installed("agent.yaml", "agent.yaml"),
  ];
  writeGoodCopy(dataDir, [...files, ...more], "1.2.3");
}
function manifest(): GoodManifest {
  const found = verifyGoodCopy(dataDir);
  if (!found.ok) throw new Error(found.because);
  return found.manifest;
}
const good = (name: string) => join(dataDir, "good", name);

test("it holds what was installed, readable by its owner only, and says whose the directory was", () => {
  make();
  expect(manifest()).toMatchObject({ version: "1.2.3", owner: { uid: statSync(dataDir).uid } });
  expect(manifest().files.map(({ name, mode }) => [name, mode])).toEqual([
    ["blueflame-agent.cjs", 0o755],
    ["native/addon.node", 0o644],
    ["agent.yaml", 0o600],
  ]);
  expect(
    ["blueflame-agent.cjs", "native/addon.node", "manifest.json"].map((name) => statSync(good(name)).mode & 0o777),
  ).toEqual([0o700, 0o600, 0o600]);
});

test.each([
  ["cut", (path: string) => truncateSync(path, 3)],
  ["changed", (path: string) => writeFileSync(path, "x".repeat(statSync(path).size))],
  ["gone", (path: string) => rmSync(path)],
])("a file of it that is %s is named, and the others stay of use", (_what, harm) => {
  make();
  harm(good("native/addon.node"));
  expect(verifyGoodCopy(dataDir)).toMatchObject({ ok: false, because: expect.stringContaining("native/addon.node") });
  expect(readGoodCopy(dataDir)).toMatchObject({ damaged: [{ name: "native/addon.node" }] });
});

test("without it, or without its manifest, that is said", () => {
  expect(verifyGoodCopy(dataDir)).toEqual({ ok: false, because: expect.stringContaining("there is no good copy") });
  make();
  writeFileSync(good("manifest.json"), "{");
  expect(verifyGoodCopy(dataDir)).toEqual({ ok: false, because: expect.stringContaining("cannot be read") });
});

test("a replacement that died between its two renames leaves the earlier one", () => {
  make();
  renameSync(join(dataDir, "good"), join(dataDir, "good.old"));
  expect(manifest().version).toBe("1.2.3");
  expect(existsSync(join(dataDir, "good.old"))).toBe(false);
});

test("a replacement that cannot be finished leaves the earlier one as it is", () => {
  make();
  const before = readFileSync(good("manifest.json"), "utf8");
  rmSync(at("lib/native/addon.node"));
  expect(() => make()).toThrow(/ENOENT/);
  expect(readFileSync(good("manifest.json"), "utf8")).toBe(before);
});

test("SYN-5 what was damaged is put back in one step, with the mode that it had", () => {
  make();
  const [program] = manifest().files;
  if (!program) throw new Error("no program");
  truncateSync(program.target, 1);
  const held = readFileSync(program.target);
  reinstall(dataDir, program);
  expect(statSync(program.target).mode & 0o777).toBe(0o755);
  expect(readFileSync(program.target, "utf8")).toContain("process.argv");
  expect(held.length).toBe(1);
  rmSync(at("lib"), { recursive: true });
  reinstall(dataDir, program); // its folder too
  expect(readFileSync(program.target, "utf8")).toContain("process.argv");
});

test("the config that was taken into use replaces the one of the installation, in one step", async () => {
  make([{ source: "/bin/sh", target: "/bin/sh", name: "node" }]);
  writeFileSync(at("agent.yaml"), "site: two\n");
  expect(refreshGoodConfig(dataDir, at("agent.yaml"))).toBe(true);
  const config = manifest().files.find(({ target }) => target === at("agent.yaml"));
  expect(readFileSync(good(config?.name ?? ""), "utf8")).toBe("site: two\n");
  writeFileSync(at("agent.yaml"), "site: three\n");
  refreshGoodConfig(dataDir, at("agent.yaml"));
  expect(manifest().files).toHaveLength(4);
  expect(readdirSync(join(dataDir, "good")).filter((name) => name.endsWith(".yaml"))).toHaveLength(1);
  // Another file than the installed one is somebody's experiment.
  refreshGoodConfig(dataDir, write("other.yaml", "site: four\n", 0o600));
  expect(manifest().files.filter(({ name }) => name.endsWith(".yaml"))).toHaveLength(1);
  // The watchdog takes the refreshed copy for whole.
  expect(await watchdogsGoodProgram(dataDir)).toEqual([good("node"), good("blueflame-agent.cjs")]);
});
test("the watchdog reads the same copy: it runs it when all of it is whole, and compares what is installed with it", async () => {
  make([{ source: process.execPath, target: process.execPath, name: "node" }]);
  expect(await watchdogsGoodProgram(dataDir)).toEqual([good("node"), good("blueflame-agent.cjs")]);
  expect(goodProgram(dataDir, manifest(), "now")).toEqual([good("node"), good("blueflame-agent.cjs")]);
  // The machine's Node is the machine's.
  expect(installedProgram(manifest(), "now")).toEqual([process.execPath, at("lib/blueflame-agent.cjs")]);
  expect(await isDamaged(dataDir)).toBe(false);
  truncateSync(at("lib/blueflame-agent.cjs"), 5);
  expect(await isDamaged(dataDir)).toBe(true);
  expect(goodProgram(dataDir, { ...manifest(), files: [] }, "now")).toBeUndefined();
});

test("an executable runs by itself", () => {
  const binary = write("lib/blueflame-agent", "#!/bin/sh\necho binary $1\n", 0o755);
  writeGoodCopy(dataDir, [{ source: binary, target: binary, name: "binary" }], "1.2.3");
  expect(goodProgram(dataDir, manifest(), "now")).toEqual([good("binary")]);
  expect(installedProgram(manifest(), "now")).toEqual([binary]);
  expect(execFileSync("/bin/sh", [good("emergency")], { encoding: "utf8" })).toBe("binary emergency\n");
});

test("SYN-5 the operator's one command goes on with what is installed where the good copy cannot be run, and says when nothing can", () => {
  const binary = write("lib/blueflame-agent", "#!/bin/sh\necho installed $1; exit 3\n", 0o755);
  writeGoodCopy(dataDir, [{ source: binary, target: binary, name: "binary" }], "1.2.3");
  const run = () => spawnSync("/bin/sh", [good("emergency")], { encoding: "utf8" });
  for (const harm of ["#!/bin/sh\nkill -SEGV $$\n", "#!/nowhere\n"]) {
    writeFileSync(good("binary"), harm);
    expect(run()).toMatchObject({ status: 3, stdout: "installed emergency\n" });
  }
  rmSync(good("binary"));
  expect(run()).toMatchObject({ status: 3, stdout: "installed emergency\n" });
  rmSync(binary);
  expect(run()).toMatchObject({ status: 1, stderr: expect.stringContaining("[PROGRAM_DAMAGED]") });
});

test("SYN-5 the operator's one command runs the good copy with its data directory, whatever its name", () => {
  const odd = join(dir, "it's a dir");
  mkdirSync(odd);
  dataDir = odd;
  make();
  expect(execFileSync("/bin/sh", [good("emergency"), "--dry-run"], { encoding: "utf8" })).toBe(
    `emergency,--data-dir,${odd},--dry-run\n`,
  );
});
