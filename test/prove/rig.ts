import { type ChildProcess, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ask, type Desk } from "@blueflame/agent/cli/ask.driver.ts";
import { markVariable } from "@blueflame/agent/supervise/family.driver.ts";
import { environOf, procStat } from "@blueflame/agent/supervise/proc.driver.ts";
import type { DecisionRecord, Incident } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { WorkloadPhase, type WorkloadStatus } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import type { GetStatusResponse } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { freePort as firstFreePort } from "../../deploy/ports.ts";
import { inRoot } from "../../deploy/root.ts";
import { processesOf, signalIfThere, sweep } from "../../deploy/running.ts";
import { looks } from "../support/looks.ts";
import { LeadWatch } from "./lead-watch.ts";

/** A busy machine may take this long for an answer; an agent that is away is known at once. */
const answerMs = 15_000;

/** The production bundle of the agent, as `npm run build` makes it. */
const bundle = inRoot("dist", "blueflame-agent.cjs");

/** A workload in the words of the config file. */
export type WorkloadConfig = Readonly<Record<string, unknown>> & { readonly name: string };

/** One living main process of a workload, by its marker. */
export interface Lead {
  readonly workload: string;
  readonly pid: number;
  readonly startTicks: number;
}

/**
 * A real agent process in a folder of its own, that can be killed and started again. Whoever opened it closes it: that ends
 * the agent, its workloads, and removes the folder.
 */
export class AgentRig {
  readonly dir: string;
  readonly dataDir: string;
  #agent: ChildProcess | undefined;
  #owner = "";
  readonly #leads = new LeadWatch((pid) => this.#leadOf(pid));

  /** `dataDir`: on another disk; whoever made that removes it. */
  constructor(
    config: { readonly workloads: readonly WorkloadConfig[] } & Readonly<Record<string, unknown>>,
    dataDir?: string,
  ) {
    this.dir = mkdtempSync(join(tmpdir(), "bf-prove-"));
    this.dataDir = dataDir ?? join(this.dir, "d");
    this.configure(config);
  }

  /** Writes the config that the next start reads. */
  configure(config: object): void {
    writeFileSync(join(this.dir, "agent.yaml"), JSON.stringify({ node: { id: "prove" }, ...config }));
  }

  /** Starts the agent; resolves when its local API answers. */
  async start(): Promise<void> {
    const log = openSync(join(this.dir, "agent.log"), "a");
    const [node = "", ...args] = this.command("up", "--config", join(this.dir, "agent.yaml"));
    this.#agent = spawn(node, args, { stdio: ["ignore", log, log], detached: true });
    await this.until("the agent answers", async () => {
      if (this.#agent?.exitCode !== null) throw new Error(`the agent ended: ${this.log().slice(-2000)}`);
      return (await this.status().catch(() => undefined)) !== undefined;
    });
  }

  /** The agent's command line for this node, as an argument list. Who starts it here starts the next one too: without a watchdog. */
  command(...words: string[]): string[] {
    const alone = words[0] === "up" ? ["--no-watchdog"] : [];
    return [process.execPath, bundle, ...words, ...alone, "--data-dir", this.dataDir];
  }

  get pid(): number {
    return this.#agent?.pid ?? 0;
  }

  /** SIGKILL to the agent alone; resolves when it is gone. */
  async kill(): Promise<void> {
    const agent = this.#agent;
    if (!agent || agent.exitCode !== null || agent.signalCode !== null) return;
    const ended = new Promise((resolve) => agent.once("exit", resolve));
    agent.kill("SIGKILL");
    await ended;
  }

  log(): string {
    return readFileSync(join(this.dir, "agent.log"), "utf8");
  }

  /** What the agent says of itself and its workloads; rejects while none answers. */
  async node(): Promise<GetStatusResponse> {
    return ask(this.dataDir, (desk: Desk) => desk.getStatus({}, { timeoutMs: answerMs }));
  }

  async status(): Promise<WorkloadStatus[]> {
    return (await this.node()).workloads;
  }

  /** The newest decisions, at most 500: what the service lists. */
  async decisions(): Promise<DecisionRecord[]> {
    return ask(this.dataDir, async (desk: Desk) => (await desk.listDecisions({ limit: 500 })).records);
  }

  /** The incidents of a workload, newest first. */
  async incidents(workload: string): Promise<Incident[]> {
    const all = await ask(
      this.dataDir,
      async (desk: Desk) => (await desk.listIncidents({ limit: 500 }, { timeoutMs: answerMs })).incidents,
    );
    return all.filter((incident) => incident.workload === workload);
  }

  async workload(name: string): Promise<WorkloadStatus> {
    const found = (await this.status()).find((one) => one.name === name);
    if (!found) throw new Error(`no workload ${name}`);
    return found;
  }

  /** Waits until it runs and no incident on it is open. */
  async well(name: string, withinMs = 60_000): Promise<WorkloadStatus> {
    let last: WorkloadStatus | undefined;
    await this.until(
      `${name} is well`,
      async () => {
        last = await this.workload(name).catch(() => undefined);
        return last?.phase === WorkloadPhase.RUNNING && last.incidentId === "";
      },
      withinMs,
    );
    if (!last) throw new Error("unreachable: it is well");
    return last;
  }

  async until(what: string, holds: () => Promise<boolean>, withinMs = 30_000): Promise<void> {
    for await (const _ of looks(withinMs)) if (await holds()) return;
    throw new Error(
      `waited ${withinMs} ms in vain until ${what}; the agent's log ends with:\n${this.log().slice(-3000)}`,
    );
  }

  /** Every living main process that carries this agent's marker, whoever knows of it. */
  leads(): Lead[] {
    return this.#leads.look();
  }

  #leadOf(pid: number): Lead | undefined {
    const stat = procStat(pid);
    if (!stat || stat.state === "Z" || stat.session !== pid) return undefined;
    const [owner, workload = ""] = environOf(pid, markVariable)?.split(":") ?? [];
    if (!owner) return undefined;
    if (this.#owner === "" && environOf(pid, "BLUEFLAME_SOCKET")?.startsWith(this.dataDir)) this.#owner = owner;
    return owner === this.#owner ? { workload, pid, startTicks: stat.startTicks } : undefined;
  }

  async close(): Promise<void> {
    for (const pid of processesOf(this.dir)) signalIfThere(pid, "SIGCONT"); // a frozen one could not end
    await ask(this.dataDir, async (desk: Desk) => desk.down({ person: "prove" }, { timeoutMs: 20_000 })).catch(
      () => undefined,
    );
    await this.kill();
    for (const lead of this.leads()) signalIfThere(-lead.pid, "SIGKILL");
    await sweep(this.dir, 0); // agents that a hub or the agent itself started, frozen ones too
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** How long after `faultMs` (wall) the first incident since then was detected and its workload verified healthy. */
export async function healed(
  rig: AgentRig,
  workload: string,
  faultMs: number,
  withinMs = 30_000,
): Promise<{ detectedMs: number; healthyMs: number; symptom: string }> {
  let found: Incident | undefined;
  await rig.until(
    `${workload} is healed`,
    async () => {
      const since = (await rig.incidents(workload)).filter(
        (incident) => incident.detectedAt && timestampMs(incident.detectedAt) >= faultMs - 5,
      );
      found = since.at(-1);
      return found?.recoveredAt !== undefined;
    },
    withinMs,
  );
  if (!found?.detectedAt || !found.recoveredAt) throw new Error("unreachable: it is healed");
  return {
    detectedMs: timestampMs(found.detectedAt) - faultMs,
    healthyMs: timestampMs(found.recoveredAt) - faultMs,
    symptom: found.symptom,
  };
}

/** Below what the kernel gives to connections (ip_local_port_range, from 32768 on): those take any of theirs at any moment. */
const portsFrom = 20_000;
const portsTo = 32_000;
const givenPorts = new Set<number>();

/** A port of loopback that nobody listens at, and that this process has given to nobody before. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = await firstFreePort(randomInt(portsFrom, portsTo), givenPorts);
    if (givenPorts.has(port)) continue; // given while it was looked at
    givenPorts.add(port);
    return port;
  }
}
