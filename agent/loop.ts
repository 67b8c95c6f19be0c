/**
 * The agent's loop, as a table of contents. Each line is a folder; the decisions are pure, this file only ties them together:
 *
 *   observe    sensors/    probes, beat files, the machine itself; beats and exits come by themselves
 *   decide     supervise/  one pure machine per workload: symptom, incident, rung, wait, verification, probation
 *   remember   store/      state and decision in one write, before anything is done
 *   act        supervise/  clean up, start, signal
 *   tell       uplink/     live to the hub when there is one, kept in the outbox when there is none; api/ for people here
 */

import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { AuditOutcome, AuditRecordSchema, type Incident } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import {
  type Heartbeat,
  type Order,
  OrderOutcome,
  type Reading,
  StatusSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import type { WorkloadStatus } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import {
  ConfigVersionSchema,
  type GetStatusResponse,
  GetStatusResponseSchema,
  LinkState,
} from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { uuid7 } from "@blueflame/shared/ids/uuid7.ts";
import type { Random } from "@blueflame/shared/random/random.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { create } from "@bufbuild/protobuf";
import type { KeptConfig } from "./config/memory.ts";
import { changeStoreKey } from "./key-desk.ts";
import type { FinishedRequest, Node } from "./node.ts";
import type { RecoveryDesk } from "./recovery-desk.ts";
import { lockedBecause } from "./state/risk.ts";
import type { Arrears } from "./store/arrears.ts";
import type { AgentStore } from "./store/ports.ts";
import type { Page } from "./store/rows.ts";
import { duration, standOf, timestamp } from "./supervise/report.ts";
import { instanceOf, type State } from "./supervise/state.ts";
import type { Supervisor } from "./supervise/supervisor.driver.ts";
import type { Tokens } from "./tokens.driver.ts";
import type { LinkView, UplinkNode } from "./uplink/ports.ts";

/** Without a configured beat the answer to a beat still says when to come again. */
const defaultBeatMs = 10_000;
/** How long a person waits for a stop beyond the workload's own grace: the kill and the clean-up. */
const stopMarginMs = 10_000;

/** What the node is made of; made and closed by `main.ts`. */
export interface NodeParts {
  readonly version: string;
  readonly startedWallMs: number;
  readonly pid: number;
  readonly dataDir: string;
  readonly store: AgentStore;
  readonly supervisor: Supervisor;
  readonly recovery: RecoveryDesk;
  readonly arrears: Pick<Arrears, "audit">;
  readonly configs: ConfigDesk;
  readonly tokens: Tokens;
  readonly clock: Clock;
  readonly random: Random;
  /** The newest reading of each sensor. */
  readonly readings: () => readonly Reading[];
  readonly link: () => LinkView;
  /** Lines with a code that people must see although the agent goes on. */
  readonly warnings: () => readonly string[];
  /** Restarts the agent's own process, after the answer to the order was kept. */
  readonly restartSelf: () => void;
  /** A person asked for `down`; resolves when that is kept, before anything is stopped. Never rejects. */
  readonly goesDown: (person: string) => Promise<void>;
}

/** What is remembered of the configs that this node was given. */
export interface ConfigDesk {
  /** Newest first. */
  list(): readonly (KeptConfig & { readonly inUse: boolean; readonly lastHealthy: boolean })[];
  text(sum: string): Promise<string>;
}

/** The running node behind its doors: the local API and the uplink. */
export class RunningNode implements Node {
  readonly #parts: NodeParts;
  readonly #watchers = new Set<() => void>();
  #goesDown = false;

  constructor(parts: NodeParts) {
    this.#parts = parts;
  }

  // ── for people at the node ─────────────────────────────────────────────────────────────────────────────────────────

  status(): GetStatusResponse {
    const { store, supervisor, recovery, dataDir, version, pid, startedWallMs, link, warnings } = this.#parts;
    const view = link();
    const meta = recovery.meta();
    const states = { none: LinkState.NONE, connecting: LinkState.CONNECTING, connected: LinkState.CONNECTED };
    return create(GetStatusResponseSchema, {
      nodeId: store.identity.nodeId,
      version,
      pid,
      startedAt: timestamp(startedWallMs),
      incarnation: store.identity.incarnation,
      session: store.identity.session,
      link: states[view.state],
      hub: view.hub,
      linkBecause: view.because,
      outboxDepth: store.outbox.depth(),
      health: supervisor.health(),
      workloads: supervisor.statuses(),
      dataDir,
      warnings: [...warnings(), ...this.#locks()],
      killSwitch: recovery.killSwitch(),
      metaHealth: meta?.value ?? -1,
      metaStatus: meta?.status ?? "",
    });
  }

  /** A lock waits for a person: who looks at the node must see it. */
  #locks(): string[] {
    const { store } = this.#parts;
    if (store.trouble() !== undefined) return []; // what cannot be read is said there
    return store.spaces().flatMap((name) => {
      const { risk } = store.space(name).risk();
      if (!risk.lock) return [];
      const since = new Date(risk.lock.sinceWallMs).toISOString();
      return [new Fault("RISK_LOCKED", `'${name}' may not trade since ${since}: ${lockedBecause(risk)}`).message];
    });
  }

  async startWorkload(name: string, person: string): Promise<WorkloadStatus> {
    const { supervisor } = this.#parts;
    await supervisor.tell(name, { is: "start", who: `person:${person}` });
    if (supervisor.state(name).held)
      throw new Fault("CONDITION_FALSE", `the kill switch is on: '${name}' starts when it is turned off`);
    return supervisor.status(name);
  }

  async stopWorkload(name: string, person: string): Promise<WorkloadStatus> {
    const { supervisor } = this.#parts;
    await supervisor.tell(name, { is: "stop", who: `person:${person}` });
    await supervisor.until(name, isDown, supervisor.spec(name).stop.graceMs + stopMarginMs);
    return supervisor.status(name);
  }

  async restartWorkload(name: string, who: string): Promise<WorkloadStatus> {
    const { supervisor } = this.#parts;
    await supervisor.tell(name, { is: "restart", who });
    const { intent, held } = supervisor.state(name);
    if (held) throw new Fault("CONDITION_FALSE", `the kill switch is on: '${name}' was not restarted`);
    if (intent === "stopped") throw new Fault("WORKLOAD_STOPPED", `'${name}' was not restarted`);
    return supervisor.status(name);
  }

  async down(person: string): Promise<number> {
    const { supervisor } = this.#parts;
    const who = `person:${person}`;
    // From its first moment on: what is asked for meanwhile, by a playbook, the hub or a person, starts nothing.
    supervisor.startsNothing({ is: "down", who });
    this.#goesDown = true;
    await this.#parts.goesDown(person);
    let stopped = 0;
    for (const name of supervisor.stopOrder()) {
      if (instanceOf(supervisor.state(name).phase)) stopped++;
      await supervisor.tell(name, { is: "down", who }).catch((error) => {
        // A full disk keeps nobody from stopping: the processes end, and the next start finds them ended.
        if (!isFault(error, "STORE_WRITE_FAILED")) throw error;
      });
      await supervisor.until(name, isDown, supervisor.spec(name).stop.graceMs + stopMarginMs);
    }
    return stopped;
  }

  incidents(page: Page, openOnly: boolean) {
    return this.#parts.store.incidents(page, openOnly);
  }
  audit(page: Page) {
    return this.#parts.store.audit(page);
  }
  readAudit(after: string) {
    return this.#parts.store.readAudit(after);
  }
  decisions(page: Page) {
    return this.#parts.store.decisions(page);
  }

  triggers() {
    return this.#parts.recovery.triggers();
  }
  playbooks() {
    return this.#parts.recovery.playbooks();
  }
  runPlaybook(name: string, workload: string, dryRun: boolean, person: string) {
    return this.#parts.recovery.runPlaybook(name, workload, dryRun, person);
  }
  health() {
    return this.#parts.recovery.health();
  }
  configVersions() {
    return this.#parts.configs.list().map((one) =>
      create(ConfigVersionSchema, {
        version: one.sum,
        bytes: one.bytes,
        origin: one.origin,
        from: one.from,
        receivedAt: timestamp(one.receivedWallMs),
        verdict: one.verdict,
        because: one.because,
        inUse: one.inUse,
        lastHealthy: one.lastHealthy,
      }),
    );
  }
  configText(version: string) {
    return this.#parts.configs.text(version);
  }
  setKillSwitch(on: boolean, person: string, reason: string) {
    return this.#parts.recovery.setKillSwitch(on, person, reason);
  }

  changeStoreKey(which: "data" | "kek", escrowPem: string, person: string): Promise<string> {
    return changeStoreKey(this.#parts, { which, escrowPem, person });
  }

  // ── for workloads ──────────────────────────────────────────────────────────────────────────────────────────────────

  beat(token: string, ready: boolean, status: string): { nextWithinMs: number } {
    const name = this.#parts.tokens.holder(token);
    this.#parts.supervisor.post(name, { is: "beat", ready, status });
    return { nextWithinMs: this.#parts.supervisor.spec(name).beat?.timeoutMs ?? defaultBeatMs };
  }

  report(token: string, requests: readonly FinishedRequest[]): void {
    this.#parts.recovery.report(this.#parts.tokens.holder(token), requests);
  }

  state(token: string) {
    return this.#parts.store.space(this.#parts.tokens.holder(token));
  }

  stateOf(workload: string) {
    if (!this.stateNames().includes(workload))
      throw new Fault("NOT_FOUND", `no workload '${workload}' keeps anything here`);
    return this.#parts.store.space(workload);
  }

  async forgetState(workload: string, person: string, reason: string) {
    const { store, supervisor } = this.#parts;
    if (supervisor.statuses().some(({ name }) => name === workload))
      throw new Fault("BAD_REQUEST", `'${workload}' is guarded here: take it out of the config first`);
    return store.forgetSpace(workload, person, reason);
  }
  stateNames() {
    const { store, supervisor } = this.#parts;
    return [...new Set([...store.spaces(), ...supervisor.statuses().map(({ name }) => name)])].sort();
  }

  // ── for the hub ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The node as its uplink sees it. */
  forHub(): UplinkNode {
    const { store, supervisor } = this.#parts;
    return {
      heartbeat: () => this.#heartbeat(),
      status: () => create(StatusSchema, { workloads: supervisor.statuses(), openIncidents: this.#newestFirst() }),
      onStatusChange: (wake) => {
        this.#watchers.add(wake);
        return () => this.#watchers.delete(wake);
      },
      execute: (order) => this.#executeAudited(order),
      hubEpoch: () => store.hubEpoch(),
      setHubEpoch: (epoch) => store.setHubEpoch(epoch),
      storeEpoch: (when) => store.storeEpoch(when),
      storeRolledBack: (because) => {
        void store.doubt(because).catch(() => undefined); // locked in memory all the same
        // Where no new life can be begun, a restart would change nothing.
        if (store.rolledBack(because)) this.#parts.restartSelf();
      },
      orderSeen: (id) => store.orderSeen(id),
      rememberOrder: (id) => store.rememberOrder(id),
      auditHead: () => store.auditHead(),
      countersigned: (head, hubKey) => store.countersigned(head, hubKey),
    };
  }

  /** While older records wait, what is open goes ahead of how it came about. */
  #newestFirst(): Incident[] {
    const { store } = this.#parts;
    return store.outbox.depth() > oldRecords ? store.openIncidents(openIncidentsTold) : [];
  }

  #heartbeat(): Omit<Heartbeat, "count" | "$typeName"> {
    const { supervisor, clock, readings, store } = this.#parts;
    return {
      health: supervisor.health(),
      monotonicMs: BigInt(Math.round(clock.monotonicMs())),
      worstLagMs: Math.round(Math.max(0, supervisor.takeWorstLagMs())),
      readings: [...readings()],
      outboxDepth: store.outbox.depth(),
      storeEpoch: store.storeEpoch("now"),
    };
  }

  /** To be called after each change that people may see. */
  changed(): void {
    for (const wake of this.#watchers) wake();
  }

  async #executeAudited(order: Order): Promise<{ outcome: OrderOutcome; because: string }> {
    const { clock } = this.#parts;
    const startedMs = clock.monotonicMs();
    const beforeJson = this.#standOf(order);
    const result = await this.#execute(order).catch((error: unknown) => {
      const refusal = isFault(error) ? refusals[error.code] : undefined;
      const word = refusal === "kill_switch" && this.#goesDown ? "going_down" : refusal;
      return { outcome: word ? OrderOutcome.REFUSED : OrderOutcome.FAILED, because: word ?? String(error) };
    });
    await this.#auditOrder(order, result, beforeJson, clock.monotonicMs() - startedMs);
    return result;
  }

  #standOf({ action }: Order): string {
    const about = action.case === "restartWorkload" ? action.value.workload : "";
    return JSON.stringify(standOf(this.#parts.supervisor, about));
  }

  async #execute(order: Order): Promise<{ outcome: OrderOutcome; because: string }> {
    switch (order.action.case) {
      case "restartAgent":
        // Its successor would start what a person wants down.
        if (this.#goesDown) return { outcome: OrderOutcome.REFUSED, because: "going_down" };
        this.#parts.restartSelf();
        return { outcome: OrderOutcome.DONE, because: "the agent's process restarts; its workloads go on" };
      case "restartWorkload":
        return this.#restartForHub(order.action.value.workload);
      default:
        return { outcome: OrderOutcome.REFUSED, because: "unknown_action" };
    }
  }

  /** What the ladder has in hand is not restarted beside it. */
  async #restartForHub(name: string): Promise<{ outcome: OrderOutcome; because: string }> {
    const { supervisor } = this.#parts;
    const isUp = instanceOf(supervisor.state(name).phase) !== undefined;
    await this.restartWorkload(name, "hub");
    const { phase, because } = supervisor.state(name);
    if (phase.at === "deciding" || phase.at === "mending")
      return { outcome: OrderOutcome.REFUSED, because: `recovery_under_way: ${phase.at}, ${because}` };
    return { outcome: OrderOutcome.DONE, because: isUp ? "it is being restarted" : "it is on its way up" };
  }

  async #auditOrder(
    order: Order,
    result: { outcome: OrderOutcome; because: string },
    beforeJson: string,
    tookMs: number,
  ): Promise<void> {
    const { clock, random, store } = this.#parts;
    const wallMs = clock.wallMs();
    const outcomes = { [OrderOutcome.DONE]: AuditOutcome.SUCCESS, [OrderOutcome.REFUSED]: AuditOutcome.REFUSED };
    const record = create(AuditRecordSchema, {
      id: uuid7(wallMs, random),
      at: timestamp(wallMs),
      actor: "hub",
      action: `order.${order.action.case ?? "unknown"}`,
      target: `node/${store.identity.nodeId}`,
      because: `${order.because}: ${result.because}`,
      outcome: outcomes[result.outcome as keyof typeof outcomes] ?? AuditOutcome.FAILURE,
      incidentId: order.incidentId,
      took: duration(tookMs),
      beforeJson,
      afterJson: this.#standOf(order),
      nodeId: store.identity.nodeId,
    });
    // The order's own result says the same; an audit that the disk refuses must not undo what was done.
    await this.#parts.arrears.audit(record);
  }
}

/** More than this waits for the hub only when it was away, or has been slow. */
const oldRecords = 20n;
const openIncidentsTold = 100;

/** Why an order is refused, by the code of what it met. */
const refusals: Readonly<Record<string, string>> = {
  WORKLOAD_STOPPED: "stopped_by_person",
  WORKLOAD_UNKNOWN: "not_found",
  CONDITION_FALSE: "kill_switch",
};

function isDown(state: State): boolean {
  return state.phase.at === "stopped" || state.phase.at === "completed";
}
