/**
 * The node's recovery beyond its processes, put together:
 *
 *   observer ──▶ triggers ──▶ a workload's machine, or the node's ──▶ remedies
 *      │            ▲                     │
 *      └▶ experience┘◀──── incidents ─────┴──▶ alerts, logs
 *
 * Nothing is decided here: each arrow is a call, and everything at its ends is pure or a driver of its own.
 */
import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { NodeState } from "../ladder/node-state.ts";
import type { FinishedRequest } from "../node.ts";
import type { RecoveryDesk } from "../recovery-desk.ts";
import type { Remedies } from "../remedies/remedies.driver.ts";
import { type Observer, observe } from "../sensors/observer.driver.ts";
import { dependencyOrder } from "../supervise/order.ts";
import type { Known } from "../supervise/report.ts";
import { isAvailable, standsOf } from "../supervise/stands.ts";
import type { IncidentFacts, Instance, State } from "../supervise/state.ts";
import type { Supervisor } from "../supervise/supervisor.driver.ts";
import type { Figures, Observation } from "../triggers/observation.ts";
import type { State as TriggerState, Step as TriggerStep } from "../triggers/state.ts";
import { DeadDesk } from "./dead.driver.ts";
import { deadTeller } from "./dead-word.ts";
import type { Experience } from "./experience.driver.ts";
import { backedUp, healthReport } from "./health-report.ts";
import { InUse } from "./in-use.driver.ts";
import { Jobs } from "./jobs.driver.ts";
import { type KillSwitch, Turner } from "./kill-switch.driver.ts";
import { LateJobs } from "./late-jobs.ts";
import { NodeDesk } from "./node-desk.driver.ts";
import { factOf, OpenIncidents } from "./open-incidents.ts";
import type { RecoveryParts } from "./open-recovery.driver.ts";
import { checkTarget, playbookInfo, runAnswer } from "./playbook-desk.ts";
import { sightsOf } from "./sights.ts";
import { SymptomDesk } from "./symptom-desk.ts";
import { TriggerDesk } from "./trigger-desk.driver.ts";
import type { Voice } from "./voice.driver.ts";

/** Triggers that only count what supervision sees and heals by itself. */
const factTriggers = new Set(["crash", "frozen", "sandbox"]);
/** Incidents over which the recovery metrics are taken. */
const incidentsMax = 500;

/** What is opened before it. */
export interface Opened {
  readonly voice: Voice;
  readonly experience: Experience;
  readonly remedies: Remedies;
  readonly killSwitch: KillSwitch;
  readonly triggers: TriggerState | undefined;
  readonly node: NodeState;
  /** Incidents that an earlier agent process has left open, as it told them last. */
  readonly open: readonly IncidentFacts[];
}

/** See {@link openRecovery}. */
export class Recovery implements RecoveryDesk {
  readonly #parts: RecoveryParts;
  readonly #opened: Opened;
  readonly triggerDesk: TriggerDesk;
  readonly #symptoms: SymptomDesk;
  readonly #node: NodeDesk;
  readonly voice: Voice;
  /** Turns the kill switch; has to know the supervisor before the first person can ask. */
  readonly turner: Turner;
  readonly #incidents: OpenIncidents;
  readonly #inUse: InUse;
  /** Workloads whose triggers were told that they are gone. */
  readonly #gone = new Set<string>();
  readonly #jobs: Jobs;
  readonly #late: LateJobs;
  #dead: DeadDesk | undefined;
  #observer: Observer | undefined;
  #supervisor: Supervisor | undefined;

  constructor(parts: RecoveryParts, opened: Opened) {
    this.#parts = parts;
    this.#opened = opened;
    const { config, clock, random, store, sameBoot } = parts;
    this.voice = opened.voice;
    this.#inUse = new InUse(opened.remedies);
    this.turner = new Turner(opened.killSwitch);
    const ended = (job: string, ok: boolean, because: string) => this.#late.ended(job, ok, because);
    this.#jobs = new Jobs(config.jobs, clock, ended, () => this.killSwitch());
    this.#late = new LateJobs(this.#jobs, this.voice, () => this.#observer?.latest()?.lateJobs ?? {});
    this.#incidents = new OpenIncidents(opened.open);
    this.#node = new NodeDesk({
      nodeId: store.identity.nodeId,
      site: config.site,
      stored: opened.node,
      rebooted: !sameBoot,
      store: opened.voice.arrears,
      remedies: opened.remedies,
      clock,
      random,
      incident: (facts) => this.incident("", facts, undefined),
      stageAlerts: opened.voice.stageAlerts,
      log: (level, fields, message) => this.voice.log(level, fields, message),
    });
    this.#symptoms = new SymptomDesk({
      machines: () => this.#supervisor,
      nowMs: () => clock.monotonicMs(),
      configOf: (workload, then) => void opened.remedies.examine(workload).then(({ config: facts }) => then(facts)),
      condition: (trigger, workload) => this.triggerDesk.condition(trigger, workload),
      isOwn: (playbook) => opened.remedies.playbooks().some(({ name, added }) => added && name === playbook),
      demoted: (workload) => opened.experience.demoted(workload),
      lowForMs: (workload) => opened.experience.trust(`workload:${workload}`).lowForMs,
      noted: ({ trigger, workload, because }, why) =>
        this.voice.log("info", { trigger, workload, noted: true }, `${because}; nothing to do: ${why}`),
    });
    this.triggerDesk = new TriggerDesk({
      triggers: config.triggers,
      clock,
      stored: opened.triggers && { state: opened.triggers, sameBoot },
      offsetMs: (wallMs) => -60_000 * new Date(wallMs).getTimezoneOffset(),
      told: (step) => this.#told(step),
      keep: (state) =>
        void store
          .saveStep({ workload: "", memory: { key: "triggers", value: state } }, "batched")
          .catch(() => undefined),
    });
  }

  // ── for the supervisor ─────────────────────────────────────────────────────────────────────────────────────────────

  get remedies(): Remedies {
    return this.#opened.remedies;
  }

  /** One more revision of an incident; `workload` empty: of the node. */
  incident(workload: string, facts: IncidentFacts, state: State | undefined): void {
    const { experience, remedies } = this.#opened;
    const { before, ...around } = this.#incidents.told(facts, state, () => remedies.changedAgoMs(workload));
    this.voice.incident(workload, before, facts);
    const fact = workload === "" ? undefined : factOf(workload, before, facts);
    if (fact) this.triggerDesk.tell(fact);
    experience.incident(facts, { workload, ...around });
  }

  /** A process of the workload was started just now, or adopted: then nobody knows what config it has read. */
  spawned(workload: string, { sinceMs }: Pick<Instance, "sinceMs">, adopted: boolean): void {
    if (!adopted) {
      this.#opened.remedies.started(workload);
      this.#observer?.born(workload, sinceMs);
      this.triggerDesk.tell({ is: "born", workload });
    }
    this.#inUse.learn(workload);
  }

  known(workload: string): Known {
    const { experience } = this.#opened;
    const score = experience.healthScore(workload);
    return {
      ...this.#inUse.of(workload),
      trust: experience.trust(`workload:${workload}`).trust,
      ...(score !== undefined && { healthScore: score }),
    };
  }

  suggested(workload: string, text: string): void {
    this.voice.log("warn", { workload, suggestion: true }, text);
  }

  // ── its own life ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** The supervisor is there: from now on it is observed, and triggers reach it. */
  begin(supervisor: Supervisor): void {
    this.#supervisor = supervisor;
    this.voice.knows(supervisor, () => this.killSwitch());
    const { config, specs, dataDir, outputDir, clock, store, cgroupOf, warn } = this.#parts;
    const { experience } = this.#opened;
    const sayDead = deadTeller(this.voice, warn);
    this.#dead = new DeadDesk({
      meta: config.meta,
      jobs: config.jobs,
      clock,
      order: () => dependencyOrder(specs),
      state: (name) => supervisor.state(name),
      post: (name, event) => supervisor.post(name, event),
      untilWell: (name, limitMs) => supervisor.until(name, (state) => standsOf(state) === "well", limitMs),
      late: () => this.#observer?.latest()?.lateJobs ?? {},
      trigger: (job) => this.#jobs.trigger(job),
      audit: (action, target, because, outcome) => this.voice.audit({ action, target, because, outcome }),
    });
    this.#observer = observe({
      specs,
      meta: config.meta,
      jobs: config.jobs,
      sensors: config.sensors,
      dataDir,
      clock,
      sights: () => sightsOf(supervisor),
      cgroupOf,
      logFileOf: (workload) => `${outputDir}/${workload}.log`,
      trust: (workload) => experience.trust(`workload:${workload}`).trust,
      healthScore: (workload) => experience.healthScore(workload),
      onObservation: (observation) => this.#observed(supervisor, observation),
      onMeta: (meta) => {
        sayDead(meta, clock.monotonicMs());
        if (!this.killSwitch()) this.#dead?.computed(meta);
      },
      onRequests: (workload, finished, figures) => this.#requested(workload, finished, figures),
      onErrors: (workload, count) => this.triggerDesk.tell({ is: "errors", workload, count }),
      keep: (readings) => store.appendReadings(readings),
      troubled: (workload, because) => warn(`sensor:${workload}`, because),
    });
    this.#inUse.learnRest(supervisor.names());
    this.#node.boot(this.killSwitch());
    this.turner.begun();
    this.#settle();
  }

  /** The same for the node. */
  #settle(): void {
    this.#symptoms.settle();
    const known = new Set(this.#parts.config.triggers.flatMap(({ name, off }) => (off ? [] : [name])));
    for (const [trigger, { maintenance }] of Object.entries(this.#node.state().cases))
      if (maintenance && !known.has(trigger)) this.#node.tell({ is: "retired", trigger });
      else if (!maintenance && this.triggerDesk.condition(trigger, "") === "over")
        this.#node.tell({ is: "cleared", trigger });
  }

  /** The agent itself was away for so long; `pausedMs` of it not because it was busy or waited for a core. */
  late(byMs: number, pausedMs: number): void {
    this.triggerDesk.tell({ is: "late", byMs, pausedMs });
    this.#node.tell({ is: "late", byMs });
  }

  readings() {
    return this.#observer?.readings() ?? [];
  }

  async close(): Promise<void> {
    this.turner.begun();
    this.#observer?.close();
    this.triggerDesk.close();
    this.#node.close();
    this.#jobs.close();
    await this.#opened.remedies.close();
    await this.#opened.experience.close();
    await this.voice.close();
  }

  #observed(supervisor: Supervisor, observation: Observation): void {
    const { experience, remedies } = this.#opened;
    experience.observed(observation, (name) => isAvailable(supervisor.state(name)));
    this.triggerDesk.tell({ is: "observed", observation });
    if (!this.killSwitch()) this.#symptoms.observed();
    else if (this.turner.heed()) this.#node.tell({ is: "held" });
    const nowMs = this.#parts.clock.monotonicMs();
    for (const name of supervisor.names()) {
      const { phase, incident, mode } = supervisor.state(name);
      const { progressMs, probationMs } = supervisor.spec(name);
      this.#tellGone(name, phase.at === "stopped" || phase.at === "completed");
      if (phase.at !== "running") continue;
      const quietMs = observation.workloads[name]?.progress_age_ms;
      if (progressMs !== undefined && quietMs !== undefined && quietMs > progressMs) {
        const because = `no output, I/O or beat for ${Math.round(quietMs)} ms, allowed are ${progressMs} ms`;
        supervisor.post(name, { is: "unwell", symptom: "no_progress", because });
        // In safe mode it is not its config that proves itself.
      } else if (!incident && mode === undefined && nowMs >= phase.readySinceMs + probationMs) remedies.healthy(name);
    }
  }

  /** What stopped on purpose, or has done its work, stands for no trigger any more. */
  #tellGone(workload: string, gone: boolean): void {
    if (gone && !this.#gone.has(workload)) this.triggerDesk.tell({ is: "gone", workload });
    if (gone) this.#gone.add(workload);
    else this.#gone.delete(workload);
  }

  /** What its server has reported just now: the figures are of the last minute, the counts of this report. */
  #requested(workload: string, finished: readonly FinishedRequest[], figures: Figures): void {
    const timeouts = finished.filter(({ timedOut }) => timedOut).length;
    const errors = finished.filter(({ ok }) => !ok).length;
    this.triggerDesk.tell({ is: "requests", workload, count: finished.length, timeouts, errors, figures });
  }

  // ── triggers ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #told(step: TriggerStep): void {
    const { fired, cleared, noted } = step;
    for (const symptom of fired) {
      const { trigger, workload, playbook, because, severity } = symptom;
      this.voice.log("warn", { trigger, workload, playbook, severity }, because);
      const target = workload ? `workload/${workload}` : "node";
      this.voice.audit({ action: `trigger.${trigger}`, target, because, outcome: "success" });
      const kind = this.#parts.config.triggers.find(({ name }) => name === trigger)?.kind;
      if (factTriggers.has(kind ?? "")) continue;
      if (kind === "job_late") this.#late.fired(symptom.job, `${trigger}: ${because}`);
      else if (workload && this.killSwitch()) this.#onlyTold(symptom);
      else if (workload) this.#symptoms.take(symptom, kind);
      else {
        this.#node.tell({ is: "symptom", symptom, maintenance: kind === "schedule" });
        if (!this.killSwitch()) this.#symptoms.blame(symptom);
      }
    }
    this.#symptoms.told(step);
    for (const { trigger, workload, job } of cleared) {
      if (job !== undefined) this.#late.cleared(job);
      if (!workload) this.#node.tell({ is: "cleared", trigger });
    }
    for (const { trigger, workload, because } of noted)
      this.voice.log("info", { trigger, workload, noted: true }, because);
    const external = noted.find(({ workload }) => !workload);
    if (external) this.#parts.warn(`external:${external.trigger}`, external.because);
    for (const { trigger } of [...cleared, ...fired]) this.#parts.warn(`external:${trigger}`, undefined);
  }

  /** What still runs is being stopped, or does not let itself be: nothing is done for it, and people hear of it (design.md, rule 4). */
  #onlyTold({ trigger, workload, severity, because }: TriggerStep["fired"][number]): void {
    const message = `${because}; the kill switch is on: nothing is done about it`;
    this.voice.alert({ severity, workload, incidentId: "", what: trigger, message });
  }

  // ── for people ─────────────────────────────────────────────────────────────────────────────────────────────────────

  report(workload: string, requests: readonly FinishedRequest[]): void {
    this.#observer?.requests(workload, requests);
  }
  meta() {
    const meta = this.#observer?.meta();
    return meta && { value: meta.rmMeta, status: meta.status };
  }
  triggers() {
    return this.triggerDesk.infos();
  }
  playbooks() {
    const { remedies, experience } = this.#opened;
    const trust = (name: string) => experience.trust(`playbook:${name}`).trust;
    return remedies.playbooks().map((one) => playbookInfo(one, trust(one.name), remedies.runs(one.name)));
  }
  async runPlaybook(name: string, workload: string, dryRun: boolean, person: string) {
    if (workload !== "") this.#supervisor?.state(workload); // throws for one that does not exist
    checkTarget(this.#opened.remedies.playbooks(), name, workload);
    if (!dryRun && this.killSwitch()) throw new Fault("CONDITION_FALSE", "the kill switch is on: nothing is done");
    return runAnswer(name, await this.#opened.remedies.runFor(person, name, workload, dryRun));
  }
  killSwitch(): boolean {
    return this.#opened.killSwitch.isOn();
  }

  async setKillSwitch(on: boolean, person: string, reason: string): Promise<number> {
    const at = new Date(this.#parts.clock.wallMs()).toISOString();
    const turned = this.turner.turn(on, { person, reason, at });
    this.#node.tell({ is: on ? "held" : "released" });
    const said = { action: on ? "kill-switch.on" : "kill-switch.off", because: reason || "no reason was given" };
    this.voice.audit({ ...said, target: "node", outcome: "success", actor: `person:${person}` });
    return await turned;
  }

  async health() {
    const { experience, remedies } = this.#opened;
    const { specs, store, clock } = this.#parts;
    const wallMs = clock.wallMs();
    const facts = await Promise.all(specs.map(({ name }) => remedies.examine(name)));
    return healthReport({
      meta: this.#observer?.meta(),
      observation: this.#observer?.latest(),
      incidents: await store.incidents(incidentsMax, false),
      incidentsOpened: store.incidentsOpened(),
      suggestions: experience.suggestions(),
      agentTrust: experience.trust("node").trust,
      workloads: specs.map(({ name }, at) => ({
        name,
        healthScore: experience.healthScore(name),
        slo: experience.sloReport(name),
        trust: experience.trust(`workload:${name}`),
        backupWallMs: backedUp(facts[at]?.backup?.ageMs, wallMs),
      })),
    });
  }
  warnings(): readonly string[] {
    const killed = this.#opened.killSwitch.killed();
    const reason = killed?.reason ? `: ${killed.reason}` : "";
    const end = "`blueflame-agent kill-switch off` ends it";
    const words = killed && `the kill switch is on since ${killed.at}, by ${killed.person}${reason}; ${end}`;
    return [...this.#opened.remedies.warnings(), ...(words ? [words] : [])];
  }

  // ── for its own parts ──────────────────────────────────────────────────────────────────────────────────────────────

  /** The newest figures, of the process that runs now; of the node when `workload` is empty. */
  figures(workload: string): Figures {
    const observation = this.#observer?.latest();
    return (workload ? observation?.workloads[workload] : observation?.node) ?? {};
  }
  get supervisor(): Supervisor | undefined {
    return this.#supervisor;
  }
  staleFor(workload: string): string[] {
    const stale = this.#observer?.latest()?.staleSources ?? [];
    return stale
      .filter((one) => one.external && (one.workload === "" || one.workload === workload))
      .map(({ name }) => name);
  }
}
