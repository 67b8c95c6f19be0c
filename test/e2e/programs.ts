import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ask, type Desk } from "@blueflame/agent/cli/ask.driver.ts";
import { markVariable } from "@blueflame/agent/supervise/family.driver.ts";
import { allPids, environOf, procStat } from "@blueflame/agent/supervise/proc.driver.ts";
import type { GetStatusResponse } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { inRoot } from "../../deploy/root.ts";
import { looks } from "../support/looks.ts";

const files = {
  agent: inRoot("dist", "blueflame-agent.cjs"),
  hub: inRoot("dist", "blueflame-hub.mjs"),
  operator: inRoot("dist", "blueflame.mjs"),
} as const;

/** How a program ended, and what it said. */
export interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** A started program; its folder ends it. */
export interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<Ran>;
  /** What it has said on stderr so far. */
  err(): string;
}

/** A folder for one test, and everything that is started in it. Whoever made it clears it. */
export class Folder {
  readonly dir = mkdtempSync(join(tmpdir(), "bf-e2e-"));
  readonly #started: Started[] = [];
  readonly #dataDirs = new Set<string>();

  file(name: string, text: string, mode = 0o600): string {
    const path = join(this.dir, name);
    writeFileSync(path, text, { mode });
    return path;
  }

  start(program: keyof typeof files, args: readonly string[], env: NodeJS.ProcessEnv = {}): Started {
    const at = args.indexOf("--data-dir");
    if (at >= 0 && program === "agent") this.#dataDirs.add(args[at + 1] ?? "");
    // These tests start the next agent themselves; guards.test.ts is about who does it otherwise.
    const words = program === "agent" && args[0] === "up" ? ["up", "--no-watchdog", ...args.slice(1)] : args;
    const child = spawn(process.execPath, [files[program], ...words], {
      stdio: ["ignore", "pipe", "pipe"],
      cwd: this.dir,
      env: { ...process.env, NO_COLOR: "1", HOME: this.dir, ...env },
    });
    let out = "";
    let err = "";
    child.stdout.on("data", (text) => (out += String(text)));
    child.stderr.on("data", (text) => (err += String(text)));
    const ended = new Promise<Ran>((resolve) => {
      // Not "close": a workload never holds the agent's stderr, and a successor of the agent may.
      child.once("exit", (code) => setImmediate(() => resolve({ code, out, err })));
    });
    const started = { child, ended, err: () => err };
    this.#started.push(started);
    return started;
  }

  run(program: keyof typeof files, ...args: string[]): Promise<Ran> {
    return this.start(program, args).ended;
  }

  /** `up` until the agent answers on its socket. */
  async up(dataDir: string, ...args: string[]): Promise<Started> {
    const agent = this.start("agent", ["up", "--data-dir", dataDir, ...args]);
    await until("the agent answers", async () => {
      if (agent.child.exitCode !== null) throw new Error(`the agent ended: ${agent.err()}`);
      return (await statusOf(dataDir).catch(() => undefined))?.pid === agent.child.pid;
    });
    return agent;
  }

  async clear(): Promise<void> {
    for (const dataDir of this.#dataDirs) {
      await ask(dataDir, (desk: Desk) => desk.down({ person: "test" }, { timeoutMs: 10_000 })).catch(() => undefined);
    }
    for (const { child, ended } of this.#started) {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await ended;
    }
    for (const dataDir of this.#dataDirs) for (const pid of leadersOf(dataDir)) process.kill(pid, "SIGKILL");
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** What the agent of this data directory says of itself. */
export function statusOf(dataDir: string): Promise<GetStatusResponse> {
  return ask(dataDir, (desk: Desk) => desk.getStatus({}, { timeoutMs: 3000 }));
}

/** SIGKILL to a program alone. */
export async function killed({ child, ended }: Started): Promise<void> {
  child.kill("SIGKILL");
  await ended;
}

/** PIDs of living main processes that an agent of this data directory has started, of one workload or of all. */
export function leadersOf(dataDir: string, workload?: string): number[] {
  return allPids().filter((pid) => {
    if (environOf(pid, "BLUEFLAME_SOCKET") !== join(dataDir, "agent.sock")) return false;
    const stat = procStat(pid);
    if (!stat || stat.state === "Z" || stat.session !== pid) return false;
    return workload === undefined || environOf(pid, markVariable)?.split(":")[1] === workload;
  });
}

/** Waits until it holds; fails with `what` otherwise. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, withinMs = 20_000): Promise<void> {
  for await (const _ of looks(withinMs)) if (await holds()) return;
  throw new Error(`waited ${withinMs} ms in vain until ${what}`);
}
