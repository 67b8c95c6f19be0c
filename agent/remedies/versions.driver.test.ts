import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openRemedyRig, type RemedyRig } from "../../test/support/remedy-rig.ts";
import { specOf } from "../../test/support/spec.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import { Versions } from "./versions.driver.ts";

let dir: string;
let conf: string;
let rig: RemedyRig;
let versions: Versions;

const good = () => specOf({ name: "engine", command: ["/bin/engine", "--good"], configFiles: [conf] });
const bad = () => specOf({ ...good(), command: ["/bin/engine", "--bad"] });

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "bf-versions-"));
  mkdirSync(join(dir, "etc"));
  conf = join(dir, "etc", "engine.conf");
  writeFileSync(conf, "port 1\n", { mode: 0o640 });
  await begin(good());
});
afterEach(async () => {
  versions.close();
  await rig.close();
  rmSync(dir, { recursive: true, force: true });
});

async function begin(
  spec: WorkloadSpec,
  mayWrite: (workload: string, path: string) => Promise<string | undefined> = async () => undefined,
) {
  rig = await openRemedyRig(dir, [spec]);
  versions = new Versions(rig.around, mayWrite);
  await versions.begin();
}
/** The agent ends and another one starts over the same disk. */
async function again(spec: WorkloadSpec) {
  versions.close();
  await rig.close();
  await begin(spec);
}
async function runsWell() {
  versions.started("engine");
  await versions.observe("engine");
  await versions.healthy("engine");
}
async function rollBack() {
  const target = await versions.target("engine");
  if (!target) return undefined;
  return versions.rollBack("engine", target.from, target.to, "it does not start");
}
const beside = () => readdirSync(join(dir, "etc")).sort();

test("PHX-5 SYN-3 a config file that broke the workload is written back as it was while it was healthy", async () => {
  await runsWell();
  writeFileSync(conf, "prot 1\n");
  versions.started("engine");
  const facts = versions.facts("engine");
  expect(await versions.target("engine")).toBeDefined();
  expect(versions.facts("engine").changedAgoMs).toBeGreaterThanOrEqual(0);
  expect(facts.version).not.toBe("");
  const result = await rollBack();
  expect(result).toMatchObject({ ok: true });
  expect(readFileSync(conf, "utf8")).toBe("port 1\n");
  expect(statSync(conf).mode & 0o777).toBe(0o640);
  // What was bad stays as evidence, where no program that includes a whole folder reads it.
  expect(beside()).toEqual([`.engine.conf.bad-${result?.from}`, "engine.conf"]);
  expect(readFileSync(join(dir, "etc", beside()[0] ?? ""), "utf8")).toBe("prot 1\n");
  expect(rig.alerts).toMatchObject([{ what: "config_rolled_back", workload: "engine", severity: "high" }]);
});

test("SYN-3 what was rolled back is not taken again until its content changes, by whoever writes it, over restarts of the agent", async () => {
  await runsWell();
  writeFileSync(conf, "prot 1\n");
  await rollBack();
  await again(good());
  writeFileSync(conf, "prot 1\n"); // a tool for configs comes round
  await versions.observe("engine");
  expect(readFileSync(conf, "utf8")).toBe("port 1\n");
  writeFileSync(conf, "prot 1\n");
  await again(good());
  expect(readFileSync(conf, "utf8")).toBe("port 1\n");
  writeFileSync(conf, "port 2\n"); // somebody has mended it
  await again(good());
  expect(readFileSync(conf, "utf8")).toBe("port 2\n");
});

test("SYN-6 a section of the agent's config that broke the workload is replaced by the healthy one, also at the next start", async () => {
  await runsWell();
  await again(bad());
  versions.started("engine");
  expect(versions.specInUse("engine")?.command).toEqual(["/bin/engine", "--bad"]);
  expect(await rollBack()).toMatchObject({ ok: true });
  expect(versions.specInUse("engine")?.command).toEqual(["/bin/engine", "--good"]);
  await again(bad());
  expect(versions.specInUse("engine")?.command).toEqual(["/bin/engine", "--good"]);
  expect(versions.warnings().join()).toMatch(/was rolled back/);
  await again(specOf({ ...bad(), command: ["/bin/engine", "--mended"] }));
  expect(versions.specInUse("engine")?.command).toEqual(["/bin/engine", "--mended"]);
  expect(versions.warnings()).toEqual([]);
});

test("SYN-3 asked again after a crash, a rollback goes to the same version and not further back", async () => {
  await runsWell();
  writeFileSync(conf, "port 2\n");
  await runsWell();
  writeFileSync(conf, "prot 3\n");
  const target = await versions.target("engine");
  if (!target) throw new Error("there is one");
  const once = await versions.rollBack("engine", target.from, target.to, "first");
  await again(good());
  const twice = await versions.rollBack("engine", target.from, target.to, "again");
  expect(once.ok && twice.ok).toBe(true);
  expect(readFileSync(conf, "utf8")).toBe("port 2\n");
  expect(beside()).toHaveLength(2);
});

test("a file that was half written is a change like any other, and one that is gone is written back too", async () => {
  await runsWell();
  writeFileSync(conf, "po");
  await versions.observe("engine");
  expect(versions.facts("engine").healthyVersion).toBeDefined();
  expect(await rollBack()).toMatchObject({ ok: true });
  rmSync(conf);
  expect(await rollBack()).toMatchObject({ ok: true });
  expect(readFileSync(conf, "utf8")).toBe("port 1\n");
});

test("a file that was not there while it was healthy is moved aside", async () => {
  rmSync(conf);
  await versions.observe("engine");
  await runsWell();
  writeFileSync(conf, "prot 1\n");
  const result = await rollBack();
  expect(result).toMatchObject({ ok: true });
  expect(beside()).toEqual([`.engine.conf.bad-${result?.from}`]);
});

test("without a healthy version there is nothing to go back to", async () => {
  versions.started("engine");
  writeFileSync(conf, "prot 1\n");
  expect(await rollBack()).toBeUndefined();
});

test("SYN-9 what authority refuses is not written, and nothing of the rollback is done by halves", async () => {
  versions.close();
  await rig.close();
  const other = join(dir, "etc", "second.conf");
  writeFileSync(other, "one\n");
  const spec = specOf({ ...good(), configFiles: [conf, other] });
  await begin(spec, async (_workload, path) => (path === other ? "it is not yours" : undefined));
  await runsWell();
  writeFileSync(conf, "prot\n");
  writeFileSync(other, "two\n");
  expect(await rollBack()).toMatchObject({ ok: false, because: "it is not yours" });
  expect([readFileSync(conf, "utf8"), readFileSync(other, "utf8")]).toEqual(["prot\n", "two\n"]);
});

test("looking at what has not changed costs no reading and no writing", async () => {
  const old = Date.now() / 1000 - 60;
  utimesSync(conf, old, old);
  await runsWell();
  let saves = 0;
  const { store } = rig;
  const save = store.saveConfigVersions;
  store.saveConfigVersions = async (...args) => {
    saves += 1;
    await save(...args);
  };
  for (let n = 0; n < 20; n++) await runsWell();
  expect(saves).toBe(0);
  writeFileSync(conf, "port 2\n");
  await runsWell();
  expect(saves).toBeGreaterThan(0);
  expect(versions.facts("engine").healthyVersion).toBeDefined();
});

test("a symlink stays one: what it points to is written", async () => {
  const real = join(dir, "real.conf");
  rmSync(conf);
  writeFileSync(real, "port 1\n");
  symlinkSync(real, conf);
  await versions.observe("engine");
  await runsWell();
  writeFileSync(real, "prot 1\n");
  expect(await rollBack()).toMatchObject({ ok: true });
  expect(readFileSync(real, "utf8")).toBe("port 1\n");
  expect(beside()).toEqual(["engine.conf"]);
});

test("at most three contents stay beside a file", async () => {
  await runsWell();
  for (const n of [1, 2, 3, 4, 5]) {
    writeFileSync(conf, `prot ${n}\n`);
    expect(await rollBack()).toMatchObject({ ok: true });
  }
  expect(beside()).toHaveLength(4);
});

test("a file that is too large is seen, but not kept; one that cannot be read is said to be so", async () => {
  writeFileSync(conf, Buffer.alloc(1024 * 1024 + 1));
  await versions.observe("engine");
  await runsWell();
  writeFileSync(conf, "port 1\n");
  expect(await rollBack()).toBeUndefined();
  if (process.getuid?.() === 0) return;
  chmodSync(conf, 0);
  await versions.observe("engine");
  expect(versions.facts("engine").version).not.toBe("");
});
