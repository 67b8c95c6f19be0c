import {
  AuditOutcome,
  type AuditRecord,
  AuditRecordSchema,
  type DecisionRecord,
  DecisionRecordSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { Moment } from "@blueflame/shared/time/clock.ts";
import { create } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";

/** The machines of the hub, as decision records name them. */
export type Machine = "hub/escalation" | "hub/mass" | "hub/budget" | "hub/order";

/** One call of a machine, as it is stored. */
export interface Call {
  readonly machine: Machine;
  readonly subject: string;
  readonly policy: unknown;
  readonly state: unknown;
  readonly event: unknown;
  readonly now: Moment;
  readonly result: unknown;
  readonly because: string;
}

/** The call as a record: with its input the same output can be computed again; see `replay.ts`. */
export function decisionOf(call: Call): DecisionRecord {
  const { policy, state, event, now } = call;
  return create(DecisionRecordSchema, {
    id: now.id,
    at: timestampFromMs(now.wallMs),
    machine: call.machine,
    subject: call.subject,
    inputJson: JSON.stringify({ policy, state, event, now }),
    outputJson: JSON.stringify(call.result),
    because: call.because,
  });
}

/** What the hub did, in its own name. */
export interface Act {
  readonly id: string;
  readonly wallMs: number;
  readonly action: string;
  readonly target: string;
  readonly because: string;
  readonly nodeId: string;
  readonly outcome?: AuditOutcome;
  readonly incidentId?: string;
  readonly decisionId?: string;
  readonly before?: unknown;
  readonly after?: unknown;
  /** Absent: it took no time. */
  readonly tookMs?: number;
}

export function auditOf(act: Act): AuditRecord {
  return create(AuditRecordSchema, {
    id: act.id,
    at: timestampFromMs(act.wallMs),
    actor: "hub",
    action: act.action,
    target: act.target,
    because: act.because,
    outcome: act.outcome ?? AuditOutcome.SUCCESS,
    incidentId: act.incidentId ?? "",
    decisionId: act.decisionId ?? "",
    took: durationFromMs(act.tookMs ?? 0),
    beforeJson: JSON.stringify(act.before ?? {}),
    afterJson: JSON.stringify(act.after ?? {}),
    nodeId: act.nodeId,
  });
}
