import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ask, type Desk } from "@blueflame/agent/cli/ask.driver.ts";
import { flagsVariable, markVariable } from "@blueflame/agent/constants.ts";
import { allPids, environOf, procStat } from "@blueflame/agent/supervise/proc.driver.ts";
import { WorkloadPhase } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import type { GetStatusResponse } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { inRoot } from "../../deploy/root.ts";
import { type Ended, processesOf, run, signalIfThere, sweep } from "../../deploy/running.ts";
import { looks } from "../support/looks.ts";
import { LeadWatch } from "./lead-watch.ts";

const bundleOf = { agent: "blueflame-agent.cjs", watchdog: "blueflame-watchdog.cjs" };
/** So that the next fault meets a pair that has forgotten the last one. */
const shortMemory = ["--well-after", "1s"];
/** What stands in for init: whatever ends is started again after 100 ms, as by Restart=always. */
const init = 'while :; do "$@"; sleep 0.1; done';

/** How a node differs from what `npm run build` has made, with the figures of the trials. */
export interface NodeOptions {
  /** The folder of its programs, when they were installed. */
  readonly programs?: string;
  /** The config that init starts it with, when that was installed, too. */
  readonly installedConfig?: string;
  /** Flags of the watchdog. */
  readonly figures?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
}

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
  readonly config = join(this.dir, "agent.yaml");
  readonly #programs: string;
  readonly #started: string;
  readonly #node: string;
  readonly #figures: readonly string[];
  readonly #env: NodeJS.ProcessEnv;
  readonly #leads = new LeadWatch((pid) => this.#leadOf(pid));
  #init: ChildProcess | undefined;

  constructor(workloads: readonly object[], options: NodeOptions = {}) {
    this.#programs = options.programs ?? inRoot("dist");
    this.#started = options.installedConfig ?? this.config;
    this.#node = options.programs ? join(options.programs, "node") : process.execPath;
    this.#figures = options.figures ?? shortMemory;
    this.#env = { ...process.env, [flagsVariable]: this.#figures.join(" "), ...options.env };
    writeFileSync(this.config, JSON.stringify({ node: { id: "guards" }, workloads }));
  }

  /** Installs what was built for the user whose home that is, to be run from there; how the command ended. */
  install(home: string): Promise<Ended> {
    const words = ["install", "--user", "--config", this.config, "--data-dir", this.dataDir];
    const command = [process.execPath, inRoot("dist", bundleOf.agent), ...words];
    return run(["/usr/bin/env", `HOME=${home}`, "XDG_CONFIG_HOME=", ...command], 60_000, home);
  }

  /** Init starts the watchdog, and goes on doing so. */
  underInit(): void {
    this.#init = this.#start(["/bin/sh", "-c", init, "init", ...this.#watchdog("--init")]);
  }

  /** A watchdog that nobody starts again. */
  watchdogAlone(): ChildProcess {
    return this.#start(this.#watchdog());
  }

  #watchdog(...flags: string[]): string[] {
    const own = [...this.#program("watchdog"), "watchdog", ...flags, ...this.#figures, "--data-dir", this.dataDir];
    return [...own, "--", ...this.#up()];
  }

  #program(kind: "agent" | "watchdog"): string[] {
    return [this.#node, join(this.#programs, bundleOf[kind])];
  }

  /** A person types `up`; the process that answers, sooner or later, is not always this one. */
  byPerson(): ChildProcess {
    return this.#start([...this.#program("agent"), ...this.#up()]);
  }

  #up(): string[] {
    return ["up", "--config", this.#started, "--data-dir", this.dataDir];
  }

  #start([file = "", ...args]: readonly string[]): ChildProcess {
    const log = openSync(join(this.dir, "log"), "a");
    try {
      return spawn(file, args, { stdio: ["ignore", log, log], detached: true, env: this.#env });
    } finally {
      closeSync(log);
    }
  }

  /** Runs a command of the agent to its end; its exit code and what it said. */
  run(word: string, ...words: string[]): Promise<{ code: number | null; said: string }> {
    const [file = "", ...args] = [...this.#program("agent"), word, "--data-dir", this.dataDir, ...words];
    const child = spawn(file, args, { env: this.#env });
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
    // The agent's program is the watchdog's too, by its word: so whoever types it, or has PM2 run it, starts that.
    const bundles = Object.values(bundleOf);
    return allPids().filter((pid) => {
      const [file = "", ...args] = cmdline(pid);
      if (!file.endsWith("node") || !args.includes(this.dataDir)) return false;
      const script = args.findIndex((one) => bundles.some((bundle) => one.endsWith(`/${bundle}`)));
      return script >= 0 && args[script + 1] === word && isAlive(pid);
    });
  }

  /** Living main processes of a workload. */
  leads(workload: string): readonly number[] {
    return this.everyLead().get(workload) ?? [];
  }

  /** Those of all workloads, by one look at the machine. */
  everyLead(): ReadonlyMap<string, readonly number[]> {
    const byWorkload = Map.groupBy(this.#leads.look(), ({ workload }) => workload);
    return new Map([...byWorkload].map(([workload, leads]) => [workload, leads.map(({ pid }) => pid)]));
  }

  #leadOf(pid: number): { readonly workload: string; readonly pid: number } | undefined {
    if (procStat(pid)?.session !== pid || !isAlive(pid)) return undefined;
    const workload = environOf(pid, markVariable)?.split(":")[1];
    if (workload === undefined || environOf(pid, "BLUEFLAME_SOCKET")?.startsWith(this.dataDir) !== true)
      return undefined;
    return { workload, pid };
  }

  /** Waits until all that should be there is: one watchdog, one agent that answers, these workloads running and without an incident. */
  async allBack(workloads: readonly string[], not: readonly number[], withinMs: number): Promise<void> {
    let missing = "";
    for await (const _ of looks(withinMs)) {
      missing = await this.#missing(workloads, not);
      if (missing === "") return;
    }
    throw new Error(`waited ${withinMs} ms in vain: ${missing}\n${this.logs()}`);
  }

  async #missing(workloads: readonly string[], not: readonly number[]): Promise<string> {
    const found = { watchdog: this.of("watchdog"), agent: this.of("agent") };
    for (const kind of ["watchdog", "agent"] as const) {
      const pids = found[kind];
      if (pids.length !== 1) return `${pids.length} of kind ${kind}`;
      if (not.includes(pids[0] ?? 0)) return `the old ${kind} is still there`;
    }
    const status = await this.status();
    if (!status) return "the agent does not answer";
    if (status.pid !== found.agent[0]) return "another agent answers";
    for (const name of workloads) {
      const one = status.workloads.find((workload) => workload.name === name);
      if (one?.phase !== WorkloadPhase.RUNNING || one.incidentId !== "") return `${name} is not well: ${one?.because}`;
      if (not.includes(one.pid)) return `the old ${name} is still there`;
      const leads = this.leads(name);
      if (leads.length !== 1) return `${leads.length} of ${name}`;
    }
    return this.#connected(found.watchdog[0], status.pid) ? "" : "the watchdog does not hear the agent";
  }

  /** The watchdog that lives has said so of this agent; one that has just been started has said nothing yet. */
  #connected(watchdog: number | undefined, pid: number): boolean {
    const lines = this.#watchdogLog();
    const since = lines.findLastIndex((line) => line.msg === "the watchdog guards" && line.pid === watchdog);
    return since >= 0 && lines.slice(since).some((line) => line.msg === "an agent is connected" && line.pid === pid);
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

  /** The lines that a workload's processes have written, all of them together. */
  printed(workload: string): string[] {
    const path = join(this.dataDir, "logs", "workloads", `${workload}.log`);
    return existsSync(path) ? readFileSync(path, "utf8").split("\n").filter(Boolean) : [];
  }

  /** What all of them have said on stderr. */
  output(): string {
    return readFileSync(join(this.dir, "log"), "utf8");
  }

  logs(): string {
    const own = this.output().slice(-4000);
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

/** It runs, or is stopped; what is only still to be reaped is dead. */
export function isAlive(pid: number): boolean {
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
