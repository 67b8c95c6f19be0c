/** How a workload's state reads in the words of the wire. Pure. */

import {
  AuditOutcome,
  type AuditRecord,
  AuditRecordSchema,
  type Incident,
  IncidentSchema,
  IncidentState,
  Rung,
  Severity,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { NodeHealth } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import {
  Breaker,
  WorkloadHealth,
  WorkloadPhase,
  type WorkloadStatus,
  WorkloadStatusSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import type { Moment } from "@blueflame/shared/time/clock.ts";
import { create } from "@bufbuild/protobuf";
import { type Duration, DurationSchema, type Timestamp, timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { Rung as RungName } from "../ladder/rungs.ts";
import { readyNow } from "./evidence.ts";
import type { WorkloadSpec } from "./spec.ts";
import { type Effect, type IncidentFacts, instanceOf, type Phase, type State } from "./state.ts";

const phases: Record<Phase["at"], WorkloadPhase> = {
  stopped: WorkloadPhase.STOPPED,
  waiting: WorkloadPhase.STARTING,
  completed: WorkloadPhase.COMPLETED,
  cleaning: WorkloadPhase.CLEANING,
  deciding: WorkloadPhase.CLEANING,
  mending: WorkloadPhase.MENDING,
  backoff: WorkloadPhase.BACKOFF,
  spawning: WorkloadPhase.STARTING,
  starting: WorkloadPhase.STARTING,
  running: WorkloadPhase.RUNNING,
  stopping: WorkloadPhase.STOPPING,
};

const olderConfig = "it was started by an earlier config: restart it to take the new command or environment";

const incidentStates: Record<IncidentFacts["at"], IncidentState> = {
  open: IncidentState.OPEN,
  recovering: IncidentState.RECOVERING,
  verifying: IncidentState.VERIFYING,
  probation: IncidentState.PROBATION,
  closed: IncidentState.CLOSED,
};

const rungNumbers: Record<RungName, Rung> = {
  quick_restart: Rung.QUICK_RESTART,
  safe_mode: Rung.SAFE_MODE,
  config_rollback: Rung.CONFIG_ROLLBACK,
  dependency_restart: Rung.DEPENDENCY_RESTART,
  backup_restore: Rung.BACKUP_RESTORE,
  full_bootstrap: Rung.FULL_BOOTSTRAP,
};

function rungNumber(rung: RungName | undefined): Rung {
  return rung ? rungNumbers[rung] : Rung.UNSPECIFIED;
}

const severities: Record<IncidentFacts["severity"], Severity> = {
  low: Severity.LOW,
  medium: Severity.MEDIUM,
  high: Severity.HIGH,
  critical: Severity.CRITICAL,
};

const outcomes: Record<Extract<Effect, { do: "audit" }>["outcome"], AuditOutcome> = {
  success: AuditOutcome.SUCCESS,
  failure: AuditOutcome.FAILURE,
  refused: AuditOutcome.REFUSED,
};

/** Milliseconds as a Duration of the wire. */
export function duration(ms: number): Duration {
  const seconds = Math.floor(ms / 1000);
  return create(DurationSchema, { seconds: BigInt(seconds), nanos: Math.round((ms - seconds * 1000) * 1e6) });
}

/** Wall milliseconds as a Timestamp of the wire. */
export function timestamp(wallMs: number): Timestamp {
  return timestampFromMs(Math.round(wallMs));
}

/** The judgement over a workload. */
export function healthOf(
  spec: WorkloadSpec,
  state: State,
): { readonly health: WorkloadHealth; readonly because: string } {
  switch (state.phase.at) {
    case "stopped":
    case "completed":
      return { health: WorkloadHealth.UNSPECIFIED, because: state.because };
    case "running": {
      const ready = readyNow(spec, state.evidence);
      if (!ready.ready) return { health: WorkloadHealth.DEGRADED, because: ready.because };
      if (state.incident) {
        const words = state.incident.at === "probation" ? "on probation after" : "it runs and is being recovered";
        return { health: WorkloadHealth.DEGRADED, because: `${words}: ${state.incident.summary}` };
      }
      return { health: WorkloadHealth.HEALTHY, because: state.evidence.beatStatus || state.because };
    }
    case "starting":
      if (!state.incident) return { health: WorkloadHealth.UNSPECIFIED, because: state.because };
      return { health: WorkloadHealth.UNHEALTHY, because: state.because };
    default:
      return { health: state.incident ? WorkloadHealth.UNHEALTHY : WorkloadHealth.UNSPECIFIED, because: state.because };
  }
}

/**
 * The workload as status, heartbeat and hub show it. `startsAs` is the fingerprint of its spec of today: a process that was
 * started by another one goes on, and that is said.
 */
export function statusOf(
  spec: WorkloadSpec,
  state: State,
  nowMs: number,
  startsAs?: string,
  known: Known = {},
): WorkloadStatus {
  const instance = instanceOf(state.phase);
  const judged = healthOf(spec, state);
  const older = instance?.startedAs !== undefined && startsAs !== undefined && instance.startedAs !== startsAs;
  return create(WorkloadStatusSchema, {
    name: spec.name,
    phase: phases[state.phase.at],
    health: judged.health,
    pid: instance?.pid ?? 0,
    ...(instance && { startedAt: timestamp(instance.sinceWallMs) }),
    restarts: BigInt(Math.max(0, state.starts - 1)),
    starts: BigInt(state.starts),
    incidentId: state.incident?.id ?? "",
    because: older ? `${judged.because}; ${olderConfig}` : judged.because,
    ...(state.phase.at === "backoff" && { backoffRemaining: duration(Math.max(0, state.phase.untilMs - nowMs)) }),
    adopted: instance?.adopted ?? false,
    safeMode: state.mode === "safe",
    atWork: atWork(state),
    cause: state.incident?.diagnosis?.cause ?? "",
    confidence: state.incident?.diagnosis?.confidence ?? 0,
    breaker: breakerOf(state),
    configVersion: known.configVersion ?? "",
    rolledBack: known.rolledBack ?? false,
    trust: known.trust ?? 0,
    healthScore: known.healthScore ?? -1,
    limits: (known.limits ?? []).map((limit) => ({ ...limit })),
  });
}

/** What mends it now, prepares its next start, or is being verified; nothing while it waits for its next start. */
function atWork({ phase, treatment, incident }: State): string {
  if (phase.at === "backoff") return "";
  if (phase.at === "mending") return phase.remedy.by === "rung" ? phase.remedy.rung : phase.remedy.playbook;
  if (treatment?.at === "playing") return treatment.playbook;
  const last = incident?.attempts.at(-1);
  return last && last.ok === undefined ? (last.rung ?? last.playbook ?? "") : "";
}

/** What others know of a workload beside its supervision. */
export interface Known {
  readonly configVersion?: string;
  readonly rolledBack?: boolean;
  /** From 0 to 1. */
  readonly trust?: number;
  /** From 0 to 100. */
  readonly healthScore?: number;
  /** Its declared limits and who holds them, in words. */
  readonly limits?: readonly {
    readonly what: string;
    readonly limit: string;
    readonly how: string;
    readonly because: string;
  }[];
}

/**
 * May work be routed to it? Open while it is down or being recovered, half open on probation (PRA-4), and while what is only of
 * low severity is looked into: an oddity cuts nobody off.
 */
function breakerOf({ phase, incident, treatment }: State): Breaker {
  if (phase.at !== "running") return Breaker.OPEN;
  if (incident === undefined) return Breaker.CLOSED;
  return incident.at === "probation" || treatment?.severity === "low" ? Breaker.HALF_OPEN : Breaker.OPEN;
}

/** The node's view of itself over all of its workloads. */
export function nodeHealth(workloads: readonly { readonly spec: WorkloadSpec; readonly state: State }[]): NodeHealth {
  let health = NodeHealth.HEALTHY;
  for (const { spec, state } of workloads) {
    // On probation it runs: a person should look, but the node has not failed.
    if (state.incident?.needsPerson && state.phase.at !== "running") return NodeHealth.FAILED;
    const judged = healthOf(spec, state).health;
    if (judged === WorkloadHealth.UNHEALTHY || judged === WorkloadHealth.DEGRADED) health = NodeHealth.DEGRADED;
  }
  return health;
}

/** The incident as node and hub exchange it. */
export function incidentOf(facts: IncidentFacts, nodeId: string, site: string, workload: string): Incident {
  return create(IncidentSchema, {
    id: facts.id,
    revision: BigInt(facts.revision),
    nodeId,
    site,
    workload,
    state: incidentStates[facts.at],
    severity: severities[facts.severity],
    symptom: facts.symptom,
    summary: facts.summary,
    rung: rungNumber(facts.attempts.findLast(({ rung }) => rung !== undefined)?.rung),
    trigger: facts.trigger ?? "",
    playbook: facts.playbook ?? "",
    ...(facts.diagnosis && {
      diagnosis: {
        cause: facts.diagnosis.cause,
        confidence: facts.diagnosis.confidence,
        evidence: [...facts.diagnosis.evidence],
        rejected: [...facts.diagnosis.rejected],
        root: facts.diagnosis.root ?? "",
      },
    }),
    attempts: facts.attempts.map((attempt) => ({
      rung: rungNumber(attempt.rung),
      playbook: attempt.playbook ?? "",
      at: timestamp(attempt.wallMs),
      because: attempt.because,
      ...(attempt.ok !== undefined && { ok: attempt.ok }),
      ...(attempt.tookMs !== undefined && { took: duration(attempt.tookMs) }),
    })),
    ...(facts.decidedWallMs !== undefined && { decidedAt: timestamp(facts.decidedWallMs) }),
    ...(facts.actedWallMs !== undefined && { actedAt: timestamp(facts.actedWallMs) }),
    faultAt: timestamp(facts.faultWallMs),
    detectedAt: timestamp(facts.detectedWallMs),
    ...(facts.recoveredWallMs !== undefined && { recoveredAt: timestamp(facts.recoveredWallMs) }),
    ...(facts.closedWallMs !== undefined && { closedAt: timestamp(facts.closedWallMs) }),
    ...(facts.recoverTookMs !== undefined && { timeToRecover: duration(facts.recoverTookMs) }),
    needsPerson: facts.needsPerson,
    personCalled: facts.personCalled === true,
    timeline: facts.timeline.map((entry) => ({
      at: timestamp(entry.wallMs),
      what: entry.what,
      because: entry.because,
      decisionId: entry.decisionId,
    })),
  });
}

/** How a workload stands, or (a name that is none) how many of all run: the state before and after an action, for the audit. */
export function standOf(workloads: { names(): readonly string[]; state(name: string): State }, name: string): object {
  const names = workloads.names();
  if (names.includes(name)) {
    const { phase } = workloads.state(name);
    return { phase: phase.at, pid: instanceOf(phase)?.pid ?? 0 };
  }
  const running = names.filter((one) => instanceOf(workloads.state(one).phase) !== undefined).length;
  return { workloads: names.length, running };
}

/** One audit effect as a record. `id` is a fresh UUIDv7. */
export function auditOf(
  effect: Extract<Effect, { do: "audit" }>,
  id: string,
  nodeId: string,
  workload: string,
  before: State,
  after: State,
  now: Moment,
): AuditRecord {
  return create(AuditRecordSchema, {
    id,
    at: timestamp(now.wallMs),
    actor: effect.actor,
    action: effect.action,
    target: `workload/${workload}`,
    because: effect.because,
    outcome: outcomes[effect.outcome],
    took: duration(effect.tookMs ?? 0),
    incidentId: after.incident?.id ?? before.incident?.id ?? "",
    decisionId: now.id,
    beforeJson: JSON.stringify({ phase: before.phase.at, pid: instanceOf(before.phase)?.pid ?? 0 }),
    afterJson: JSON.stringify({ phase: after.phase.at, pid: instanceOf(after.phase)?.pid ?? 0 }),
    nodeId,
  });
}
