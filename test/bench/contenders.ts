import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inRoot } from "../../deploy/root.ts";
import { startDetached } from "../../deploy/running.ts";
import { findTool } from "../tools.ts";

/** What a supervisor is given: `count` children that report to `file` under the names w0, w1 … */
export interface Task {
  readonly child: string;
  readonly file: string;
  readonly count: number;
  /** A fresh folder for whatever it needs. */
  readonly dir: string;
}

/** One supervisor under test. */
export interface Contender {
  readonly name: string;
  /** How long a child must have been up to count as well, by this supervisor's own rules. */
  readonly stableMs: number;
  /** Why it cannot run here. */
  readonly missing?: string;
  /** Starts it; the returned function stops it with all its children. */
  start(task: Task): Promise<() => Promise<void>>;
}

/** Compiles what is written in C, into out/bench-cache. */
export function compile(name: "child" | "loop"): string {
  const output = inRoot("out", "bench-cache", name);
  mkdirSync(inRoot("out", "bench-cache"), { recursive: true });
  execFileSync(findTool("cc") ?? "cc", ["-O2", "-o", output, inRoot("test", "bench", "floors", `${name}.c`)]);
  return output;
}

/** In the order in which they are printed; the first two are the floors. */
export function contenders(): Contender[] {
  const loop = compile("loop");
  return [
    plainLoop("C, waitpid and fork only", [loop]),
    plainLoop("Node, spawn on exit only", [process.execPath, inRoot("test", "bench", "floors", "loop.mjs")]),
    blueFlame(),
    runit(),
    pm2(),
  ];
}

/** The production agent with its default config: intent, identity, clean-up, store and audit on. */
export function blueFlame(
  program: readonly string[] = [process.execPath, inRoot("dist", "blueflame-agent.cjs")],
  started: (agent: ChildProcess) => void = () => {},
): Contender {
  return {
    name: "Blue Flame",
    stableMs: 11_000, // backoff.reset_after is 10 s by default
    ...(existsSync(program.at(-1) ?? "") ? {} : { missing: `${program.at(-1)} is not built` }),
    async start({ child, file, count, dir }) {
      const workloads = names(count).map((name) => ({ name, command: [child, file, name] }));
      const config = join(dir, "agent.yaml");
      writeFileSync(config, JSON.stringify({ workloads }));
      const data = join(dir, "data");
      const agent = startDetached(
        [...program, "up", "--config", config, "--data-dir", data],
        join(dir, "agent.log"),
        dir,
      );
      started(agent);
      return async () => {
        const [command = "", ...args] = [...program, "down", "--data-dir", data];
        await ended(spawn(command, args, { stdio: "ignore" }), 30_000);
        agent.kill("SIGKILL");
      };
    },
  };
}

function plainLoop(name: string, command: readonly string[]): Contender {
  return {
    name,
    stableMs: 1_000,
    async start({ child, file, count, dir }) {
      const loop = startDetached([...command, child, file, String(count)], join(dir, "loop.log"), dir);
      return async () => {
        loop.kill("SIGKILL");
        await ended(loop, 2_000);
        killAll(child, file);
      };
    },
  };
}

function runit(): Contender {
  const runsv = findTool("runsv");
  return {
    name: "runit",
    stableMs: 1_500, // a younger child waits a second
    ...(runsv ? {} : { missing: "runsv is not installed (apt-get install runit)" }),
    async start({ child, file, count, dir }) {
      const supervisors = names(count).map((name) => {
        const service = join(dir, name);
        mkdirSync(service, { recursive: true });
        writeFileSync(join(service, "run"), `#!/bin/sh\nexec ${child} ${file} ${name}\n`);
        chmodSync(join(service, "run"), 0o755);
        return startDetached([runsv ?? "runsv", service], join(dir, "runsv.log"), dir);
      });
      return async () => {
        for (const one of supervisors) one.kill("SIGTERM"); // it takes its child along
        await Promise.all(supervisors.map((one) => ended(one, 5_000)));
        killAll(child, file);
      };
    },
  };
}

function pm2(): Contender {
  const cache = inRoot("out", "bench-cache", "pm2");
  const bin = join(cache, "node_modules", "pm2", "bin", "pm2");
  const missing = existsSync(bin) ? undefined : install(cache);
  return {
    name: "pm2",
    stableMs: 1_500,
    ...(missing ? { missing } : {}),
    async start({ child, file, count, dir }) {
      const env = { ...process.env, PM2_HOME: join(dir, "pm2"), PM2_DISCRETE_MODE: "true" };
      const apps = names(count).map((name) => ({ name, script: child, args: [file, name], interpreter: "none" }));
      writeFileSync(join(dir, "apps.json"), JSON.stringify({ apps }));
      const pm2 = (...args: string[]) =>
        ended(spawn(process.execPath, [bin, ...args], { env, stdio: "ignore" }), 120_000);
      await pm2("start", join(dir, "apps.json"));
      return async () => {
        await pm2("kill");
        killAll(child, file);
      };
    },
  };
}

/** Why pm2 could not be installed; undefined when it was. */
function install(cache: string): string | undefined {
  mkdirSync(cache, { recursive: true });
  writeFileSync(join(cache, "package.json"), JSON.stringify({ name: "bench-cache", private: true }));
  try {
    const args = ["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "pm2@6"];
    execFileSync("npm", args, { cwd: cache, stdio: "ignore", timeout: 120_000 });
    return undefined;
  } catch {
    rmSync(cache, { recursive: true, force: true });
    return "npm could not install it (no registry?)";
  }
}

const names = (count: number) => Array.from({ length: count }, (_, i) => `w${i}`);

/** Ends the children that a supervisor left; they are known by the file they report to, which no other process has. */
function killAll(child: string, file: string): void {
  for (const pid of readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name))) {
    try {
      const [program, report] = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      if (program === child && report === file) process.kill(Number(pid), "SIGKILL");
    } catch {
      // gone meanwhile
    }
  }
}

function ended(child: ChildProcess, withinMs: number): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      resolve();
    }, withinMs);
    child.once("exit", () => {
      clearTimeout(timer);
      resolve();
    });
    child.once("error", () => resolve());
  });
}
