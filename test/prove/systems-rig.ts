import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { ask, type Desk } from "@blueflame/agent/cli/ask.driver.ts";
import { type AuditRecord, type Incident, IncidentState } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { WorkloadPhase, type WorkloadStatus } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import type {
  GetHealthResponse,
  PlaybookInfo,
  TriggerInfo,
} from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import { parse } from "yaml";
import { inRoot } from "../../deploy/root.ts";
import { processesOf, signalIfThere, sweep } from "../../deploy/running.ts";
import { AgentRig, freePort, type WorkloadConfig } from "./rig.ts";

/** Runs what follows with this file in the place of the kernel's boot id. */
const bootIdPath = "/proc/sys/kernel/random/boot_id";
const anotherBoot = ["unshare", "-m", "sh", "-c", `mount --bind "$0" ${bootIdPath} && exec "$@"`] as const;
/** Figures of incidents are the agent's own: how often we look changes none. */
const lookEveryMs = 200;

/** A sample workload that can be told to be sick, and where it listens. */
export interface Patient {
  readonly name: string;
  readonly port: number;
  readonly config: WorkloadConfig;
  /** Of its own folder. */
  file(name: string): string;
}

/** What the node says of itself at one moment. */
interface Look {
  readonly workloads: readonly WorkloadStatus[];
  readonly incidents: readonly Incident[];
}

/** A folder of patients. Whoever made it removes it. */
export class Ward {
  readonly dir = mkdtempSync(join(tmpdir(), "bf-ward-"));
  readonly patients: Patient[] = [];

  /** `config` may overwrite what is said here, `env` is what the sample understands: see test/support/sick.main.ts. */
  async admit(
    name: string,
    config: Readonly<Record<string, unknown>> = {},
    env: Readonly<Record<string, string>> = {},
  ): Promise<Patient> {
    const port = await freePort();
    const home = join(this.dir, name);
    mkdirSync(home, { recursive: true });
    const patient: Patient = {
      name,
      port,
      file: (file) => join(home, file),
      config: {
        name,
        command: [process.execPath, inRoot("dist", "sick.mjs")],
        cwd: home,
        env: { SICK_PORT: String(port), SICK_BEAT: join(home, "beat"), ...env },
        beat: { file: join(home, "beat"), timeout: "5s" },
        start_grace: "20s",
        stop: { grace: "1s" },
        ...config,
      },
    };
    this.patients.push(patient);
    return patient;
  }

  remove(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** A node of one of the source systems: its agent, and everything that it says of itself. */
export class SystemRig extends AgentRig {
  readonly #guarded: boolean;
  #bootFile: string | undefined;
  #look: Look = { workloads: [], incidents: [] };
  #looking: Promise<void> | undefined;
  #closed = false;

  /** `guarded`: with its watchdog, as `up` starts it. */
  constructor(
    config: ConstructorParameters<typeof AgentRig>[0],
    { guarded = false, dataDir }: { readonly guarded?: boolean; readonly dataDir?: string } = {},
  ) {
    super(config, dataDir);
    this.#guarded = guarded;
  }

  override command(...words: string[]): string[] {
    const own = super.command(...words).filter((word) => !this.#guarded || word !== "--no-watchdog");
    return this.#bootFile && words[0] === "up" ? [...anotherBoot, this.#bootFile, ...own] : own;
  }

  /** All dies at once, and what comes up next is told another boot id. Needs the right to mount. */
  async reboot(): Promise<void> {
    await this.kill();
    for (const { pid } of this.leads()) signalIfThere(-pid, "SIGKILL");
    await sweep(this.dir, 0);
    this.#bootFile = join(this.dir, "boot-id");
    writeFileSync(this.#bootFile, `${randomUUID()}\n`);
    await this.start();
  }

  /** Looks all the time, for everybody who waits. */
  override async start(): Promise<void> {
    await super.start();
    this.#looking ??= this.#lookAll();
  }

  async #lookAll(): Promise<void> {
    while (!this.#closed) {
      await ask(this.dataDir, async (desk: Desk) => {
        const [status, { incidents }] = await Promise.all([
          desk.getStatus({}, { timeoutMs: 5000 }),
          desk.listIncidents({ limit: 500 }, { timeoutMs: 5000 }),
        ]);
        this.#look = { workloads: status.workloads, incidents };
      }).catch(() => undefined); // the agent is away: what was seen last is looked at
      await pause(lookEveryMs);
    }
  }

  // ── what is seen ───────────────────────────────────────────────────────────────────────────────────────────────────

  seen(workload: string): WorkloadStatus | undefined {
    return this.#look.workloads.find(({ name }) => name === workload);
  }
  /** Newest first; of the node when `workload` is empty. */
  incidentsOf(workload: string): Incident[] {
    return this.#look.incidents.filter((one) => one.workload === workload);
  }
  allIncidents(): readonly Incident[] {
    return this.#look.incidents;
  }

  /** Waits until `found` gives something of the newest look. */
  async wait<T>(what: string, found: () => T | undefined | false, withinMs = 60_000): Promise<T> {
    for (const endMs = performance.now() + withinMs; performance.now() < endMs; await pause(50)) {
      const value = found();
      if (value !== undefined && value !== false) return value;
    }
    throw new Error(`waited ${withinMs} ms in vain until ${what}; ${this.#story()}`);
  }

  /** What is not calm, and how it came to that: for who reads that a case has failed. */
  #story(): string {
    const open = this.#look.incidents.filter(({ state }) => state !== IncidentState.CLOSED).slice(0, 5);
    const lines = open.map(({ workload, symptom, timeline }) => {
      const last = timeline
        .slice(-4)
        .map((one) => `${new Date(at(one.at)).toISOString().slice(11, 23)} ${one.because}`);
      return `${workload || "node"} (${symptom}): ${last.join(" | ")}`;
    });
    const resting = this.#look.workloads.filter(({ phase }) => phase !== WorkloadPhase.RUNNING);
    return [...lines, ...resting.map(({ name, because }) => `${name}: ${because}`)].join("; ") || "all is calm";
  }

  /** Runs, and no incident is open on it. */
  calm(workload: string, withinMs = 60_000): Promise<WorkloadStatus> {
    return this.wait(
      `${workload} is calm`,
      () => {
        const one = this.seen(workload);
        return one?.phase === WorkloadPhase.RUNNING && one.incidentId === "" && one;
      },
      withinMs,
    );
  }

  /** The newest incident that was noticed since `sinceMs` (wall) and has been verified. */
  recovered(workload: string, sinceMs: number, withinMs = 60_000): Promise<Incident> {
    return this.wait(
      `${workload || "the node"} has recovered`,
      () => this.incidentsOf(workload).find((one) => at(one.detectedAt) >= sinceMs - 5 && one.recoveredAt),
      withinMs,
    );
  }
  /** Since then an incident was opened. */
  opened(workload: string, sinceMs: number, withinMs = 60_000): Promise<Incident> {
    return this.wait(
      `an incident is opened on ${workload || "the node"}`,
      () => this.incidentsOf(workload).find((one) => at(one.detectedAt) >= sinceMs - 5),
      withinMs,
    );
  }
  closed(id: string, withinMs = 60_000): Promise<Incident> {
    return this.wait(
      "the incident is closed",
      () => this.#look.incidents.find((one) => one.id === id && one.state === IncidentState.CLOSED),
      withinMs,
    );
  }

  /** Asked now, and not as they were seen last. */
  async everyIncident(): Promise<Incident[]> {
    return ask(
      this.dataDir,
      async (desk: Desk) => (await desk.listIncidents({ limit: 500 }, { timeoutMs: 10_000 })).incidents,
    );
  }

  // ── what is asked ──────────────────────────────────────────────────────────────────────────────────────────────────

  health(): Promise<GetHealthResponse> {
    return ask(this.dataDir, (desk: Desk) => desk.getHealth({}, { timeoutMs: 10_000 }));
  }
  async triggers(): Promise<TriggerInfo[]> {
    return ask(this.dataDir, async (desk: Desk) => (await desk.listTriggers({}, { timeoutMs: 5000 })).triggers);
  }
  /** Oldest first, the newest 500. */
  async audit(): Promise<AuditRecord[]> {
    const answer = await ask(this.dataDir, (desk: Desk) => desk.listAudit({ limit: 500 }, { timeoutMs: 5000 }));
    return answer.records.reverse();
  }
  /** By a person. */
  async restart(workload: string): Promise<void> {
    await ask(this.dataDir, (desk: Desk) =>
      desk.restartWorkload({ name: workload, person: "prove" }, { timeoutMs: 20_000 }),
    );
  }
  async stop(workload: string): Promise<void> {
    await ask(this.dataDir, (desk: Desk) =>
      desk.stopWorkload({ name: workload, person: "prove" }, { timeoutMs: 20_000 }),
    );
  }
  async killSwitch(on: boolean): Promise<void> {
    const request = { on, person: "prove", reason: "a trial" };
    await ask(this.dataDir, (desk: Desk) => desk.setKillSwitch(request, { timeoutMs: 20_000 }));
  }
  async playbooks(): Promise<PlaybookInfo[]> {
    return ask(this.dataDir, async (desk: Desk) => (await desk.listPlaybooks({}, { timeoutMs: 5000 })).playbooks);
  }
  play(name: string, workload: string) {
    const request = { name, workload, person: "prove", dryRun: false };
    return ask(this.dataDir, (desk: Desk) => desk.runPlaybook(request, { timeoutMs: 60_000 }));
  }

  /** Alert files, oldest first. */
  alerts(): Record<string, unknown>[] {
    const dir = join(this.dataDir, "alerts");
    if (!existsSync(dir)) return [];
    return readdirSync(dir)
      .filter((name) => name.endsWith(".json"))
      .sort()
      .map((name) => JSON.parse(readFileSync(join(dir, name), "utf8")) as Record<string, unknown>);
  }

  /** Processes of agent and watchdog that live. */
  guards(): { readonly agent: number[]; readonly watchdog: number[] } {
    const lines = processesOf(this.dir).map((pid) => ({ pid, words: wordsOf(pid) }));
    const of = (isOne: (words: readonly string[]) => boolean) =>
      lines
        .filter(({ words }) => words.some((word) => word.startsWith(this.dataDir)) && isOne(words))
        .map(({ pid }) => pid);
    return {
      agent: of((words) => words.includes("up") && !words.some((word) => word.includes("watchdog"))),
      watchdog: of((words) => words.some((word) => word.endsWith("blueflame-watchdog.cjs"))),
    };
  }

  override async close(): Promise<void> {
    this.#closed = true;
    await this.#looking;
    await super.close();
  }
}

function wordsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return [];
  }
}

/** Milliseconds of a stamp; negative when there is none. */
export function at(stamp: Timestamp | undefined): number {
  return stamp ? timestampMs(stamp) : -1;
}

/** From its detection to its verified recovery. */
export function recoveryMs({ detectedAt, recoveredAt }: Incident): number {
  return at(recoveredAt) - at(detectedAt);
}

/** Tells a patient how to feel: `slow?ms=1050`. Resolves with the wall time at which it was told: on a busy machine its answer may come after its death. */
export async function feel(patient: Pick<Patient, "port">, mood: string): Promise<number> {
  const toldMs = Date.now();
  await call(patient, "POST", `/mood/${mood}`);
  return toldMs;
}

/** One request of a customer; resolves with its status, 0 when there was no answer. */
export function call({ port }: Pick<Patient, "port">, method: string, path: string, timeoutMs = 5000): Promise<number> {
  return new Promise((resolve) => {
    const asked = request({ host: "127.0.0.1", port, path, method, agent: false, timeout: timeoutMs }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    asked.on("timeout", () => asked.destroy());
    asked.on("error", () => resolve(0));
    asked.end();
  });
}

/** How often its /live was asked in this life. */
export async function askedOf({ port }: Pick<Patient, "port">): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${port}/asked`);
  return ((await answer.json()) as { asked: number }).asked;
}

/** What `examples/NAME.yaml` says. */
export function example(name: string): Example {
  return parse(readFileSync(inRoot("examples", `${name}.yaml`), "utf8")) as Example;
}

/** The parts of an example that trials take over. */
export interface Example {
  readonly workloads: readonly WorkloadConfig[];
  readonly [section: string]: unknown;
}

/** Of a workload of an example: its figures, without what is its own (program, files, ports). */
export function figuresOf({ workloads }: Example, name: string): Record<string, unknown> {
  const found = workloads.find((one) => one.name === name);
  if (!found) throw new Error(`the example has no workload ${name}`);
  const { name: _name, command: _command, depends_on: _needs, performance: _page, ...figures } = found;
  return figures;
}
