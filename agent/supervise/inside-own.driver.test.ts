import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Families } from "./family.driver.ts";
import { procStat } from "./proc.driver.ts";

let dir: string;
let owner: string;
let families: Families;
const started: ChildProcess[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "blueflame-inside-"));
  owner = `inside-${process.pid}-${Math.random().toString(36).slice(2)}`;
  families = new Families(owner);
});
afterEach(async () => {
  for (const workload of ["deployer", "other"]) families.kill(await families.members(workload, undefined));
  for (const child of started.splice(0)) child.kill("SIGKILL");
  await until(() => started.every(({ exitCode, signalCode }) => exitCode !== null || signalCode !== null));
  families.dismiss();
  rmSync(dir, { recursive: true, force: true });
});

async function until(holds: () => boolean): Promise<void> {
  for (let n = 0; n < 6000 && !holds(); n++) await pause(10);
  expect(holds()).toBe(true);
}

const here = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);

/** An agent that is started from inside its own workload, and ends that workload; DIR, OWNER, WATCHDOG, LEADER are given to it. */
const agent = `
import { execFileSync, spawn } from "node:child_process";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
const { realProcesses } = await import(${here("process.driver.ts")});
const { environOf, procStat } = await import(${here("proc.driver.ts")});
const { Scanner } = await import(${here("../exorcism/scan.driver.ts")});
const { defaultPolicy } = await import(${here("../exorcism/sight.ts")});
const { nothing } = await import(${here("../exorcism/memory.ts")});
const { realClock } = await import(${here("../../shared/time/real-clock.driver.ts")});
const [dir, owner, watchdog, leader] = process.argv.slice(1);
const clock = realClock();
const processes = realProcesses({ owner, logDir: dir + "/logs", clock, guards: () => [Number(watchdog)] });
const { families } = processes;
const lives = (pid) => ![undefined, "Z", "X"].includes(procStat(pid)?.state);
const clean = { files: [], sockets: [], ports: [] };
const output = { maxBytes: 1e6, files: 1 };
const other = processes.spawn({ spec: { name: "other", command: ["/bin/sleep", "120"], cwd: "/", env: {}, output, clean }, id: "i2", env: {} });
const helper = spawn("/bin/sleep", ["120"], { detached: true, stdio: "ignore" });
while (environOf(other.pid, "BLUEFLAME_MARK") !== families.mark("other", "i2")) await pause(10);
const scanner = new Scanner(families, [], clock);
const { scan } = await scanner.scan(
  [{ name: "deployer", phase: "down", signsKnown: true, owesSigns: false }],
  { reportOnly: false, cpu: 0.9, stuckAfterMs: 60_000, ...defaultPolicy }, nothing, new Set());
scanner.close();
const ownerOf = (pid) => scan.processes.find((one) => one.pid === pid)?.owner?.workload ?? "nobody's";
const found = [...(await processes.find()).entries()].flatMap(([name, lives]) => lives.map(({ pid }) => name + ":" + pid));
const before = {
  mark: execFileSync("/bin/sh", ["-c", "echo \${BLUEFLAME_MARK-none}"], { encoding: "utf8" }).trim(),
  scanned: [process.pid, Number(watchdog), helper.pid, other.pid].map(ownerOf),
  found: found.sort().map((one) => one.replace(":" + other.pid, "").replace(":" + leader, "")),
};
const main = { id: "i1", pid: Number(leader), startTicks: procStat(Number(leader)).startTicks };
processes.signal(main, "SIGKILL");
const cleaned = await processes.clean({ name: "deployer", clean }, main);
await families.strike("deployer");
const after = { main: lives(main.pid), other: lives(other.pid), helper: lives(helper.pid), watchdog: lives(Number(watchdog)) };
writeFileSync(dir + "/said.new", JSON.stringify({ ...before, ok: cleaned.ok, ...after }));
renameSync(dir + "/said.new", dir + "/said");
helper.kill("SIGKILL");
process.exit(0);
`;

test.each(["in the group of its main process", "in a session of its own"])(
  "an agent that one of its own workloads has started, %s, outlives the end of that workload, and so do its others",
  async (where) => {
    const mark = families.mark("deployer", "i1");
    const env = { ...process.env, BLUEFLAME_MARK: mark };
    const watchdog = spawn("/bin/sleep", ["120"], { detached: true, stdio: "ignore", env });
    const file = join(dir, "agent.mjs");
    writeFileSync(file, agent);
    const words = [
      `"${process.execPath}"`,
      `--input-type=module -e "$(cat ${file})"`,
      dir,
      owner,
      watchdog.pid,
      "$$",
    ].join(" ");
    const alone = where.includes("own") ? "setsid " : "";
    // Not before the shell stands in the cgroup of the workload, as all that it starts then does.
    const script = `while [ ! -e go ]; do sleep 0.05; done; ${alone}${words} 2>errors & wait; sleep 120`;
    const deployer = spawn("/bin/sh", ["-c", script], { cwd: dir, detached: true, stdio: "ignore", env });
    started.push(watchdog, deployer);
    const pid = deployer.pid ?? 0;
    families.enlist("deployer", { pid, startTicks: procStat(pid)?.startTicks ?? 0 });
    const said = join(dir, "said");
    const errors = () => (existsSync(join(dir, "errors")) ? readFileSync(join(dir, "errors"), "utf8") : "");
    if (families.cgroupRoot) await until(() => families.inside("deployer").includes(pid));
    writeFileSync(join(dir, "go"), "");
    const gone = () => deployer.signalCode !== null && families.inside("deployer").length === 0;
    for (let n = 0; n < 3000 && !existsSync(said) && !(n > 500 && gone()); n++) await pause(20);
    expect(existsSync(said), `the agent has ended before it could say anything ${errors()}`).toBe(true);
    expect(JSON.parse(readFileSync(said, "utf8"))).toEqual({
      mark: "none",
      scanned: ["nobody's", "nobody's", "nobody's", "other"],
      found: ["deployer", "other"],
      ok: true,
      main: false,
      other: true,
      helper: true,
      watchdog: true,
    });
  },
);

test("an agent that is another agent's workload keeps the marker of that one for all that it starts", () => {
  process.env.BLUEFLAME_MARK = "another:engine:i1";
  families.stepOut();
  expect(process.env.BLUEFLAME_MARK).toBe("another:engine:i1");
  process.env.BLUEFLAME_MARK = families.mark("engine", "i1");
  families.stepOut();
  expect(process.env.BLUEFLAME_MARK).toBeUndefined();
});
