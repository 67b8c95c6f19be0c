import { causeWords, remedyWords, workloadMarks } from "@blueflame/shared/cli/incident-words.ts";
import type { Column } from "@blueflame/shared/cli/table.ts";
import { formatAge, formatDuration, formatTime, type Tone } from "@blueflame/shared/cli/text.ts";
import {
  AuditOutcome,
  type AuditRecord,
  type DecisionRecord,
  type Incident,
  IncidentSchema,
  IncidentState,
  Rung,
  Severity,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import {
  WorkloadHealth,
  WorkloadPhase,
  type WorkloadStatus,
} from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import {
  FleetState,
  Level,
  type Node,
  NodeSchema,
} from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { type DescMessage, type MessageShape, toJson } from "@bufbuild/protobuf";
import { type Duration, durationMs, type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";

/** Protojson with every field present, so that scripts need no defaults. */
export function protojson<Schema extends DescMessage>(schema: Schema): (message: MessageShape<Schema>) => unknown {
  return (message) => toJson(schema, message, { alwaysEmitImplicit: true });
}

export const nodeJson = protojson(NodeSchema);
export const incidentJson = protojson(IncidentSchema);

/** An enum's name for people: `LEVEL_RED` is `RED` in generated code, and `unknown` when this version has no name for it. */
function word(names: Readonly<Record<number, string>>, value: number): string {
  const name = value === 0 ? undefined : names[value];
  return name === undefined ? "unknown" : name.toLowerCase().replaceAll("_", " ");
}

export function levelWord(node: Node): string {
  return word(Level, node.level).toUpperCase();
}

export function levelTone(node: Node): Tone {
  const tones: Partial<Record<Level, Tone>> = {
    [Level.GREEN]: "good",
    [Level.YELLOW]: "warn",
    [Level.ORANGE]: "bad",
    [Level.RED]: "worst",
  };
  return tones[node.level] ?? "faint";
}

export function ageMs(duration: Duration | undefined): number | undefined {
  return duration === undefined ? undefined : durationMs(duration);
}

function at(timestamp: Timestamp | undefined): string {
  return formatTime(timestamp === undefined ? undefined : timestampMs(timestamp));
}

/** `3 ok`, `1 down, 2 ok, 1 in safe mode`: how many workloads are in which health, worst first, and what does not run as it should. */
export function workloadCounts(workloads: readonly WorkloadStatus[]): string {
  if (workloads.length === 0) return "none";
  const names: readonly (readonly [WorkloadHealth, string])[] = [
    [WorkloadHealth.UNHEALTHY, "down"],
    [WorkloadHealth.DEGRADED, "degraded"],
    [WorkloadHealth.UNSPECIFIED, "not judged"],
    [WorkloadHealth.HEALTHY, "ok"],
  ];
  const count = (is: (one: WorkloadStatus) => boolean) => workloads.filter(is).length;
  const counts = [
    ...names.map(([health, name]) => [count((one) => one.health === health), name] as const),
    [count(({ safeMode }) => safeMode), "in safe mode"] as const,
    [count(({ rolledBack }) => rolledBack), "rolled back"] as const,
  ];
  return counts.flatMap(([count, name]) => (count > 0 ? [`${count} ${name}`] : [])).join(", ");
}

export const nodeColumns: readonly Column<Node>[] = [
  { title: "NODE", value: (node) => node.id },
  { title: "LEVEL", value: levelWord, tone: levelTone },
  { title: "STATE", value: (node) => word(FleetState, node.state) },
  { title: "PRESENCE", value: (node) => node.presence.toLowerCase() + (node.frozen ? ", frozen" : "") },
  { title: "LAST BEAT", value: (node) => formatAge(ageMs(node.lastBeatAgo)), right: true },
  { title: "WORKLOADS", value: (node) => workloadCounts(node.workloads) },
  { title: "SITE", value: (node) => node.site || "-" },
  { title: "BECAUSE", value: (node) => node.because },
];

/** What one node is beyond its line in the list. */
export const nodeDetails: readonly Column<Node>[] = [
  ...nodeColumns,
  { title: "LEVEL SINCE", value: (node) => at(node.levelSince) },
  { title: "MISSED", value: (node) => String(node.missed) },
  { title: "CONNECTED", value: (node) => (node.connected ? "yes" : "no") },
  { title: "INCIDENTS", value: (node) => `${node.openIncidents} open` },
  {
    title: "LABELS",
    value: (node) =>
      Object.entries(node.labels)
        .map(([key, value]) => `${key}=${value}`)
        .join(" ") || "-",
  },
  { title: "INCARNATION", value: (node) => `${node.incarnation}, session ${node.session}` },
  { title: "VERSION", value: (node) => node.version || "-" },
  { title: "MACHINE", value: machine },
];

function machine({ inventory }: Node): string {
  if (inventory === undefined) return "-";
  const memory = `${(Number(inventory.memoryBytes) / 2 ** 30).toFixed(1)} GiB`;
  return `${inventory.hostName}, ${inventory.os}, ${inventory.cores} cores, ${memory}`;
}

const healthTones: Readonly<Record<number, Tone>> = { 0: "faint", 1: "good", 2: "warn", 3: "worst" };

export const workloadColumns: readonly Column<WorkloadStatus>[] = [
  { title: "WORKLOAD", value: (one) => one.name },
  { title: "HEALTH", value: (one) => word(WorkloadHealth, one.health), tone: (one) => healthTones[one.health] },
  { title: "PHASE", value: (one) => word(WorkloadPhase, one.phase) },
  { title: "PID", value: (one) => (one.pid > 0 ? String(one.pid) : "-"), right: true },
  { title: "RESTARTS", value: (one) => String(one.restarts), right: true },
  {
    title: "NOTE",
    value: (one) => workloadMarks(one).join(", ") || "-",
    tone: (one) => (one.safeMode ? "warn" : undefined),
  },
  { title: "BECAUSE", value: (one) => one.because },
];

/** A workload and the node that it is on. */
export interface Placed {
  readonly node: Node;
  readonly workload: WorkloadStatus;
}

/** Every workload of the fleet; it is as its node said last, so the node's level stands beside it. */
export const placedColumns: readonly Column<Placed>[] = [
  { title: "NODE", value: ({ node }) => node.id },
  { title: "LEVEL", value: ({ node }) => levelWord(node), tone: ({ node }) => levelTone(node) },
  ...workloadColumns.map(
    ({ title, value, tone, right }): Column<Placed> => ({
      title,
      value: ({ workload }) => value(workload),
      tone: ({ workload }) => tone?.(workload),
      ...(right !== undefined && { right }),
    }),
  ),
];

export const readingColumns: readonly Column<Node["readings"][number]>[] = [
  { title: "SENSOR", value: (one) => one.sensor },
  { title: "OF", value: (one) => one.subject || "node" },
  { title: "VALUE", value: (one) => String(Math.round(one.value * 1000) / 1000), right: true },
];

export const incidentColumns: readonly Column<Incident>[] = [
  { title: "INCIDENT", value: (one) => one.id },
  {
    title: "STATE",
    value: (one) => word(IncidentState, one.state),
    tone: (one) => (one.state === IncidentState.CLOSED ? "good" : "warn"),
  },
  { title: "SEVERITY", value: (one) => word(Severity, one.severity) },
  { title: "NODE", value: (one) => one.nodeId || "-" },
  { title: "WORKLOAD", value: (one) => one.workload || "-" },
  { title: "DETECTED", value: (one) => at(one.detectedAt) },
  { title: "RECOVERED IN", value: (one) => formatDuration(ageMs(one.timeToRecover)), right: true },
  { title: "CAUSE", value: (one) => causeWords(one) || "-" },
  { title: "REMEDY", value: (one) => remedyWords(one) || "-" },
  { title: "SUMMARY", value: (one) => (one.needsPerson ? "NEEDS YOU: " : "") + (one.summary || one.symptom) },
];

export const incidentDetails: readonly Column<Incident>[] = [
  ...incidentColumns,
  { title: "SYMPTOM", value: (one) => one.symptom },
  { title: "RUNG", value: (one) => (one.rung === Rung.UNSPECIFIED ? "-" : word(Rung, one.rung)) },
  { title: "TRIGGER", value: (one) => one.trigger || "-" },
  { title: "EVIDENCE", value: (one) => one.diagnosis?.evidence.join("; ") || "-" },
  { title: "SITE", value: (one) => one.site || "-" },
  { title: "CLOSED", value: (one) => at(one.closedAt) },
];

export const timelineColumns: readonly Column<Incident["timeline"][number]>[] = [
  { title: "AT", value: (entry) => at(entry.at) },
  { title: "WHAT", value: (entry) => entry.what },
  { title: "BECAUSE", value: (entry) => entry.because },
];

export const auditColumns: readonly Column<AuditRecord>[] = [
  { title: "AT", value: (record) => at(record.at) },
  { title: "NODE", value: (record) => record.nodeId || "hub" },
  { title: "ACTOR", value: (record) => record.actor },
  { title: "ACTION", value: (record) => record.action },
  { title: "TARGET", value: (record) => record.target },
  {
    title: "OUTCOME",
    value: (record) => word(AuditOutcome, record.outcome),
    tone: (record) => (record.outcome === AuditOutcome.SUCCESS ? "good" : "warn"),
  },
  { title: "TOOK", value: (record) => formatDuration(ageMs(record.took)), right: true },
  { title: "BECAUSE", value: (record) => record.because },
];

export const decisionColumns: readonly Column<DecisionRecord>[] = [
  { title: "AT", value: (record) => at(record.at) },
  { title: "DECISION", value: (record) => record.id },
  { title: "MACHINE", value: (record) => record.machine },
  { title: "SUBJECT", value: (record) => record.subject },
  { title: "BECAUSE", value: (record) => record.because },
];
