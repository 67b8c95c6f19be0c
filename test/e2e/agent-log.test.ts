// The built agent whose stderr takes nothing, and what it says of itself.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { inRoot } from "../../deploy/root.ts";
import { built } from "./built.ts";

const program = inRoot("dist", "blueflame-agent.cjs");
beforeAll(() => built("blueflame-agent"), 60_000);

let dir: string;
let agent: ChildProcess | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "blueflame-log-"));
});
afterEach(async () => {
  for (const pid of starts()) {
    try {
      process.kill(Number(pid), "SIGKILL");
    } catch {
      // It has ended.
    }
  }
  agent?.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

/** Whole lines only: the shell makes the file before it writes into it. */
const starts = () =>
  existsSync(join(dir, "starts")) ? readFileSync(join(dir, "starts"), "utf8").split("\n").slice(0, -1) : [];

async function until(holds: () => boolean): Promise<void> {
  for (let n = 0; n < 1500 && !holds(); n++) await pause(10);
  expect(holds()).toBe(true);
}

/** An agent that guards one sleeper and whose stderr is `stderr`. */
function guard(stderr: number): ChildProcess {
  const script = `echo $$ >> ${dir}/starts; exec sleep 600`;
  const args = [program, "up", "--no-watchdog", "--data-dir", join(dir, "data"), "--", "/bin/sh", "-c", script];
  agent = spawn(process.execPath, args, { stdio: ["ignore", "ignore", stderr] });
  return agent;
}

function pipeThatNobodyReads(): number {
  const path = join(dir, "stderr");
  execFileSync("mkfifo", [path]);
  const full = openSync(path, "r+");
  writeSync(full, Buffer.alloc(65_536));
  return full;
}

test.each([
  { name: "is full", stderr: () => openSync("/dev/full", "w") },
  { name: "has a reader that hangs", stderr: pipeThatNobodyReads },
])(
  "PHX-5 an agent whose log $name heals all the same, and leaves when it is asked to",
  async ({ stderr }) => {
    const one = guard(stderr());
    await until(() => starts().length === 1);
    process.kill(Number(starts()[0]), "SIGKILL");
    await until(() => starts().length === 2);
    expect(one.exitCode).toBeNull();
    one.kill("SIGTERM");
    await until(() => one.exitCode !== null || one.signalCode !== null);
  },
  60_000,
);

test("`--help config` explains every key of the config file", () => {
  const said = execFileSync(process.execPath, [program, "--help", "config"], { encoding: "utf8" });
  expect(said).toMatch(/^workloads\[\]\.starts\.max .*default 3$/m);
});
