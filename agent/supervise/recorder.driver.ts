import { Fault } from "@blueflame/shared/errors/fault.ts";
import {
  type AuditRecord,
  type DecisionRecord,
  DecisionRecordSchema,
  type Incident,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { uuid7 } from "@blueflame/shared/ids/uuid7.ts";
import type { Random } from "@blueflame/shared/random/random.ts";
import type { Clock, Moment } from "@blueflame/shared/time/clock.ts";
import { create } from "@bufbuild/protobuf";
import type { StageAlerts } from "../records/untold.ts";
import type { AgentStore, StepWrite } from "../store/ports.ts";
import { auditOf, incidentOf, timestamp } from "./report.ts";
import type { WorkloadSpec } from "./spec.ts";
import { type Event, instanceOf, type State, type Step } from "./state.ts";

/** The state of a workload is written again this often while the disk refuses. */
const retryWriteMs = 1000;
/** A disk that has not answered by then holds up no healing: a sound one answers in milliseconds. */
const actAfterMs = 500;
/** Who waits for a durable answer is told by then that there is none. */
const answerAfterMs = 5000;
/** Writes of one workload that a silent disk may hold; beyond it only the newest state is kept for it. */
const pendingMax = 50;
const silence = `the store has not answered for ${actAfterMs} ms: the healing goes on, and is written down when the disk answers`;

/** One workload whose steps are recorded. */
export interface Recorded {
  readonly spec: WorkloadSpec;
  /** What {@link policyJson} made of the spec, once: it goes into every decision record. */
  readonly policyJson: string;
  state: State;
}

/** One step on its way to the disk. */
export interface Kept {
  /** Its effects may run: it is written down, or the disk has refused it or is silent. Healing waits for no disk. */
  readonly mayAct: Promise<unknown>;
  /** Undefined when it is durable as it has to be; else the fault, STORE_WRITE_FAILED for a disk that stays silent. */
  answer(): Promise<Fault | undefined>;
}

/**
 * The spec as it goes into decision records: all that the machine decides by. What a process is started or asked with may
 * hold secrets, and records travel to the hub.
 */
export function policyJson(spec: WorkloadSpec): string {
  const probes = spec.probes.map(({ ask: { by }, ...probe }) => ({ ...probe, ask: { by } }));
  const { safeMode, data, performance, ...rest } = spec;
  return JSON.stringify({
    ...rest,
    command: [spec.command[0]],
    env: {},
    probes,
    ...(safeMode && { safeMode: { env: {} } }),
    ...(data && { data: { ...data, dump: undefined, verify: undefined } }),
    ...(performance && { performance: { ...performance, url: "" } }),
  });
}

/** What the recorder needs of its supervisor. */
export interface RecorderParts {
  readonly nodeId: string;
  readonly site: string;
  readonly store: Pick<AgentStore, "saveStep">;
  readonly stageAlerts?: StageAlerts;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: (level: "info" | "warn" | "error", fields: Readonly<Record<string, unknown>>, message: string) => void;
}

/** What of one workload is on its way. */
interface Writing {
  pending: number;
  /** The disk was silent for too long and still owes an answer: nobody waits for it again. */
  silent: boolean;
  /** The last write failed: the state on disk is older than the one in memory, and is written again. */
  unsaved: boolean;
  retrying: boolean;
}

/** Writes each step down before its effects run: state, decision, incident and audit in one batch. */
export class Recorder {
  readonly #parts: RecorderParts;
  readonly #writing = new Map<Recorded, Writing>();
  #closed = false;

  constructor(parts: RecorderParts) {
    this.#parts = parts;
  }

  /** Begins to write. What the disk refuses is written again until it is down, as far as it is the state; the healing goes on meanwhile. */
  save(one: Recorded, event: Event, before: State, result: Step, now: Moment): Kept {
    this.#tellPeople(one, event, before, result);
    const { nodeId, site, random } = this.#parts;
    const name = one.spec.name;
    const audit: AuditRecord[] = [];
    let incident: Incident | undefined;
    for (const effect of result.effects) {
      if (effect.do === "audit") {
        audit.push(auditOf(effect, uuid7(now.wallMs, random), nodeId, name, before, result.state, now));
      }
      if (effect.do === "incident") incident = incidentOf(effect.facts, nodeId, site, name);
    }
    const revisions = result.effects.flatMap((effect) => (effect.do === "incident" ? [effect.facts] : []));
    const untold = this.#parts.stageAlerts?.(name, before.incident, revisions);
    const decision = decisionOf(one, event, before, result, now);
    // A person's word is durable over a power cut before it is answered; the rest need not outlive the processes it is about.
    const durability = before.intent !== result.state.intent ? "synced" : "batched";
    const written = this.#write(
      one,
      {
        workload: name,
        state: result.state,
        decision,
        ...(incident && { incident }),
        audit,
        ...(untold !== undefined && { untold }),
      },
      durability,
    );
    const writing = this.#of(one);
    const mayAct = writing.silent
      ? Promise.resolve()
      : this.#within(written, actAfterMs, () => {
          writing.silent = true;
          this.#parts.log("warn", { workload: name }, silence);
          return undefined;
        });
    const given = () => new Fault("STORE_WRITE_FAILED", `the disk has not answered for ${answerAfterMs} ms`);
    return { mayAct, answer: () => this.#within(written, answerAfterMs, given) };
  }

  /** The line that `status` shows while the disk owes answers; undefined while it gives them. */
  trouble(): string | undefined {
    return [...this.#writing.values()].some(({ silent }) => silent) ? silence : undefined;
  }

  close(): void {
    this.#closed = true;
  }

  #of(one: Recorded): Writing {
    const known = this.#writing.get(one) ?? { pending: 0, silent: false, unsaved: false, retrying: false };
    this.#writing.set(one, known);
    return known;
  }

  /** Resolves with the fault when the disk refused; rejects with what is no fault. */
  async #write(one: Recorded, write: StepWrite, durability: "synced" | "batched"): Promise<Fault | undefined> {
    const writing = this.#of(one);
    try {
      if (writing.pending >= pendingMax) {
        throw new Fault("STORE_WRITE_FAILED", `${pendingMax} writes of '${write.workload}' wait for the disk`);
      }
      writing.pending++;
      await this.#parts.store.saveStep(write, durability).finally(() => {
        writing.pending--;
        if (writing.pending === 0) writing.silent = false;
      });
      if (write.state === one.state) writing.unsaved = false;
      return undefined;
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      if (!writing.unsaved) this.#parts.log("error", { workload: write.workload, code: error.code }, error.message);
      writing.unsaved = true;
      this.#retryLater(one, writing);
      return error;
    }
  }

  /** One try at a time for each workload, however many of its writes have failed. */
  #retryLater(one: Recorded, writing: Writing): void {
    if (writing.retrying) return;
    writing.retrying = true;
    const { clock, store } = this.#parts;
    clock.wakeAt(clock.monotonicMs() + retryWriteMs, () => {
      writing.retrying = false;
      if (!writing.unsaved || this.#closed) return;
      writing.retrying = true;
      const { state } = one;
      const settle = (kept: boolean) => {
        writing.retrying = false;
        writing.unsaved = !kept || state !== one.state;
        if (writing.unsaved) this.#retryLater(one, writing);
      };
      void store.saveStep({ workload: one.spec.name, state }, "synced").then(
        () => settle(true),
        () => settle(false),
      );
    });
  }

  async #within<T>(work: Promise<T>, ms: number, otherwise: () => T): Promise<T> {
    const { clock } = this.#parts;
    const { promise, resolve } = Promise.withResolvers<T>();
    const cancel = clock.wakeAt(clock.monotonicMs() + ms, () => resolve(otherwise()));
    try {
      return await Promise.race([work, promise]);
    } finally {
      cancel();
    }
  }

  #tellPeople(one: Recorded, event: Event, before: State, result: Step): void {
    const failed = result.effects.some((effect) => effect.do === "audit" && effect.outcome === "failure");
    const pid = instanceOf(result.state.phase)?.pid;
    const fields = { workload: one.spec.name, event: event.is, from: before.phase.at, to: result.state.phase.at, pid };
    this.#parts.log(failed ? "warn" : "info", fields, result.state.because);
  }
}

function decisionOf(one: Recorded, event: Event, before: State, result: Step, now: Moment): DecisionRecord {
  return create(DecisionRecordSchema, {
    id: now.id,
    at: timestamp(now.wallMs),
    machine: "agent/supervise",
    subject: `workload/${one.spec.name}`,
    inputJson: `{"policy":${one.policyJson},"state":${JSON.stringify(before)},"event":${JSON.stringify(event)},"now":${JSON.stringify(now)}}`,
    outputJson: JSON.stringify(result),
    because: result.state.because,
  });
}
