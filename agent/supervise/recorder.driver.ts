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
import type { AgentStore } from "../store/ports.ts";
import { auditOf, incidentOf, timestamp } from "./report.ts";
import type { WorkloadSpec } from "./spec.ts";
import { type Event, instanceOf, type State, type Step } from "./state.ts";

/** The state of a workload is written again this often while the disk refuses. */
const retryWriteMs = 1000;

/** One workload whose steps are recorded. */
export interface Recorded {
  readonly spec: WorkloadSpec;
  /** The spec as JSON, made once: it goes into every decision record. */
  readonly specJson: string;
  state: State;
  /** The last write failed: the state on disk is older than this one. */
  unsaved: boolean;
}

/** What the recorder needs of its supervisor. */
export interface RecorderParts {
  readonly nodeId: string;
  readonly site: string;
  readonly store: Pick<AgentStore, "saveStep">;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: (level: "info" | "warn" | "error", fields: Readonly<Record<string, unknown>>, message: string) => void;
}

/** Writes each step down before its effects run: state, decision, incident and audit in one batch. */
export class Recorder {
  readonly #parts: RecorderParts;
  #closed = false;

  constructor(parts: RecorderParts) {
    this.#parts = parts;
  }

  /** Returns the fault when the disk refused. Then the state is written again until it is down; the healing goes on meanwhile. */
  async save(one: Recorded, event: Event, before: State, result: Step, now: Moment): Promise<Fault | undefined> {
    this.#tellPeople(one, event, before, result);
    const { store, nodeId, site, random, clock } = this.#parts;
    const name = one.spec.name;
    const audit: AuditRecord[] = [];
    let incident: Incident | undefined;
    for (const effect of result.effects) {
      if (effect.do === "audit") {
        audit.push(auditOf(effect, uuid7(now.wallMs, random), nodeId, name, before, result.state, now));
      }
      if (effect.do === "incident") incident = incidentOf(effect.facts, nodeId, site, name);
    }
    const decision = decisionOf(one, event, before, result, now);
    // A person's word is durable over a power cut before it is answered; the rest need not outlive the processes it is about.
    const durability = before.intent !== result.state.intent ? "synced" : "batched";
    try {
      await store.saveStep(
        { workload: name, state: result.state, decision, ...(incident && { incident }), audit },
        durability,
      );
      one.unsaved = false;
      return undefined;
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      if (!one.unsaved) this.#parts.log("error", { workload: name, code: error.code }, error.message);
      one.unsaved = true;
      clock.wakeAt(clock.monotonicMs() + retryWriteMs, () => void this.#saveAgain(one));
      return error;
    }
  }

  close(): void {
    this.#closed = true;
  }

  async #saveAgain(one: Recorded): Promise<void> {
    if (!one.unsaved || this.#closed) return;
    const { clock, store } = this.#parts;
    try {
      await store.saveStep({ workload: one.spec.name, state: one.state }, "batched");
      one.unsaved = false;
    } catch {
      clock.wakeAt(clock.monotonicMs() + retryWriteMs, () => void this.#saveAgain(one));
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
    inputJson: `{"policy":${one.specJson},"state":${JSON.stringify(before)},"event":${JSON.stringify(event)},"now":${JSON.stringify(now)}}`,
    outputJson: JSON.stringify(result),
    because: result.state.because,
  });
}
