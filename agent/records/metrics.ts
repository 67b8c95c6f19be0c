import { type Incident, IncidentState, Rung } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import {
  type RecoveryMetrics,
  RecoveryMetricsSchema,
} from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { create } from "@bufbuild/protobuf";
import { durationFromMs, durationMs, type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";

/**
 * How well recoveries went (SYN-7), phase by phase: fault → detected → decided → acted → verified, over the newest `incidents` of the
 * `opened` that there ever were. An incident counts as healed when it was verified; as healed with no person when none was needed
 * at any time in it. Means leave out incidents that have not come that far.
 */
export function recoveryMetrics(incidents: readonly Incident[], opened = incidents.length): RecoveryMetrics {
  const over = incidents.filter(({ state }) => state === IncidentState.CLOSED || state === IncidentState.PROBATION);
  const healed = over.filter(({ recoveredAt }) => recoveredAt !== undefined);
  const unattended = healed.filter(({ needsPerson, personCalled }) => !needsPerson && !personCalled);
  const escalated = incidents.filter(({ attempts }) => new Set(attempts.map(nameOf)).size > 1);
  const rungs: Record<string, bigint> = {};
  for (const { attempts } of incidents)
    for (const attempt of attempts) rungs[nameOf(attempt)] = (rungs[nameOf(attempt)] ?? 0n) + 1n;
  const mean = (values: readonly (number | undefined)[]) => {
    const known = values.filter((value) => value !== undefined);
    return known.length > 0 ? known.reduce((sum, value) => sum + value, 0) / known.length : undefined;
  };
  const field = (ms: number | undefined) =>
    ms === undefined ? undefined : durationFromMs(Math.max(0, Math.round(ms)));
  const between = (from: (one: Incident) => Timestamp | undefined, to: (one: Incident) => Timestamp | undefined) =>
    field(mean(incidents.map((one) => span(from(one), to(one)))));
  const fields = {
    mttd: between(
      (one) => one.faultAt,
      (one) => one.detectedAt,
    ),
    mttr: field(mean(incidents.map(({ timeToRecover }) => timeToRecover && durationMs(timeToRecover)))),
    toDecide: between(
      (one) => one.detectedAt,
      (one) => one.decidedAt,
    ),
    toAct: between(
      (one) => one.decidedAt,
      (one) => one.actedAt,
    ),
    toVerify: between(
      (one) => one.actedAt,
      (one) => one.recoveredAt,
    ),
  };
  const share = (part: number, of: number) => (of > 0 ? part / of : 0);
  return create(RecoveryMetricsSchema, {
    incidents: BigInt(Math.max(opened, incidents.length)),
    over: BigInt(incidents.length),
    successRate: share(healed.length, over.length),
    unattendedRate: share(unattended.length, over.length),
    escalationRate: share(escalated.length, incidents.length),
    rungs,
    ...Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)),
  });
}

function nameOf({ rung, playbook }: Incident["attempts"][number]): string {
  return rung === Rung.UNSPECIFIED ? playbook : (Rung[rung]?.toLowerCase() ?? `rung ${rung}`);
}

function span(from: Timestamp | undefined, to: Timestamp | undefined): number | undefined {
  return from && to ? timestampMs(to) - timestampMs(from) : undefined;
}
