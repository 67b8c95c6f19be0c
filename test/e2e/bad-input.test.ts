import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { inRoot } from "../../deploy/root.ts";
import { built } from "./built.ts";
import { Folder, leadersOf, type Ran, statusOf, until } from "./programs.ts";

beforeAll(() => built("blueflame-agent", "blueflame-hub", "blueflame"));

let folder: Folder;
let dataDir: string;
beforeEach(() => {
  folder = new Folder();
  dataDir = join(folder.dir, "d");
});
afterEach(() => folder.clear());

const up = (...args: string[]) => folder.run("agent", "up", "--data-dir", dataDir, ...args);

/** Said once, by its code, with nothing of our own insides, and nothing of it started or left behind. */
function refused(ran: Ran, code: string, exit: number): void {
  expect(ran).toMatchObject({ code: exit, out: "" });
  expect(ran.err.startsWith(`[${code}] `)).toBe(true);
  expect(ran.err).not.toMatch(/\n {4}at |unexpected:|Warning:/);
  expect(leadersOf(dataDir)).toEqual([]);
  expect(existsSync(dataDir)).toBe(false);
}

const one = (rest: string) => `workloads:\n  - name: engine\n    command: [sleep, "1000"]\n${rest}`;

test.each([
  ["an unknown key", one("    restrat: always\n"), 4, 5, ["restrat", "restart", "did you mean"]],
  ["a wrong type", one("    depends_on: engine2\n"), 4, 17, ["allowed"]],
  ["a number without its unit", one("    start_grace: 10\n"), 4, 18, ["15s", "allowed"]],
  ["a double name", one(`  - name: engine\n    command: [sleep, "1"]\n`), 4, 11, ["engine", "line 2"]],
  ["a command that is nowhere", "workloads:\n  - name: engine\n    command: [sleeep]\n", 3, 15, ["sleeep"]],
  ["a dependency that is nowhere", one("    depends_on: [engin]\n"), 4, 18, ["engin", "allowed"]],
])(
  "PHX-5 a config with %s is refused with line and column, and nothing is started",
  async (_what, text, line, col, words) => {
    const config = folder.file("agent.yaml", text);
    const ran = await up("--config", config);
    refused(ran, "CONFIG_INVALID", 2);
    expect(ran.err).toContain(`${config}:${line}:${col} `);
    for (const word of words) expect(ran.err).toContain(word);
  },
);

test("PHX-5 all problems of a config are told at once, a line for each, circles too", async () => {
  const config = folder.file(
    "agent.yaml",
    `node: { id: "Not An Id" }
workloads:
  - name: one
    command: [sleep, "1"]
    depends_on: [two]
    beat: { timeot: 3s }
  - name: two
    command: [sleep, "1"]
    depends_on: [one]
`,
  );
  const ran = await up("--config", config);
  refused(ran, "CONFIG_INVALID", 2);
  const lines = ran.err.split("\n").filter((line) => line.startsWith(`  ${config}:`));
  expect(lines.map((line) => line.slice(config.length + 3).split(":")[0])).toEqual(["1", "6", "9"]);
  expect(lines[1]).toContain('did you mean "timeout"?');
  expect(lines[2]).toContain("one → two → one");
  expect(ran.err).toContain("3 problems");
});

test("a config that is not there is refused by its path", async () => {
  const ran = await up("--config", join(folder.dir, "agnet.yaml"));
  refused(ran, "CONFIG_NOT_FOUND", 2);
  expect(ran.err).toContain("agnet.yaml");
});

test("the hub's config is refused the same way", async () => {
  const config = folder.file("hub.yaml", "escalation:\n  red_silence: 60s\n  orange_missed: many\n");
  const ran = await folder.run("hub", "serve", "--config", config, "--data-dir", dataDir);
  refused(ran, "CONFIG_INVALID", 2);
  expect(ran.err).toContain(`${config}:2:3 `);
  expect(ran.err).toContain('did you mean "red_silent"?');
  expect(ran.err).toContain(`${config}:3:18 `);
});

test.each([
  ["agent", ["up", "--confg", "x"], "--config"],
  ["agent", ["statsu"], "status"],
  ["agent", ["up", "--config", "x", "--", "sleep", "1"], "not both|in the config"],
  ["agent", ["status", "-o", "xml"], "table, json"],
  ["agent", ["logs", "-n", "many"], "many"],
  ["agent", ["stop", "--timeout", "30"], "15s"],
  ["hub", ["serve", "--grcp", "127.0.0.1:0"], "--grpc"],
  ["hub", ["sevre"], "serve"],
  ["hub", ["serve", "--grpc", "127.0.0.1:99999"], "HOST:PORT"],
  ["operator", ["nods"], "nodes"],
  ["operator", ["nodes", "--outptu", "json"], "--output"],
  ["operator", ["wait", "nonsense"], "nonsense|condition"],
] as const)(
  "nonsense on the command line of the %s (%j) is exit 2 and says what was probably meant",
  async (program, args, words) => {
    const ran = await folder.run(program, ...args, ...(program === "agent" ? ["--data-dir", dataDir] : []));
    expect(ran).toMatchObject({ code: 2, out: "" });
    expect(ran.err).toMatch(/^\[USAGE\] /);
    expect(ran.err).toMatch(new RegExp(words));
    expect(existsSync(dataDir)).toBe(false);
  },
);

test("`up -- COMMAND` that is nowhere is refused, and nothing is left behind", async () => {
  const ran = await up("--", "no-such-program", "--flag");
  expect(ran.code).not.toBe(0);
  expect(ran.err).toMatch(/^\[(SPAWN_FAILED|USAGE)\] .*no-such-program/);
  expect(existsSync(dataDir)).toBe(false);
});

test("a reader that goes away ends a listing quietly", async () => {
  await folder.up(dataDir, "--", "sleep", "1000");
  const agent = inRoot("dist", "blueflame-agent.cjs");
  for (const args of [
    ["status", "--watch"],
    ["audit", "-o", "jsonl"],
  ]) {
    const script = `"${process.execPath}" "${agent}" --data-dir "${dataDir}" ${args.join(" ")} | head -1; echo "\${PIPESTATUS[0]}"`;
    const child = spawn("/bin/bash", ["-c", script], { stdio: ["ignore", "pipe", "pipe"] });
    let [out, err] = ["", ""];
    child.stdout.on("data", (text) => (out += String(text)));
    child.stderr.on("data", (text) => (err += String(text)));
    const closed = new Promise((resolve) => child.once("close", resolve));
    await until("the first line is there", () => out !== "");
    // A watch that has nothing new to say finds out with its next line.
    if (args.includes("--watch")) await folder.run("agent", "restart", "--data-dir", dataDir);
    await closed;
    expect(out.trim().split("\n").at(-1)).toBe("0");
    expect(err).toBe("");
  }
});

test("an agent whose log nobody reads any more guards on", async () => {
  const agent = await folder.up(dataDir, "--", "sleep", "1000");
  await until("it runs", () => leadersOf(dataDir).length === 1);
  agent.child.stderr?.destroy();
  agent.child.stdout?.destroy();
  for (let n = 0; n < 2; n++) {
    const pids = leadersOf(dataDir);
    process.kill(pids[0] ?? 0, "SIGKILL");
    await until("it is healed", () => leadersOf(dataDir).some((pid) => !pids.includes(pid)));
  }
  expect((await statusOf(dataDir)).pid).toBe(agent.child.pid);
  expect(agent.child.exitCode).toBeNull();
});

test("PHX-12 `up` without anything guards the node itself, and says that there is no hub and no workload", async () => {
  const agent = await folder.up(dataDir);
  const status = await statusOf(dataDir);
  expect(status).toMatchObject({ workloads: [], warnings: [], hub: "" });
  expect(status.nodeId).toMatch(/^[a-z0-9][a-z0-9.-]*$/);
  const shown = await folder.run("agent", "status", "--data-dir", dataDir);
  expect(shown.code).toBe(0);
  agent.child.kill("SIGTERM");
  expect((await agent.ended).code).toBe(0);
  expect(agent.err()).not.toMatch(/Warning|"level":50/);
});

test("PHX-12 `up -- COMMAND` guards it without a config, Ctrl-C leaves it running, `down` ends it", async () => {
  const first = await folder.up(dataDir, "--", "sleep", "1000");
  await until("it runs", () => leadersOf(dataDir).length === 1);
  const pids = leadersOf(dataDir);
  first.child.kill("SIGINT");
  expect((await first.ended).code).toBe(0);
  expect(leadersOf(dataDir)).toEqual(pids);
  const second = await folder.up(dataDir, "--", "sleep", "1000");
  process.kill(pids[0] ?? 0, "SIGKILL");
  await until("it is healed", () => leadersOf(dataDir).some((pid) => !pids.includes(pid)));
  expect((await folder.run("agent", "down", "--data-dir", dataDir)).code).toBe(0);
  expect((await second.ended).code).toBe(0);
  expect(leadersOf(dataDir)).toEqual([]);
});

test("PHX-5 a torn config keeps nobody down with --last-good, and is refused without it", async () => {
  const config = folder.file("agent.yaml", one(""));
  const first = await folder.up(dataDir, "--config", config);
  // On a busy machine it says that it is up before its workload is.
  await until("it runs", () => leadersOf(dataDir, "engine").length === 1);
  first.child.kill("SIGKILL");
  const pids = leadersOf(dataDir, "engine");
  writeFileSync(config, one("").slice(0, 31));
  const without = await up("--config", config);
  expect(without).toMatchObject({ code: 2, err: expect.stringContaining("[CONFIG_TORN]") });
  const agent = await folder.up(dataDir, "--config", config, "--last-good");
  expect(agent.err()).toContain("[CONFIG_TORN]");
  expect((await statusOf(dataDir)).warnings).toEqual([expect.stringContaining("the last good config is used")]);
  expect(agent.err()).toContain("The last good config is used instead");
  await until("engine is guarded", async () => (await statusOf(dataDir)).workloads.length === 1);
  expect(leadersOf(dataDir, "engine")).toEqual(pids);
  process.kill(pids[0] ?? 0, "SIGKILL");
  await until("it is healed", () => leadersOf(dataDir, "engine").some((pid) => !pids.includes(pid)));
  const versions = JSON.parse(
    (await folder.run("agent", "config", "versions", "--data-dir", dataDir, "-o", "json")).out,
  );
  expect(versions).toMatchObject([{ verdict: "refused", origin: "file" }, { inUse: true }]);
  const shown = await folder.run("agent", "config", "show", versions[1].version.slice(0, 8), "--data-dir", dataDir);
  expect(shown).toMatchObject({ code: 0, out: one("") });
  // Nothing was ever good here: there is nothing to go on with.
  const bare = await folder.run(
    "agent",
    "up",
    "--data-dir",
    join(folder.dir, "other"),
    "--config",
    config,
    "--last-good",
  );
  expect(bare).toMatchObject({ code: 2, err: expect.stringContaining("[CONFIG_INVALID]") });
});

/** Everything that lies in the agent's folder, as it stands on the disk. */
function onDisk(): string {
  const paths = readdirSync(dataDir, { recursive: true, encoding: "utf8" }).map((path) => join(dataDir, path));
  return paths.map((path) => (statSync(path).isFile() ? readFileSync(path, "latin1") : "")).join("\n");
}

test("a command that was written as one text stood with its password in the agent's log, status, doctor and config versions", async () => {
  const config = folder.file("agent.yaml", one(""));
  await (await folder.up(dataDir, "--config", config)).child.kill("SIGKILL");
  const path = 'command: ["sleep -a hunter2secret"]';
  writeFileSync(config, one("").replace('command: [sleep, "1000"]', path));
  const without = await up("--config", config);
  expect(without.code).toBe(2);
  expect(without.err).toContain(
    `${config}:3:15 workloads[0].command[0]: "sleep …" cannot be started: it is not on the PATH; ` +
      'allowed is an executable file; the arguments are items of their own; did you mean "sleep"?',
  );
  const agent = await folder.up(dataDir, "--config", config, "--last-good");
  const ask = (...words: string[]) => folder.run("agent", ...words, "--data-dir", dataDir);
  const said = [await ask("status"), await ask("doctor"), await ask("config", "versions", "-o", "json")];
  expect(said.map(({ out }) => out).join()).toContain('\\"sleep …\\" cannot be started');
  expect(JSON.stringify([without, agent.err(), said])).not.toContain("hunter2secret");
  expect(onDisk()).not.toContain("hunter2secret");
});
