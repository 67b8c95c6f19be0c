/**
 * The remedies of one agent, behind the port by which its machines ask for them. Everything goes through one executor: rungs are
 * runs of one step, and backups run on their schedule in a pool of their own.
 */
import type { Facts } from "../diagnosis/facts.ts";
import { noFacts } from "../diagnosis/facts.ts";
import type { Action, Playbook, Step } from "../playbooks/playbook.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import type { Around } from "./around.ts";
import { BackupSchedule } from "./backup-schedule.driver.ts";
import { Backups } from "./backups.driver.ts";
import type { Seen } from "./conditions.ts";
import { dataSteps, finishRestores } from "./data-steps.driver.ts";
import { Emergency } from "./emergency.driver.ts";
import { factsOf } from "./examine.driver.ts";
import { Executor, type RunReport } from "./executor.driver.ts";
import { Journal } from "./journal.driver.ts";
import { outsideSteps } from "./outside-steps.driver.ts";
import type { Performers } from "./performer.ts";
import { Permission } from "./permission.driver.ts";
import { Shelf } from "./playbook-shelf.driver.ts";
import { poolDefaults, rungPools } from "./pools.ts";
import type { PlayRequest, PreparedRung, RemedyPort, RemedyRequest, RemedyResult } from "./ports.ts";
import { processSteps } from "./process-steps.driver.ts";
import { rehearse } from "./rehearsal.driver.ts";
import { outputSize } from "./tail.driver.ts";
import { Versions } from "./versions.driver.ts";

/** One backup takes at most this long. */
const backupMs = 2 * 3_600_000;

/** What a person is told of a run, real or rehearsed. */
export interface PersonsRun {
  readonly ok: boolean;
  readonly steps: readonly {
    readonly step: Step;
    readonly outcome: "done" | "skipped" | "failed" | "refused" | "would";
    readonly because: string;
    readonly tookMs: number;
  }[];
  /** Nothing was begun: another run is at work, or the pool is full. */
  readonly turnedAway?: string;
}

/** The remedies of one agent. Made by {@link openRemedies}; whoever made them closes them. */
export interface Remedies extends RemedyPort {
  /** A process of the workload was started just now, with {@link RemedyPort.specInUse}: what it read is what is on the disk. */
  started(workload: string): void;
  /** Fingerprint of the config version that is on the disk now, and whether a newer one was rolled back to it. */
  configInUse(workload: string): Promise<{ readonly version: string; readonly rolledBack: boolean }>;
  /** How long ago its config was changed, as far as is known without a look at its files; undefined: never, or it has none. */
  changedAgoMs(workload: string): number | undefined;
  /** By name. */
  playbooks(): readonly Playbook[];
  /** How often a playbook has been run since the agent's start. */
  runs(playbook: string): number;
  /** Runs a playbook for a person, or only says what it would do. Undefined: there is none of that name. Never rejects. */
  runFor(person: string, playbook: string, workload: string, dryRun: boolean): Promise<PersonsRun | undefined>;
  /** Lines that people must see although the agent goes on: broken playbooks, configs that are not used. */
  warnings(): readonly string[];
  /** Leaves what runs as it is: the next agent goes on with it when it is asked. */
  close(): Promise<void>;
}

/**
 * Opens the remedies: reads versions, backups, playbooks and unfinished runs, and finishes a restore that was cut off between two
 * renames. To be awaited before the first workload is started, since it says by which spec. Bounded by seconds; never rejects.
 */
export async function openRemedies(around: Around): Promise<Remedies> {
  const opened = new OpenRemedies(around);
  await opened.begin();
  return opened;
}

class OpenRemedies implements Remedies {
  readonly #around: Around;
  readonly #versions: Versions;
  readonly #backups: Backups;
  readonly #emergency: Emergency;
  readonly #permission: Permission;
  readonly #journal: Journal;
  readonly #executor: Executor;
  readonly #shelf: Shelf;
  readonly #schedule: BackupSchedule;
  readonly #runs = new Map<string, number>();
  readonly #outputSince = new Map<string, number>();
  readonly #specs: ReadonlyMap<string, WorkloadSpec>;

  constructor(around: Around) {
    this.#around = around;
    this.#specs = new Map(around.specs.map((spec) => [spec.name, spec]));
    this.#permission = new Permission(around, (workload) => this.#versions.configFiles(workload));
    this.#versions = new Versions(around, (workload, path) => this.#mayWrite(workload, path));
    this.#backups = new Backups(around);
    this.#emergency = new Emergency(around, this.#permission);
    this.#journal = new Journal(around.dataDir, around.clock, (because) =>
      around.log("warn", {}, `the position of a run could not be kept, and it goes on without: ${because}`),
    );
    this.#shelf = new Shelf(around);
    this.#executor = new Executor({
      around,
      bounds: { ...poolDefaults, ...around.pools },
      permission: this.#permission,
      performers: this.#performers(),
      journal: this.#journal,
      specOf: (workload) => this.#specOf(workload),
      seen: (workload) => this.#seen(workload),
      snapshot: (workload) => this.#snapshot(workload),
    });
    this.#schedule = new BackupSchedule(around, this.#backups, (workload) => this.#backUp(workload));
  }

  async begin(): Promise<void> {
    await Promise.all([this.#versions.begin(), this.#backups.begin(), this.#emergency.begin(), this.#shelf.begin()]);
    await finishRestores(this.#around, this.#backups, await this.#journal.unfinished());
    this.#schedule.begin();
  }

  async close(): Promise<void> {
    this.#schedule.close();
    this.#shelf.close();
    this.#versions.close();
    await this.#executor.close();
  }

  // ── the port ───────────────────────────────────────────────────────────────────────────────────────────────────────

  async prepare(request: RemedyRequest): Promise<RemedyResult> {
    const { id, workload, rung, incidentId, budgetMs, begun } = request;
    const subject = subjectOf(rung, workload);
    const steps = [stepOf(rungs[rung], budgetMs)];
    const pool = rungPools[rung];
    const asked = {
      id,
      name: rung,
      workload,
      incidentId,
      steps,
      budgetMs,
      pool,
      subject,
      actor: "agent",
      down: true,
      durable: true,
      // A playbook that was at work beside the running process is over with it: the rung has the say now.
      clears: `workload/${workload}`,
      ...(begun && { begun }),
    };
    return resultOf(await this.#executor.run(asked));
  }

  async play(request: PlayRequest): Promise<RemedyResult> {
    const playbook = this.#shelf.get(request.playbook);
    if (!playbook) return { ok: false, because: `there is no playbook '${request.playbook}'` };
    return resultOf(await this.#play(request, playbook, "agent"));
  }

  cancel(id: string): void {
    this.#executor.cancel(id);
  }

  async examine(workload: string): Promise<Facts> {
    const spec = this.#specOf(workload);
    if (!spec) return noFacts;
    const parts = {
      around: this.#around,
      versions: this.#versions,
      backups: this.#backups,
      emergency: this.#emergency,
      outputSince: (name: string) => this.#outputSince.get(name),
    };
    return factsOf(parts, spec);
  }

  specInUse(workload: string): WorkloadSpec {
    const spec = this.#specOf(workload);
    if (!spec) throw new Error(`invariant broken: there is no workload '${workload}'`);
    return spec;
  }

  started(workload: string): void {
    try {
      this.#outputSince.set(workload, outputSize(this.#around.outputDir, workload) ?? 0);
    } catch {
      this.#outputSince.delete(workload);
    }
    this.#versions.started(workload);
  }
  async configInUse(workload: string): Promise<{ readonly version: string; readonly rolledBack: boolean }> {
    await this.#versions.observe(workload);
    return this.#versions.inUse(workload);
  }
  changedAgoMs(workload: string): number | undefined {
    return this.#versions.facts(workload).changedAgoMs;
  }
  healthy(workload: string): void {
    void this.#versions.healthy(workload);
  }

  // ── for people ─────────────────────────────────────────────────────────────────────────────────────────────────────

  playbooks(): readonly Playbook[] {
    return this.#shelf.all();
  }
  runs(playbook: string): number {
    return this.#runs.get(playbook) ?? 0;
  }
  warnings(): readonly string[] {
    return [...this.#shelf.problems(), ...this.#versions.warnings()];
  }

  async runFor(person: string, name: string, workload: string, dryRun: boolean): Promise<PersonsRun | undefined> {
    const playbook = this.#shelf.get(name);
    if (!playbook) return undefined;
    if (dryRun) {
      const parts = { permission: this.#permission, versions: this.#versions, backups: this.#backups };
      return rehearse(playbook, this.#seen(workload), parts, this.#specOf(workload));
    }
    const { clock, random } = this.#around;
    const id = `person/${clock.wallMs()}-${Math.floor(random() * 36 ** 6).toString(36)}`;
    const asked = { id, workload, incidentId: "", budgetMs: playbook.timeoutMs };
    const report = await this.#play(asked, playbook, `person:${person}`);
    const steps = report.records.map((record, index) => ({ step: report.steps[index] as Step, ...record }));
    return { ok: report.ok, steps, ...(report.turnedAway && { turnedAway: report.because }) };
  }

  // ── inside ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  async #play(
    { id, workload, incidentId, budgetMs, begun }: Omit<PlayRequest, "playbook">,
    playbook: Playbook,
    actor: string,
  ): Promise<RunReport> {
    const { name, steps, pool, timeoutMs } = playbook;
    this.#runs.set(name, this.runs(name) + 1);
    const budget = Math.min(budgetMs, timeoutMs);
    const subject = workload === "" ? `playbook/${name}` : `workload/${workload}`;
    const asked = {
      id,
      name,
      workload,
      incidentId,
      steps,
      budgetMs: budget,
      pool,
      subject,
      actor,
      down: false,
      durable: true,
      ...(begun && { begun }),
    };
    return this.#executor.run(asked);
  }

  /** In its own pool, under a subject of its own: a recovery never waits for a backup. */
  async #backUp(workload: string): Promise<RemedyResult> {
    const id = `backup/${workload}/${this.#around.clock.wallMs()}`;
    const about = {
      id,
      name: "backup",
      workload,
      incidentId: "",
      budgetMs: backupMs,
      actor: "agent",
      down: false,
      durable: false,
    };
    const steps = [stepOf({ do: "backup" }, backupMs)];
    return resultOf(await this.#executor.run({ ...about, steps, pool: "backup", subject: `backup/${workload}` }));
  }

  #performers(): Performers {
    const [around, versions, backups, permission] = [this.#around, this.#versions, this.#backups, this.#permission];
    const process = processSteps(around, versions, permission);
    const data = dataSteps({
      around,
      versions,
      backups,
      permission,
      journal: this.#journal,
      specOf: (workload) => this.#specOf(workload),
      start: (mode, context) =>
        mode === "restart"
          ? process.restart({ do: "restart" }, context)
          : process.safe_mode({ do: "safe_mode" }, context),
    });
    const bootstrap: Performers["bootstrap"] = (_action, context) => this.#emergency.run(context);
    return { ...process, ...data, ...outsideSteps(around, permission), bootstrap };
  }

  #specOf(workload: string): WorkloadSpec | undefined {
    return this.#versions.specInUse(workload) ?? this.#specs.get(workload);
  }

  async #mayWrite(workload: string, path: string): Promise<string | undefined> {
    try {
      await this.#permission.write(workload, path);
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  #seen(workload: string): Seen {
    const { stand: standOf, figures } = this.#around;
    const spec = this.#specOf(workload);
    const stand = spec && standOf(workload);
    return {
      workload,
      alive: stand?.instance !== undefined,
      well: stand?.is === "well",
      of: spec ? figures(workload) : {},
      node: figures(""),
      has: {
        safe_mode: spec?.safeMode !== undefined,
        data: spec?.data !== undefined,
        artifacts: (spec?.artifacts.length ?? 0) > 0,
        dependencies: (spec?.dependsOn.length ?? 0) > 0,
        healthy_config: this.#versions.facts(workload).healthyVersion !== undefined,
      },
      failedBefore: false,
    };
  }

  /** SYN-10: the state before and after, small. */
  #snapshot(workload: string): unknown {
    const { stand, figures } = this.#around;
    if (workload === "") {
      const { cpu_busy_ratio, memory_used_ratio, disk_used_ratio } = figures("");
      return { cpu_busy_ratio, memory_used_ratio, disk_used_ratio };
    }
    const { is, instance } = stand(workload);
    return { stands: is, pid: instance?.pid, config: this.#versions.facts(workload).version };
  }
}

/** A rung as a run of one step. */
const rungs: Readonly<Record<PreparedRung, Action>> = {
  config_rollback: { do: "rollback" },
  dependency_restart: { do: "restart_dependencies" },
  backup_restore: { do: "restore" },
  full_bootstrap: { do: "bootstrap" },
};

function subjectOf(rung: PreparedRung, workload: string): string {
  return rung === "full_bootstrap" ? "node/bootstrap" : `workload/${workload}`;
}

function stepOf(action: Action, timeoutMs: number): Step {
  return { name: "", timeoutMs, onFailure: "stop", once: false, action };
}

function resultOf({ ok, because, through, turnedAway }: RunReport): RemedyResult {
  return { ok, because, ...(through && { through }), ...(turnedAway && { turnedAway }) };
}
