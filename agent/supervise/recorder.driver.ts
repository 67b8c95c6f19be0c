import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
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
import { Arrears } from "../store/arrears.ts";
import type { AgentStore, StepWrite } from "../store/ports.ts";
import { auditOf, incidentOf, timestamp } from "./report.ts";
import type { WorkloadSpec } from "./spec.ts";
import { type Event, instanceOf, type State, type Step } from "./state.ts";

/** A disk that has not answered by then holds up no healing: a sound one answers in milliseconds. */
const actAfterMs = 500;
/** Who waits for a durable answer is told by then that there is none. */
const answerAfterMs = 5000;
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
  /** Through which it writes to the store, with others; absent: its own. */
  readonly arrears?: Arrears;
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
}

/** Writes each step down before its effects run: state, decision, incident and audit in one batch. */
export class Recorder {
  readonly #parts: RecorderParts;
  readonly #arrears: Arrears;
  readonly #writing = new Map<Recorded, Writing>();

  constructor(parts: RecorderParts) {
    this.#parts = parts;
    this.#arrears = parts.arrears ?? new Arrears(parts);
  }

  /** Begins to write. What the disk refuses is owed (`store/arrears.ts`); the healing goes on meanwhile. */
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
    if (!this.#parts.arrears) this.#arrears.close();
  }

  #of(one: Recorded): Writing {
    const known = this.#writing.get(one) ?? { pending: 0, silent: false };
    this.#writing.set(one, known);
    return known;
  }

  /** Resolves with the fault when the disk refused; rejects with what is no fault. */
  async #write(one: Recorded, write: StepWrite, durability: "synced" | "batched"): Promise<Fault | undefined> {
    const writing = this.#of(one);
    writing.pending++;
    try {
      await this.#arrears.saveStep(write, durability);
      return undefined;
    } catch (error) {
      if (!isFault(error)) throw error;
      return error;
    } finally {
      writing.pending--;
      if (writing.pending === 0) writing.silent = false;
    }
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
