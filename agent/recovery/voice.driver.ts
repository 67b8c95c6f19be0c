/** What the recovery says: alerts, a log for each part, the audit. Never throws, never waits for a disk. */
import { join } from "node:path";
import { AuditOutcome, AuditRecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { uuid7 } from "@blueflame/shared/ids/uuid7.ts";
import type { Random } from "@blueflame/shared/random/random.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { create } from "@bufbuild/protobuf";
import type { Logger } from "pino";
import { places } from "../constants.ts";
import { Alerts } from "../records/alerts.driver.ts";
import { PartLog } from "../records/part-log.driver.ts";
import { type StageAlerts, type Untold, type UntoldAlert, untoldOf } from "../records/untold.ts";
import type { RemedyAlert, RemedyAudit } from "../remedies/around.ts";
import { Arrears } from "../store/arrears.ts";
import type { AgentStore } from "../store/ports.ts";
import { duration, standOf, timestamp } from "../supervise/report.ts";
import type { IncidentFacts } from "../supervise/state.ts";

const outcomes = { success: AuditOutcome.SUCCESS, failure: AuditOutcome.FAILURE, refused: AuditOutcome.REFUSED };

/** What the voice speaks with. */
export interface VoiceParts {
  readonly dataDir: string;
  readonly pager: readonly string[];
  readonly store: Pick<AgentStore, "identity" | "saveStep">;
  readonly untold: Untold;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

/** One action for the audit. */
export interface Said {
  readonly action: string;
  /** `node`, `workload/NAME`, `job/NAME`. */
  readonly target: string;
  readonly because: string;
  readonly outcome: keyof typeof outcomes;
  /** Absent: the agent. */
  readonly actor?: string;
  readonly tookMs?: number;
  readonly incidentId?: string;
  readonly before?: unknown;
  readonly after?: unknown;
}

/** Whoever made it closes it. */
export class Voice {
  readonly #parts: VoiceParts;
  /** What the disk owes the whole agent. */
  readonly arrears: Arrears;
  readonly #alerts: Alerts;
  readonly #logs: { readonly phoenix: PartLog; readonly launcher: PartLog; readonly incidents: PartLog };
  #standOf: (target: string) => object = () => ({});

  constructor(parts: VoiceParts) {
    this.#parts = parts;
    const { store, clock, random } = parts;
    const log: Voice["log"] = (level, fields, message) => this.log(level, fields, message);
    this.arrears = new Arrears({ nodeId: this.#nodeId(), store, clock, random, log });
    this.#alerts = new Alerts(join(parts.dataDir, places.alerts), parts.pager, (because) => log("warn", {}, because));
    this.#logs = {
      phoenix: new PartLog(parts.dataDir, "phoenix"),
      launcher: new PartLog(parts.dataDir, "launcher"),
      incidents: new PartLog(parts.dataDir, "incidents"),
    };
  }

  /** One more revision of an incident; `workload` empty: of the node. */
  incident(workload: string, before: IncidentFacts | undefined, facts: IncidentFacts): void {
    const wallMs = this.#parts.clock.wallMs();
    const { id, revision, at, symptom, timeline, summary } = facts;
    const because = timeline.at(-1)?.because ?? summary;
    this.#logs.incidents.write(wallMs, { incident: id, revision, workload, at, symptom, because });
    for (const alert of untoldOf(workload, before, facts)) this.#tell(alert);
  }

  /** What of an incident has to be told, to be stored with it. */
  get stageAlerts(): StageAlerts {
    return this.#parts.untold.stage;
  }

  /** What an earlier agent process had written down, and has not lived to tell. */
  catchUp(): void {
    for (const alert of this.#parts.untold.all()) this.#tell(alert);
  }

  #tell(alert: UntoldAlert): void {
    const { untold } = this.#parts;
    const { revision: _as, ...file } = alert;
    this.#alerts.raise({ ...file, nodeId: this.#nodeId() }, () => {
      if (!untold.told(alert)) return;
      // What the disk refuses is told once more by the next agent, should this one end before it is written.
      void this.arrears.untold(untold.all());
    });
  }

  alert({ severity, workload, incidentId, message, what }: RemedyAlert): void {
    const page = severity === "critical";
    const because = `${what}: ${message}`;
    const wallMs = this.#parts.clock.wallMs();
    this.#alerts.raise({ kind: "told", severity, page, because, nodeId: this.#nodeId(), workload, incidentId, wallMs });
  }

  /** A line of a workload's life. */
  launcher(level: string, fields: Readonly<Record<string, unknown>>, message: string): void {
    this.#logs.launcher.write(this.#parts.clock.wallMs(), { level, ...fields, message });
  }
  /** A line of the recovery itself. */
  log(level: "info" | "warn" | "error", fields: Readonly<Record<string, unknown>>, message: string): void {
    this.#parts.log[level](fields, message);
    this.#logs.phoenix.write(this.#parts.clock.wallMs(), { level, ...fields, message });
  }

  audited({ workload, ...fact }: RemedyAudit): void {
    this.audit({ ...fact, target: workload ? `workload/${workload}` : "node" });
  }

  /** From now on the audit says how the target of an action stands: a workload, or the node as a whole. */
  knows(workloads: Parameters<typeof standOf>[0], killSwitch: () => boolean): void {
    this.#standOf = (target) => {
      const stand = standOf(workloads, target.replace(/^workload\//, ""));
      return target.startsWith("workload/") ? stand : { ...stand, killSwitch: killSwitch() };
    };
  }

  /** An action that says nothing of the state around it changed nothing yet: it is the same before and after. */
  audit({ action, target, because, outcome, actor = "agent", tookMs = 0, incidentId = "", before, after }: Said): void {
    const { clock, random } = this.#parts;
    const wallMs = clock.wallMs();
    this.#logs.phoenix.write(wallMs, { action, target, outcome, actor, message: because });
    const record = create(AuditRecordSchema, {
      id: uuid7(wallMs, random),
      at: timestamp(wallMs),
      actor,
      action,
      target: target === "node" ? `node/${this.#nodeId()}` : target,
      because,
      outcome: outcomes[outcome],
      took: duration(tookMs),
      incidentId,
      beforeJson: JSON.stringify(before ?? this.#standOf(target)),
      afterJson: JSON.stringify(after ?? this.#standOf(target)),
      nodeId: this.#nodeId(),
    });
    void this.arrears.audit(record);
  }

  async close(): Promise<void> {
    await this.#alerts.close();
    this.arrears.close();
    for (const log of Object.values(this.#logs)) await log.close();
  }

  #nodeId(): string {
    return this.#parts.store.identity.nodeId;
  }
}
