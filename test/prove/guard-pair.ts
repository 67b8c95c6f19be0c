import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { ask, type Desk } from "@blueflame/agent/cli/ask.driver.ts";
import { flagsVariable, markVariable } from "@blueflame/agent/constants.ts";
import { allPids, environOf, procStat } from "@blueflame/agent/supervise/proc.driver.ts";
import { WorkloadPhase } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import type { GetStatusResponse } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { inRoot } from "../../deploy/root.ts";
import { processesOf, signalIfThere, sweep } from "../../deploy/running.ts";

const bundles = { agent: inRoot("dist", "blueflame-agent.cjs"), watchdog: inRoot("dist", "blueflame-watchdog.cjs") };
/** So that the next fault meets a pair that has forgotten the last one. */
const figures = ["--well-after", "1s"];
/** What stands in for init: whatever ends is started again after 100 ms, as by Restart=always. */
const init = 'while :; do "$@"; sleep 0.1; done';

/** One line of the watchdog's log. */
export interface LogLine {
  readonly wallMs: number;
  readonly to: string;
  readonly because: string;
}

/** A node as it is installed: init (a stand-in), watchdog, agent, workloads; or without init, as `up` starts it. Whoever opened it closes it. */
export class GuardedNode {
  readonly dir = mkdtempSync(join(tmpdir(), "bf-guards-"));
  readonly dataDir = join(this.dir, "d");
  readonly #config = join(this.dir, "agent.yaml");
  #init: ChildProcess | undefined;

  constructor(workloads: readonly object[]) {
    writeFileSync(this.#config, JSON.stringify({ node: { id: "guards" }, workloads }));
  }

  /** Init starts the watchdog, and goes on doing so. */
  underInit(): void {
    const watchdog = [process.execPath, bundles.watchdog, "watchdog", "--init", ...figures, "--data-dir", this.dataDir];
    this.#init = this.#start(["/bin/sh", "-c", init, "init", ...watchdog, "--", ...this.#up()]);
  }

  /** A person types `up`; the process that answers, sooner or later, is not always this one. */
  byPerson(): ChildProcess {
    return this.#start([process.execPath, bundles.agent, ...this.#up()]);
  }

  #up(): string[] {
    return ["up", "--config", this.#config, "--data-dir", this.dataDir];
  }

  #start([file = "", ...args]: readonly string[]): ChildProcess {
    const log = openSync(join(this.dir, "log"), "a");
    try {
      const env = { ...process.env, [flagsVariable]: figures.join(" ") };
      return spawn(file, args, { stdio: ["ignore", log, log], detached: true, env });
    } finally {
      closeSync(log);
    }
  }

  /** Runs a command of the agent to its end; its exit code and what it said. */
  run(...words: string[]): Promise<{ code: number | null; said: string }> {
    const child = spawn(process.execPath, [bundles.agent, ...words, "--data-dir", this.dataDir]);
    let said = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (said += String(text)));
    return new Promise((resolve) => child.once("close", (code) => resolve({ code, said })));
  }

  status(): Promise<GetStatusResponse | undefined> {
    return ask(this.dataDir, (desk: Desk) => desk.getStatus({}, { timeoutMs: 2000 })).catch(() => undefined);
  }

  /** Living programs of ours for this node, by their command lines: whoever started them, and whatever they know. */
  of(kind: "agent" | "watchdog"): number[] {
    const word = kind === "agent" ? "up" : "watchdog";
    return processesOf(this.dataDir).filter((pid) => {
      const [file = "", ...args] = cmdline(pid);
      const script = args.indexOf(bundles[kind]);
      return file.endsWith("node") && script >= 0 && args[script + 1] === word && isAlive(pid);
    });
  }

  /** Living main processes of a workload. */
  leads(workload: string): number[] {
    return allPids().filter(
      (pid) =>
        environOf(pid, markVariable)?.split(":")[1] === workload &&
        environOf(pid, "BLUEFLAME_SOCKET")?.startsWith(this.dataDir) === true &&
        procStat(pid)?.session === pid &&
        isAlive(pid),
    );
  }

  /** Waits until all that should be there is: one watchdog, one agent that answers, these workloads running and without an incident. */
  async allBack(workloads: readonly string[], not: readonly number[], withinMs: number): Promise<void> {
    let missing = "";
    for (const endMs = performance.now() + withinMs; performance.now() < endMs; await pause(20)) {
      missing = await this.#missing(workloads, not);
      if (missing === "") return;
    }
    throw new Error(`waited ${withinMs} ms in vain: ${missing}\n${this.logs()}`);
  }

  async #missing(workloads: readonly string[], not: readonly number[]): Promise<string> {
    for (const kind of ["watchdog", "agent"] as const) {
      const pids = this.of(kind);
      if (pids.length !== 1) return `${pids.length} of kind ${kind}`;
      if (not.includes(pids[0] ?? 0)) return `the old ${kind} is still there`;
    }
    const status = await this.status();
    if (!status) return "the agent does not answer";
    if (status.pid !== this.of("agent")[0]) return "another agent answers";
    for (const name of workloads) {
      const one = status.workloads.find((workload) => workload.name === name);
      if (one?.phase !== WorkloadPhase.RUNNING || one.incidentId !== "") return `${name} is not well: ${one?.because}`;
      if (not.includes(one.pid)) return `the old ${name} is still there`;
      const leads = this.leads(name);
      if (leads.length !== 1) return `${leads.length} of ${name}`;
    }
    return this.#connected(status.pid) ? "" : "the watchdog does not hear the agent";
  }

  /** The newest watchdog has said so of this agent. */
  #connected(pid: number): boolean {
    const lines = this.#watchdogLog();
    const since = lines.findLastIndex(({ msg }) => msg === "the watchdog guards");
    return lines.slice(since).some((line) => line.msg === "an agent is connected" && line.pid === pid);
  }

  /** Transitions of the watchdog since then. */
  transitions(sinceWallMs: number): LogLine[] {
    return this.#watchdogLog()
      .filter(({ time, to }) => to !== undefined && Date.parse(time) >= sinceWallMs)
      .map(({ time, to = "", msg }) => ({ wallMs: Date.parse(time), to, because: msg }));
  }

  #watchdogLog(): { time: string; to?: string; msg: string; pid?: number }[] {
    const path = join(this.dataDir, "logs", "watchdog.log");
    const text = [`${path}.1`, path].map((file) => (existsSync(file) ? readFileSync(file, "utf8") : "")).join("");
    return text
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line));
  }

  logs(): string {
    const own = readFileSync(join(this.dir, "log"), "utf8").slice(-4000);
    const guard = this.#watchdogLog().slice(-25);
    return `${own}\n${guard.map((line) => JSON.stringify(line)).join("\n")}`;
  }

  async close(): Promise<void> {
    if (this.#init?.pid !== undefined) signalIfThere(this.#init.pid, "SIGKILL");
    for (const pid of processesOf(this.dir)) signalIfThere(pid, "SIGCONT");
    for (const kind of ["watchdog", "agent"] as const) for (const pid of this.of(kind)) signalIfThere(pid, "SIGKILL");
    await sweep(this.dir, 0);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  const state = procStat(pid)?.state;
  return state !== undefined && state !== "Z" && state !== "X";
}

function cmdline(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return []; // gone
  }
}
