import { spawn } from "node:child_process";
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
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openRemedyRig, type RemedyRig } from "../../test/support/remedy-rig.ts";
import { specOf } from "../../test/support/spec.ts";
import { procStat } from "../supervise/proc.driver.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import type { Around } from "./around.ts";
import { openRemedies, type Remedies } from "./remedies.driver.ts";

let dir: string;
let rig: RemedyRig;
let remedies: Remedies;
const ends: (() => void)[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-remedies-"));
  mkdirSync(join(dir, "playbooks"));
});
afterEach(async () => {
  await remedies.close();
  await rig.close();
  for (const end of ends.splice(0)) end();
  rmSync(dir, { recursive: true, force: true });
});

async function open(specs: readonly WorkloadSpec[] = [specOf()], over: Partial<Around> = {}) {
  rig = await openRemedyRig(dir, specs, { playbooks: join(dir, "playbooks"), ...over });
  remedies = await openRemedies(rig.around);
}
function playbook(name: string, steps: string, more = ""): void {
  writeFileSync(join(dir, "playbooks", `${name}.yaml`), `name: ${name}\ndescription: Ours.\n${more}steps:\n${steps}`);
}
function script(name: string, text: string): string {
  const path = join(dir, name);
  writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  return path;
}
let count = 0;
const play = (name: string, workload = "engine", budgetMs = 20_000) =>
  remedies.play({ id: `i/${name}/${++count}`, playbook: name, workload, incidentId: "i1", budgetMs });
const lines = () => readFileSync(join(dir, "out"), "utf8").trim().split("\n");

async function serve(answer: (path: string) => number): Promise<number> {
  const server: Server = createServer((request, response) => {
    response.statusCode = answer(`${request.method} ${request.url}`);
    request.resume().on("end", () => response.end("{}"));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  ends.push(() => void server.close());
  return (server.address() as AddressInfo).port;
}

test("GRC-3 an operator's playbook runs its steps in order, with values as whole arguments and never through a shell", async () => {
  const say = script("say", `printf '%s\\n' "$@" >> ${dir}/out`);
  const asked: string[] = [];
  const port = await serve((path) => (asked.push(path) > 0 ? 200 : 500));
  playbook(
    "mine",
    `  - exec: {command: [${say}, "{workload}", "{port}", "{pid}", "$(touch ${dir}/owned)", "a; b", "{\\"x\\": 1}"]}
  - http: {path: /caches/clear}
  - wait: {for: 100ms}
  - restart: {}
  - verify: {within: 5s}
  - alert: {message: Done with it., severity: low}
`,
  );
  const performance = { url: `http://127.0.0.1:${port}/health/performance`, everyMs: 5000, timeoutMs: 100 };
  await open([specOf({ performance })]);
  expect(await play("mine")).toMatchObject({ ok: true });
  expect(lines()).toEqual(["engine", String(port), String(2 ** 22 + 1), `$(touch ${dir}/owned)`, "a; b", '{"x": 1}']);
  expect(existsSync(join(dir, "owned"))).toBe(false);
  expect(asked).toEqual(["POST /caches/clear"]);
  expect(rig.asked).toEqual(["restart engine"]);
  expect(rig.alerts).toMatchObject([
    { what: "playbook.mine", message: "Done with it.", severity: "low", workload: "engine" },
  ]);
});

test("SYN-10 each step is in the audit: what, why, how it ended, how long, and the state before and after", async () => {
  await open();
  await play("restart-kernel");
  expect(rig.audits.map(({ action, outcome }) => `${action} ${outcome}`)).toEqual([
    "remedy.restart success",
    "remedy.verify success",
  ]);
  const [first] = rig.audits;
  expect(first).toMatchObject({ actor: "agent", workload: "engine", incidentId: "i1" });
  expect(first?.because).toMatch(/^restart-kernel: restart it: /);
  expect(first?.before).toMatchObject({ stands: "well", pid: 2 ** 22 + 1 });
  expect(first?.after).toMatchObject({ stands: "well" });
  expect(first?.tookMs).toBeGreaterThanOrEqual(0);
});

test("SYN-9 the forbidden is refused before anything happens, and audited as refused", async () => {
  mkdirSync(join(dir, "data"));
  writeFileSync(join(dir, "data", "ledger"), "all of it");
  const attempts = [
    `exec: {command: [/bin/rm, -rf, ${dir}/data]}`,
    `exec: {command: [/bin/sh, -c, "rm -rf ${dir}/data"]}`,
    `exec: {command: [/usr/bin/env, rm, -rf, ${dir}/data]}`,
    `exec: {command: [/bin/cat, ${dir}/agent/store/CURRENT]}`,
    `exec: {command: [/bin/cat, ${dir}/node.key]}`,
    "exec: {command: [/usr/bin/systemctl, stop, blueflame-watchdog]}",
    "exec: {command: [/usr/bin/blueflame-agent, kill-switch, 'off']}",
    "exec: {command: [/usr/bin/blueflame-agent, kill-switch, 'off', --reason, health]}",
    "exec: {command: [/usr/bin/blueflame-agent, state, unlock, firewall, --reason, audit]}",
    "clean_disposable: {older_than: 0s, until_used: 0%}",
  ];
  for (const [n, attempt] of attempts.entries()) playbook(`evil-${n}`, `  - ${attempt}\n`);
  const data = { paths: [join(dir, "data")], everyMs: 3_600_000, keep: 1, maxBytes: 1000 };
  writeFileSync(join(dir, "node.key"), "secret");
  const over = { disposable: [join(dir, "data")], guarded: [join(dir, "node.key")] };
  await open([specOf({ data, restart: "never" })], over);
  for (const n of attempts.keys()) {
    const result = await play(`evil-${n}`);
    expect(result, attempts[n]).toMatchObject({ ok: false });
  }
  expect(readFileSync(join(dir, "data", "ledger"), "utf8")).toBe("all of it");
  const refused = rig.audits.filter(({ action }) => action === "remedy.exec");
  expect(refused.map(({ outcome }) => outcome)).toEqual(refused.map(() => "refused"));
  expect(refused).toHaveLength(9);
  // What a command is handed stays out of the record: it may be a secret.
  expect(refused.map(({ because }) => because).join()).not.toMatch(/ledger|-rf/);
});

test("SYN-9 GRC-7 nothing is done while the kill switch is on, or to what a person stopped", async () => {
  await open();
  rig.killSwitch = true;
  expect(await play("restart-kernel")).toMatchObject({ ok: false, because: expect.stringMatching(/kill switch/) });
  rig.killSwitch = false;
  rig.stands.set("engine", { is: "stopped" });
  expect(await play("restart-kernel")).toMatchObject({ ok: false, because: expect.stringMatching(/person stopped/) });
  expect(
    await remedies.prepare({ id: "r1", workload: "engine", rung: "config_rollback", incidentId: "", budgetMs: 1000 }),
  ).toMatchObject({ ok: false });
  expect(rig.asked).toEqual([]);
  expect(rig.audits.map(({ outcome }) => outcome)).toEqual(["refused", "refused", "refused"]);
});

test("GRC-6 the optimization steps run in order, and the latency is back under its threshold before the restart is needed", async () => {
  const asked: string[] = [];
  const port = await serve((path) => {
    asked.push(path);
    const now = rig.figures.get("engine")?.p95_latency_ms ?? 0;
    rig.figures.set("engine", { p95_latency_ms: now - 200 });
    return 204;
  });
  playbook(
    "performance-optimization",
    `  - {name: clear caches, http: {path: /clear-caches}}
  - {name: tune queries, http: {path: /tune-queries}}
  - {name: tune the pool, http: {path: /tune-pool}}
  - verify: {figure: p95_latency_ms, below: 1000ms, within: 20s}
  - restart: {}
    when: {any: [{figure: p95_latency_ms, above: 1000ms}]}
`,
  );
  const performance = { url: `http://127.0.0.1:${port}/`, everyMs: 5000, timeoutMs: 100 };
  await open([specOf({ performance })]);
  rig.figures.set("engine", { p95_latency_ms: 1050 });
  const startedMs = rig.around.clock.monotonicMs();
  expect(await play("performance-optimization")).toMatchObject({
    ok: true,
    because: expect.stringMatching(/p95_latency_ms is 450/),
  });
  expect(rig.around.clock.monotonicMs() - startedMs).toBeLessThan(30_000);
  expect(asked).toEqual(["POST /clear-caches", "POST /tune-queries", "POST /tune-pool"]);
  expect(rig.asked).toEqual([]);
});

test("GRC-6 the box's own optimization restarts what is still slow, and leaves alone what is not", async () => {
  await open();
  rig.figures.set("engine", { p95_latency_ms: 1050 });
  rig.restarts = async () => {
    rig.figures.set("engine", { p95_latency_ms: 450 });
    return { ok: true, because: "restarted" };
  };
  expect(await play("performance-optimization")).toMatchObject({ ok: true });
  expect(await play("performance-optimization")).toMatchObject({ ok: true });
  expect(rig.asked).toEqual(["restart engine"]);
});

test("a workload that takes too much memory gives it back also on a machine that has enough; a small one is left alone", async () => {
  await open();
  rig.figures.set("", { memory_used_ratio: 0.3, ours_memory_ratio: 0.2, disk_used_ratio: 0.4, disk_free_inodes: 9999 });
  rig.figures.set("engine", { process_memory_bytes: 50 * 2 ** 20 });
  expect(await play("resource-cleanup")).toMatchObject({ ok: true });
  expect(rig.asked).toEqual([]);
  rig.figures.set("engine", { process_memory_bytes: 2.1 * 2 ** 30 });
  expect(await play("resource-cleanup")).toMatchObject({ ok: true });
  expect(rig.asked).toEqual(["restart engine"]);
});

test("DOL-6 a storm of sixty recoveries is a few at a time, and never two of one workload", async () => {
  const names = Array.from({ length: 30 }, (_, n) => `worker-${n}`);
  const busy = script("busy", `echo + >> ${dir}/out; sleep 0.3; echo - >> ${dir}/out`);
  playbook("storm", `  - exec: {command: [${busy}]}\n`, "pool: storm\n");
  await open(
    names.map((name) => specOf({ name })),
    { pools: { storm: 3 } },
  );
  const results = await Promise.all([...names, ...names].map((name) => play("storm", name)));
  const done = results.filter(({ ok }) => ok).length;
  expect(done).toBe(3 + 16);
  expect(results.filter(({ because }) => /another run is at work/.test(because)).length).toBeGreaterThan(0);
  expect(results.filter(({ because }) => /no more is taken/.test(because)).length).toBeGreaterThan(0);
  let now = 0;
  let most = 0;
  for (const line of lines()) {
    now += line === "+" ? 1 : -1;
    most = Math.max(most, now);
  }
  expect(most).toBe(3);
});

test("a playbook started eight seconds after its trigger: three that waited out a minute had taken the places of all recoveries", async () => {
  const names = ["one", "two", "three", "four"];
  const note = script("note", `echo "$1" >> ${dir}/out`);
  playbook("patient", `  - wait: {for: 3s}\n  - exec: {command: [${note}, patient]}\n`, "pool: ours\n");
  playbook("quick", `  - exec: {command: [${note}, quick]}\n`, "pool: ours\n");
  const specs = names.map((name) => specOf({ name }));
  await open(specs, { pools: { ours: 1 } });
  const patient = ["one", "two"].map((name) => play("patient", name));
  const quick = ["three", "four"].map((name) => play("quick", name));
  const results = await Promise.all([...patient, ...quick]);
  expect(results.map(({ ok }) => ok)).toEqual([true, true, true, true]);
  expect(lines()).toEqual(["quick", "quick", "patient", "patient"]);
});

test("a run that finds no place after it let time pass ends with its own time, and the next one has its turn", async () => {
  const busy = script("busy", `echo busy >> ${dir}/out; sleep 1.5`);
  const note = script("note", `echo "$1" >> ${dir}/out`);
  playbook("patient", `  - wait: {for: 300ms}\n  - exec: {command: [${note}, patient]}\n`, "pool: ours\n");
  playbook("busy", `  - exec: {command: [${busy}]}\n`, "pool: ours\n");
  playbook("quick", `  - exec: {command: [${note}, quick]}\n`, "pool: ours\n");
  await open(
    ["one", "two"].map((name) => specOf({ name })),
    { pools: { ours: 1 } },
  );
  const patient = play("patient", "one", 800);
  const long = play("busy", "two");
  expect(await patient).toMatchObject({
    ok: false,
    because: expect.stringContaining("its 800 ms were over before step 2"),
  });
  expect(await long).toMatchObject({ ok: true });
  expect(await play("quick", "one")).toMatchObject({ ok: true });
  expect(lines()).toEqual(["busy", "quick"]);
});

test("DOL-7 a slow backup holds no recovery up, and a restore ends it", async () => {
  mkdirSync(join(dir, "data"));
  writeFileSync(join(dir, "data", "a"), "1");
  const dump = script("dump", `echo begun >> ${dir}/out; sleep 20`);
  const data = { paths: [join(dir, "data")], everyMs: 3_600_000, keep: 1, maxBytes: 1000, dump: [dump] as const };
  await open([specOf({ data })]);
  for (let n = 0; n < 600 && !existsSync(join(dir, "out")); n++)
    await new Promise((resolve) => setTimeout(resolve, 50));
  expect(lines()).toEqual(["begun"]);
  const startedMs = rig.around.clock.monotonicMs();
  expect(await play("restart-kernel")).toMatchObject({ ok: true });
  rig.stands.set("engine", { is: "recovering", awaitsRemedy: true });
  const restored = await remedies.prepare({
    id: "r1",
    workload: "engine",
    rung: "backup_restore",
    incidentId: "",
    budgetMs: 15_000,
  });
  expect(restored).toEqual({ ok: false, because: "there is no backup of its data" });
  expect(rig.around.clock.monotonicMs() - startedMs).toBeLessThan(15_000);
});

test("a signal goes only to the process itself, and only if it handles it", async () => {
  playbook("hup", "  - signal: {signal: SIGHUP}\n");
  await open();
  const run = async (text: string) => {
    const child = spawn(process.execPath, ["-e", text], { stdio: ["ignore", "pipe", "ignore"] });
    ends.push(() => void child.kill("SIGKILL"));
    const ended = new Promise((resolve) => child.on("exit", (code, signal) => resolve(code ?? signal)));
    await new Promise((resolve) => child.stdout.once("data", resolve));
    const pid = child.pid ?? 0;
    rig.stands.set("engine", { is: "well", instance: { id: "x", pid, startTicks: procStat(pid)?.startTicks ?? 0 } });
    return { pid, ended };
  };
  const hold = "console.log('up'); setInterval(() => {}, 1000);";
  const deaf = await run(hold);
  expect(await play("hup")).toMatchObject({ ok: true, because: expect.stringMatching(/does not handle SIGHUP/) });
  expect(procStat(deaf.pid)).toBeDefined();
  const hears = await run(`process.on('SIGHUP', () => process.exit(7)); ${hold}`);
  expect(await play("hup")).toMatchObject({ ok: true, because: `SIGHUP was sent to pid ${hears.pid}` });
  expect(await hears.ended).toBe(7);
  rig.stands.set("engine", { is: "well", instance: { id: "x", pid: process.pid, startTicks: 1 } });
  expect(await play("hup")).toMatchObject({ because: expect.stringMatching(/not that process any more/) });
});

test("a command that hangs is ended with all it started, and a failed one ends the run", async () => {
  const hang = script("hang", `sleep 60 & echo $! > ${dir}/child; wait`);
  const fail = script("fail", "echo it is locked by hunter2secret >&2; exit 3");
  playbook("hangs", `  - exec: {command: [${hang}]}\n    timeout: 1s\n  - alert: {message: Never.}\n`);
  playbook(
    "fails",
    `  - exec: {command: [${fail}]}\n    on_failure: continue\n  - alert: {message: All the same.}\n    when: {earlier: failed}\n`,
  );
  await open();
  expect(await play("hangs")).toEqual({ ok: false, because: "its time was over" });
  expect(procStat(Number(readFileSync(join(dir, "child"), "utf8")))?.state ?? "gone").toMatch(/gone|Z/);
  expect(await play("fails")).toEqual({ ok: false, because: "exit code 3: it is locked by …", through: true });
  expect(rig.alerts.map(({ message }) => message)).toEqual(["All the same."]);
});

test("a command gets nothing of the agent's environment but where programs and homes are", async () => {
  process.env.BLUEFLAME_SECRET_TEST = "secret";
  const env = script("show-env", `env > ${dir}/out`);
  playbook("env", `  - exec: {command: [${env}]}\n`);
  await open();
  await play("env");
  delete process.env.BLUEFLAME_SECRET_TEST;
  expect(lines().join("\n")).not.toMatch(/secret/);
  expect(lines()).toEqual(expect.arrayContaining(["BLUEFLAME_WORKLOAD=engine", "BLUEFLAME_INCIDENT=i1"]));
});

test("GRC-3 a person may rehearse a playbook: what it would do, what is skipped and what is refused, and nothing happens", async () => {
  playbook(
    "mix",
    "  - exec: {command: [/bin/rm, -rf, /]}\n  - restart: {}\n  - safe_mode: {}\n    when: {has: safe-mode}\n",
  );
  await open();
  const run = await remedies.runFor("ann", "mix", "engine", true);
  expect(run?.steps.map(({ outcome }) => outcome)).toEqual(["refused", "would", "skipped"]);
  expect(run?.ok).toBe(false);
  expect(rig.asked).toEqual([]);
  expect(rig.audits).toEqual([]);
  expect(await remedies.runFor("ann", "none", "engine", true)).toBeUndefined();
  const real = await remedies.runFor("ann", "restart-kernel", "engine", false);
  expect(real).toMatchObject({ ok: true, steps: [{ outcome: "done" }, { outcome: "done" }] });
  expect(rig.audits[0]?.actor).toBe("person:ann");
  expect(remedies.runs("restart-kernel")).toBe(1);
});

test("a playbook that is written while the agent runs is there within seconds, and its mistakes are a warning", async () => {
  await open();
  playbook("late", "  - restart: {}\n");
  playbook("broken", "  - restrat: {}\n");
  for (let n = 0; n < 600 && !remedies.playbooks().some(({ name }) => name === "late"); n++)
    await new Promise((resolve) => setTimeout(resolve, 50));
  expect(await play("late")).toMatchObject({ ok: true });
  expect(remedies.warnings().join()).toMatch(/broken\.yaml:4:5/);
  expect(await play("broken")).toEqual({ ok: false, because: "there is no playbook 'broken'" });
});

test("GRC-3 a diagnostic bundle holds figures, stands and the last lines, readable for the agent alone, and only twenty are kept", async () => {
  await open();
  mkdirSync(rig.around.outputDir, { recursive: true });
  writeFileSync(join(rig.around.outputDir, "engine.log"), "panic: out of ideas\n");
  rig.figures.set("engine", { error_lines: 3 });
  expect(await play("run-diagnostics", "", 5000)).toMatchObject({ ok: true });
  const folder = join(rig.around.dataDir, "diagnostics");
  const [name = ""] = readdirSync(folder);
  expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600);
  const bundle = JSON.parse(readFileSync(join(folder, name), "utf8"));
  expect(bundle.workloads).toMatchObject([
    { name: "engine", figures: { error_lines: 3 }, last_lines: ["panic: out of ideas"] },
  ]);
  for (let n = 0; n < 25; n++) writeFileSync(join(folder, `old-${n}.json`), "{}");
  expect(await play("daily-maintenance", "", 5000)).toMatchObject({ ok: true });
  expect(readdirSync(folder)).toHaveLength(20);
});
