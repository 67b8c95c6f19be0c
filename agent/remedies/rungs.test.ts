import { spawnSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openRemedyRig, type RemedyRig } from "../../test/support/remedy-rig.ts";
import { specOf } from "../../test/support/spec.ts";
import { requireTool } from "../../test/tools.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import type { Around } from "./around.ts";
import type { PreparedRung } from "./ports.ts";
import { openRemedies, type Remedies } from "./remedies.driver.ts";

let dir: string;
let rig: RemedyRig;
let remedies: Remedies;
let isOpen = false;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-rungs-"));
});
afterEach(async () => {
  await close();
  rmSync(dir, { recursive: true, force: true });
});

async function close() {
  if (!isOpen) return;
  isOpen = false;
  await remedies.close();
  await rig.close();
}
async function open(specs: readonly WorkloadSpec[], over: Partial<Around> = {}) {
  await close();
  rig = await openRemedyRig(dir, specs, over);
  remedies = await openRemedies(rig.around);
  isOpen = true;
}
const prepare = (rung: PreparedRung, workload = "engine", id = `i1/${rung}/1`, budgetMs = 20_000) =>
  remedies.prepare({ id, workload, rung, incidentId: "i1", budgetMs });

test("SYN-3 PHX-5 rung 3 puts the last healthy config back, and its next start takes it", async () => {
  const conf = join(dir, "engine.conf");
  writeFileSync(conf, "good");
  const spec = specOf({ configFiles: [conf] });
  await open([spec]);
  remedies.started("engine");
  remedies.healthy("engine");
  for (let n = 0; n < 1500 && !(await healthyNow()); n++) await new Promise((resolve) => setTimeout(resolve, 20));
  writeFileSync(conf, "bad");
  expect((await remedies.examine("engine")).config.healthyVersion).toBeDefined();
  rig.stands.set("engine", { is: "recovering", awaitsRemedy: true });
  const first = await prepare("config_rollback");
  expect(first).toMatchObject({
    ok: true,
    because: expect.stringMatching(/^config .* was rolled back to .*, which had been healthy$/),
  });
  // Its incident tells it, and once: see agent/records/alert.ts.
  expect(rig.alerts).toEqual([]);
  expect(rig.audits.map(({ action }) => action)).toContain("config.rollback");
  expect(readFileSync(conf, "utf8")).toBe("good");
  expect(rig.asked).toEqual([]);
  expect(remedies.specInUse("engine")).toEqual(spec);
  // The same again, in the next life of the agent: it answers, and does not go further back.
  await open([spec]);
  expect(await prepare("config_rollback")).toEqual(first);
  expect(await prepare("config_rollback", "engine", "i1/config_rollback/2")).toEqual({
    ok: false,
    because: "there is no other config of it that was healthy",
  });
});

async function healthyNow(): Promise<boolean> {
  const config = await rig.store.configVersions("engine");
  return JSON.stringify(config ?? "").includes("healthyWallMs");
}

const chain = () => [
  specOf({ name: "engine", dependsOn: ["queue"] }),
  specOf({ name: "queue", dependsOn: ["disk"] }),
  specOf({ name: "disk" }),
  specOf({ name: "other" }),
];

test("SYN-3 rung 4 heals what is down at the root, waits for what recovers by itself, and touches nobody else", async () => {
  await open(chain());
  rig.stands.set("disk", { is: "down" });
  rig.stands.set("queue", { is: "recovering" });
  setTimeout(() => rig.stands.set("queue", { is: "well" }), 300);
  const result = await prepare("dependency_restart");
  expect(result).toEqual({ ok: true, because: "brought back, in order: disk, queue" });
  expect(rig.asked).toEqual(["restart disk"]);
});

test("SYN-3 rung 4 starts the direct dependencies anew when all look well, and fails at the root when it does not get well", async () => {
  await open(chain());
  expect(await prepare("dependency_restart")).toEqual({ ok: true, because: "started anew, in order: queue" });
  rig.restarts = async () => ({ ok: true, because: "asked" });
  rig.stands.set("disk", { is: "down" });
  const failed = await prepare("dependency_restart", "engine", "second", 700);
  expect(failed).toMatchObject({
    ok: false,
    because: expect.stringMatching(/disk.* did not get well \(the root is disk\)|not end/),
  });
  expect(await prepare("dependency_restart", "disk", "third")).toEqual({ ok: false, because: "it depends on nothing" });
});

test("DOL-6 rung 4 leaves a dependency alone that was started as often lately as its config lets it, by whomever", async () => {
  await open([
    specOf({ name: "engine", dependsOn: ["queue"] }),
    specOf({ name: "queue", starts: { max: 2, withinMs: 60_000 } }),
  ]);
  const nowMs = rig.around.clock.monotonicMs();
  rig.stands.set("queue", { is: "well", recentMs: [nowMs - 2000, nowMs - 1000] });
  expect(await prepare("dependency_restart")).toMatchObject({ ok: false });
  rig.stands.set("queue", { is: "down", recentMs: [nowMs - 2000, nowMs - 1000] });
  setTimeout(() => rig.stands.set("queue", { is: "well" }), 300);
  expect(await prepare("dependency_restart", "engine", "second")).toMatchObject({ ok: true });
  expect(rig.asked).toEqual([]);
});

test("SYN-4 a job that has done its work is no dependency that a person has stopped: rung 4 passes over it", async () => {
  await open(chain());
  rig.stands.set("disk", { is: "stopped", done: true });
  expect((await remedies.examine("engine")).dependencies).toEqual([{ name: "queue", stands: "well" }]);
  rig.stands.set("queue", { is: "down" });
  expect(await prepare("dependency_restart")).toEqual({ ok: true, because: "brought back, in order: queue" });
  expect(rig.asked).toEqual(["restart queue"]);
});

test("DOL-6 twenty that wait for one dependency do not keep it from its own recovery", async () => {
  const waiting = Array.from({ length: 20 }, (_, n) => specOf({ name: `w${n}`, dependsOn: ["queue"] }));
  const conf = join(dir, "queue.conf");
  writeFileSync(conf, "x");
  await open([...waiting, specOf({ name: "queue", configFiles: [conf] })]);
  rig.stands.set("queue", { is: "recovering" });
  const all = waiting.map(({ name }) => prepare("dependency_restart", name, `i/${name}`));
  await new Promise((resolve) => setTimeout(resolve, 200));
  // Its own rung has a place at once.
  expect(await prepare("config_rollback", "queue", "i/queue")).toMatchObject({
    ok: false,
    because: expect.stringMatching(/no other config/),
  });
  rig.stands.set("queue", { is: "well" });
  expect((await Promise.all(all)).every(({ ok }) => ok)).toBe(true);
  expect(rig.asked).toEqual([]);
});

test("a rung ends the playbook that was at work beside the running process, and a cancelled one ends at a safe point", async () => {
  mkdirSync(join(dir, "playbooks"));
  writeFileSync(join(dir, "playbooks", "long.yaml"), "name: long\ndescription: Ours.\nsteps:\n  - wait: {for: 1m}\n");
  await open(chain(), { playbooks: join(dir, "playbooks") });
  const playing = remedies.play({ id: "p1", playbook: "long", workload: "engine", incidentId: "", budgetMs: 60_000 });
  const refused = await remedies.play({
    id: "p2",
    playbook: "long",
    workload: "engine",
    incidentId: "",
    budgetMs: 60_000,
  });
  const because = "another run is at work on workload/engine: p1";
  expect(refused).toEqual({ ok: false, because, turnedAway: true });
  expect(await prepare("dependency_restart")).toMatchObject({ ok: true });
  expect(await playing).toMatchObject({ ok: false });
  const again = remedies.play({ id: "p3", playbook: "long", workload: "engine", incidentId: "", budgetMs: 60_000 });
  setTimeout(() => remedies.cancel("p3"), 100);
  expect(await again).toMatchObject({ ok: false, because: "cancelled" });
});

test("a restore that was called off while it waited for another run was done all the same, over what the new process had written", async () => {
  mkdirSync(join(dir, "playbooks"));
  mkdirSync(join(dir, "data"));
  const ledger = join(dir, "data", "ledger");
  writeFileSync(ledger, "old");
  const slow = join(dir, "slow");
  writeFileSync(slow, `#!/bin/sh\ntrap '' TERM\necho begun > ${dir}/begun\nsleep 30 & wait; wait\n`, { mode: 0o755 });
  writeFileSync(
    join(dir, "playbooks", "slow.yaml"),
    `name: slow\ndescription: Ours.\nsteps:\n  - exec: {command: [${slow}]}\n`,
  );
  const data = { paths: [join(dir, "data")], everyMs: 3_600_000, keep: 2, maxBytes: 100_000 };
  await open([specOf({ data })], { playbooks: join(dir, "playbooks") });
  await expect.poll(async () => (await remedies.examine("engine")).backup, { timeout: 10_000 }).toBeDefined();
  const person = remedies.runFor("asha", "slow", "engine", false);
  await expect.poll(() => existsSync(join(dir, "begun")), { timeout: 10_000 }).toBe(true);
  rig.stands.set("engine", { is: "recovering", awaitsRemedy: true });
  const restored = prepare("backup_restore", "engine", "i1/backup_restore/3");
  // A person starts it: the machine calls the rung off, and spawns.
  remedies.cancel("i1/backup_restore/3");
  rig.stands.set("engine", { is: "well", instance: { id: "new", pid: process.pid, startTicks: 1 } });
  writeFileSync(ledger, "new");
  expect(await restored).toMatchObject({ ok: false });
  expect(readFileSync(ledger, "utf8")).toBe("new");
  await person;
});

test("SYN-3 rung 6 runs the emergency bootstrap once, and not again within the hour, over restarts of the agent", async () => {
  const script = join(dir, "emergency");
  writeFileSync(script, `#!/bin/sh\necho "$@" >> ${dir}/ran\nexit 0\n`, { mode: 0o755 });
  const emergency = [script, "emergency", "--auto"] as const;
  await open([specOf()], { emergency });
  expect((await remedies.examine("engine")).bootstrapAllowed).toBe(true);
  expect(await prepare("full_bootstrap")).toMatchObject({ ok: true });
  expect(readFileSync(join(dir, "ran"), "utf8")).toBe("emergency --auto\n");
  expect((await remedies.examine("engine")).bootstrapAllowed).toBe(false);
  await open([specOf()], { emergency });
  expect((await remedies.examine("engine")).bootstrapAllowed).toBe(false);
  expect(await prepare("full_bootstrap", "engine", "another")).toMatchObject({
    ok: false,
    because: expect.stringMatching(/within the last hour/),
  });
  expect(readFileSync(join(dir, "ran"), "utf8")).toBe("emergency --auto\n");
});

test("SYN-3 the bootstrap outlives the agent that started it, and the next agent waits for the same one", async () => {
  const script = join(dir, "emergency");
  writeFileSync(script, `#!/bin/sh\necho begun >> ${dir}/ran\nsleep 1.5\necho through >> ${dir}/ran\n`, {
    mode: 0o755,
  });
  await open([specOf()], { emergency: [script] });
  void prepare("full_bootstrap");
  for (let n = 0; n < 1500 && !existsSync(join(dir, "ran")); n++)
    await new Promise((resolve) => setTimeout(resolve, 20));
  await new Promise((resolve) => setTimeout(resolve, 200));
  await open([specOf()], { emergency: [script] });
  expect(await prepare("full_bootstrap")).toMatchObject({
    ok: true,
    because: expect.stringMatching(/no agent watched/),
  });
  expect(readFileSync(join(dir, "ran"), "utf8")).toBe("begun\nthrough\n");
});

test("the diagnosis has its facts within a second, also of a disk that does not answer", async () => {
  const fifo = join(dir, "fifo.conf");
  spawnSync("mkfifo", [fifo]);
  const spec = specOf({ configFiles: [fifo], dependsOn: ["queue"] });
  await open([spec, specOf({ name: "queue", dependsOn: ["disk"] }), specOf({ name: "disk" })]);
  mkdirSync(rig.around.outputDir, { recursive: true });
  writeFileSync(join(rig.around.outputDir, "engine.log"), "Error: connect ECONNREFUSED 127.0.0.1:6379\n");
  rig.stands.set("disk", { is: "down" });
  // Counted in turns of 10 ms that this process had, and in what it worked, which would leave it no turns: what it waits for a
  // processor is no wait for the disk.
  let turns = 0;
  const turning = setInterval(() => (turns += 1), 10);
  const before = process.cpuUsage();
  const facts = await remedies.examine("engine");
  const worked = process.cpuUsage(before);
  clearInterval(turning);
  expect(turns).toBeLessThan(90);
  expect((worked.user + worked.system) / 1e6).toBeLessThan(1);
  expect(facts).toMatchObject({
    dependencies: [
      { name: "disk", stands: "down" },
      { name: "queue", stands: "well" },
    ],
    hints: ["dependency"],
    signature: "engine: Error: connect ECONNREFUSED 127.0.0.1:6379",
    exhausted: [],
    bootstrapAllowed: false,
  });
});

test("what an earlier life said is no sign of what this one died of, also after a rotation", async () => {
  await open([specOf()]);
  const log = join(rig.around.outputDir, "engine.log");
  mkdirSync(rig.around.outputDir, { recursive: true });
  writeFileSync(log, "database disk image is malformed\n");
  expect((await remedies.examine("engine")).hints).toEqual(["corruption"]);
  remedies.started("engine");
  expect((await remedies.examine("engine")).hints).toEqual([]);
  appendFileSync(log, "bind: Address already in use\n");
  expect((await remedies.examine("engine")).hints).toEqual(["exhaustion"]);
  writeFileSync(log, "ECONNREFUSED\n");
  expect((await remedies.examine("engine")).hints).toEqual(["dependency"]);
});

/** What a program that fails at its start says. */
const said = (program: string, args: readonly string[]) => {
  const { stdout, stderr } = spawnSync(program, args, { encoding: "utf8", timeout: 10_000 });
  return stdout + stderr;
};
async function hintsOf(text: string) {
  mkdirSync(rig.around.outputDir, { recursive: true });
  writeFileSync(join(rig.around.outputDir, "engine.log"), text);
  return (await remedies.examine("engine")).hints;
}

test("hints are what redis really says: of a config that is wrong, and of data that is corrupt", async (context) => {
  const redis = requireTool(context, "redis-server");
  await open([specOf()]);
  const fails = (...args: string[]) =>
    said(redis, ["--port", "0", "--unixsocket", join(dir, "r.sock"), "--dir", dir, ...args]);
  const wrong = join(dir, "redis.conf");
  writeFileSync(wrong, "maxmemory lots\n");
  expect(await hintsOf(fails(wrong))).toEqual(["config"]);
  writeFileSync(join(dir, "dump.rdb"), "REDIS0009garbage that is no database");
  expect(await hintsOf(fails())).toEqual(["corruption"]);
  const log = "appendonly.aof.1.incr.aof";
  mkdirSync(join(dir, "appendonlydir"));
  writeFileSync(join(dir, "appendonlydir", "appendonly.aof.manifest"), `file ${log} seq 1 type i\n`);
  writeFileSync(join(dir, "appendonlydir", log), "garbage");
  expect(await hintsOf(fails("--appendonly", "yes"))).toEqual(["corruption"]);
});

test("hints are what nginx really says of a config that is wrong", async (context) => {
  const nginx = requireTool(context, "nginx");
  await open([specOf()]);
  const wrong = join(dir, "nginx.conf");
  writeFileSync(wrong, "events {}\nhttp { lisen 1; }\n");
  expect(await hintsOf(said(nginx, ["-c", wrong, "-p", dir, "-t"]))).toEqual(["config"]);
});
