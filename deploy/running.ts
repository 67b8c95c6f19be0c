import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readdirSync, readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";

/** Starts a program in a session of its own, so that the terminal's Ctrl-C is ours to pass on; its output goes to `logFile`. */
export function startDetached(command: readonly string[], logFile: string, cwd: string): ChildProcess {
  const [file, ...args] = command;
  if (file === undefined) throw new Error("no command");
  const log = openSync(logFile, "a");
  try {
    return spawn(file, args, { cwd, detached: true, stdio: ["ignore", log, log] });
  } finally {
    closeSync(log);
  }
}

/** How a command ended that is waited for. */
export interface Ended {
  /** 124 when it had to be killed because the time was up. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end; never throws for what the command does. */
export function run(command: readonly string[], timeoutMs: number, cwd: string): Promise<Ended> {
  const [file, ...args] = command;
  if (file === undefined) throw new Error("no command");
  return new Promise((resolve) => {
    const child = spawn(file, args, { cwd, detached: true, stdio: ["ignore", "pipe", "pipe"] });
    let stdout = "";
    let stderr = "";
    let late = false;
    child.stdout.on("data", (chunk) => {
      stdout += chunk;
    });
    child.stderr.on("data", (chunk) => {
      stderr += chunk;
    });
    const timer = setTimeout(() => {
      late = true;
      child.kill("SIGKILL");
    }, timeoutMs);
    child.on("error", (error) => {
      clearTimeout(timer);
      resolve({ code: 1, stdout, stderr: error.message });
    });
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code: late ? 124 : (code ?? 1), stdout, stderr });
    });
  });
}

/**
 * The processes that belong to the installation in `dir`: our programs whose arguments name it, and workloads whose environment
 * leads to its socket. A person's editor or `tail` on a file in it is none of them.
 */
export function processesOf(dir: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^[0-9]+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter((pid) => belongsTo(pid, dir));
}

/** The processes that run by exactly this command line. */
export function processesLike(command: readonly string[]): number[] {
  const args = [...command, ""].join("\0");
  return readdirSync("/proc")
    .filter((name) => /^[0-9]+$/.test(name) && fieldsOf(`/proc/${name}/cmdline`).join("\0") === args)
    .map(Number);
}

function belongsTo(pid: number, dir: string): boolean {
  const args = fieldsOf(`/proc/${pid}/cmdline`);
  const ours = args.some((arg) =>
    /\/(blueflame-agent(\.cjs|-linux-[a-z0-9]+)|blueflame-watchdog\.cjs|blueflame-hub\.mjs|detach\.ts)$/.test(arg),
  );
  if (ours && args.some((arg) => arg === dir || arg.startsWith(`${dir}/`))) return true;
  return fieldsOf(`/proc/${pid}/environ`).some((pair) => pair.startsWith(`BLUEFLAME_SOCKET=${dir}/`));
}

function fieldsOf(file: string): string[] {
  try {
    return readFileSync(file, "utf8").split("\0");
  } catch {
    return []; // gone, or another user's
  }
}

/** Signals every process of `dir` until none is left: SIGTERM first, SIGKILL after `graceMs`. Resolves with what is left. */
export async function sweep(dir: string, graceMs: number): Promise<number[]> {
  for (const [signal, waitMs] of [
    ["SIGTERM", graceMs],
    ["SIGKILL", 3_000],
  ] as const) {
    for (let waitedMs = 0; waitedMs < waitMs; waitedMs += 100) {
      const left = processesOf(dir);
      if (left.length === 0) return [];
      // Again and again with SIGKILL: what was being born in the first round would be missed.
      if (waitedMs === 0 || signal === "SIGKILL") for (const pid of left) signalIfThere(pid, signal);
      await pause(100);
    }
  }
  return processesOf(dir);
}

/**
 * Signals a process, or with its number negated the group that it leads. False when there is none any more, and when none was
 * meant: 0 is our own group, and -1 everybody.
 */
export function signalIfThere(pid: number, signal: NodeJS.Signals): boolean {
  if (!(pid > 0 || pid < -1)) return false;
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}
