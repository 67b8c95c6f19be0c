import { workloadMarks } from "@blueflame/shared/cli/incident-words.ts";
import { type Column, layOut, tableLines } from "@blueflame/shared/cli/table.ts";
import { clean, formatAge, formatDuration, type Tone } from "@blueflame/shared/cli/text.ts";
import {
  AuditOutcome,
  type AuditRecord,
  type DecisionRecord,
  type Incident,
  IncidentState,
  Rung,
  Severity,
  type TimelineEntry,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { NodeHealth } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import {
  WorkloadHealth,
  WorkloadPhase,
  type WorkloadStatus,
} from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { type GetStatusResponse, LinkState } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { type Duration, durationMs, type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";

/** Columns of one workload, short enough for 80. `nowMs` is wall time. */
export function workloadColumns(nowMs: number): Column<WorkloadStatus>[] {
  return [
    { title: "WORKLOAD", value: (row) => row.name },
    { title: "PHASE", value: (row) => word(WorkloadPhase, row.phase) },
    { title: "HEALTH", value: (row) => healthWord(row.health), tone: (row) => healthTone(row.health) },
    { title: "PID", value: (row) => (row.pid === 0 ? "-" : String(row.pid)), right: true },
    { title: "UP", value: (row) => formatDuration(since(row.startedAt, nowMs)), right: true },
    { title: "STARTS", value: starts, right: true },
    { title: "WHY", value: because },
  ];
}

/** An older agent does not say: then what does not run and was not restarted may have been started once, or never. */
function starts({ starts: known, restarts, startedAt, phase }: WorkloadStatus): string {
  if (known !== undefined) return String(known);
  if (startedAt || restarts > 0n || phase === WorkloadPhase.COMPLETED) return String(restarts + 1n);
  return "-";
}

/** The node in one or two lines, then what is wrong with it; each fits 80 columns unless an address or a warning is long. */
export function nodeLines(status: GetStatusResponse, nowMs: number): string[] {
  const up = formatDuration(since(status.startedAt, nowMs));
  const hub = {
    [LinkState.UNSPECIFIED]: "link unknown",
    [LinkState.NONE]: "no hub",
    [LinkState.CONNECTING]: `connecting to ${status.hub}`,
    [LinkState.CONNECTED]: `connected to ${status.hub}`,
  };
  // Without a hub nobody waits for them.
  const waiting =
    status.outboxDepth > 0n && status.link !== LinkState.NONE ? `, ${status.outboxDepth} records wait for it` : "";
  const meta = status.metaStatus ? ` · meta-health ${status.metaStatus} ${status.metaHealth.toFixed(2)}` : "";
  const word = status.killSwitch ? "THE KILL SWITCH IS ON" : nodeHealthWord(status.health);
  const lines = [
    clean(`${status.nodeId} ${word} · ${verdict(status)}${status.killSwitch ? "" : meta}`),
    clean(`agent ${status.version}, pid ${status.pid}, up ${up} · ${hub[status.link] ?? "link unknown"}${waiting}`),
  ];
  if (status.link === LinkState.CONNECTING && status.linkBecause !== "") lines.push(clean(status.linkBecause));
  return [...lines, ...status.warnings.map((warning) => clean(`warning: ${warning}`))];
}

export function nodeTone({ health, killSwitch }: GetStatusResponse): Tone | undefined {
  if (killSwitch) return "worst";
  const tones = { [NodeHealth.HEALTHY]: "good", [NodeHealth.DEGRADED]: "warn", [NodeHealth.FAILED]: "worst" } as const;
  return health === NodeHealth.UNSPECIFIED ? undefined : tones[health];
}

export function incidentColumns(nowMs: number): Column<Incident>[] {
  return [
    { title: "DETECTED", value: (row) => formatAge(since(row.detectedAt, nowMs)), right: true },
    { title: "WORKLOAD", value: (row) => row.workload || "-" },
    { title: "STATE", value: (row) => word(IncidentState, row.state), tone: incidentTone },
    { title: "HEALED IN", value: (row) => took(row.timeToRecover), right: true },
    { title: "WHAT", value: (row) => `${row.needsPerson ? "NEEDS A PERSON: " : ""}${row.summary || row.symptom}` },
  ];
}

/** One incident whole, above its timeline; what is not known of it yet is left out. */
export function incidentFacts({ diagnosis, attempts }: Incident, nowMs: number): Column<Incident>[] {
  return [
    { title: "INCIDENT", value: (row) => row.id },
    { title: "SEVERITY", value: (row) => word(Severity, row.severity) },
    ...incidentColumns(nowMs),
    ...(diagnosis ? [{ title: "CAUSE", value: () => causeWords(diagnosis) }] : []),
    ...(attempts.length > 0 ? [{ title: "TRIED", value: () => attemptsWords(attempts) }] : []),
  ];
}

function causeWords({ cause, confidence, evidence, root }: NonNullable<Incident["diagnosis"]>): string {
  const began = root ? `, began in ${root}` : "";
  return `${cause} (${confidence.toFixed(2)}${began}): ${evidence.join("; ")}`;
}

/** In their order; what failed several times in a row is said once. */
function attemptsWords(attempts: Incident["attempts"]): string {
  const runs: {
    readonly name: string;
    readonly ok: boolean | undefined;
    readonly took: Duration | undefined;
    times: number;
  }[] = [];
  for (const { rung, playbook, ok, took } of attempts) {
    const name = rung === Rung.UNSPECIFIED ? playbook : word(Rung, rung);
    const last = runs.at(-1);
    if (last?.name === name && last.ok === false && ok === false) last.times += 1;
    else runs.push({ name, ok, took, times: 1 });
  }
  return runs
    .map(({ name, ok, took: lasted, times }) => {
      if (ok === undefined) return `${name} (at work)`;
      if (times > 1) return `${name} failed ${times} times`;
      return `${name} ${ok ? "worked" : "failed"} after ${took(lasted)}`;
    })
    .join(", ");
}

/** What happened, oldest first, with times since the first entry; folded at `width` columns where one is given. */
export function timelineLines(incident: Incident, width?: number): string[] {
  const { timeline } = incident;
  const first = timeline[0]?.at;
  const firstMs = first ? timestampMs(first) : 0;
  const columns: Column<TimelineEntry>[] = [
    { title: "", value: ({ at }) => (at ? `+${formatDuration(timestampMs(at) - firstMs)}` : ""), right: true },
    { title: "", value: (entry) => entry.what },
    { title: "", value: (entry) => entry.because },
  ];
  const room = width === undefined ? {} : { width };
  return tableLines(timeline, columns, layOut(timeline, columns), { headers: false, ...room });
}

export function auditColumns(nowMs: number): Column<AuditRecord>[] {
  return [
    { title: "WHEN", value: (row) => formatAge(since(row.at, nowMs)), right: true },
    { title: "WHO", value: (row) => row.actor },
    { title: "ACTION", value: (row) => row.action },
    { title: "ON", value: (row) => thing(row.target) },
    { title: "WHY", value: (row) => `${outcomeWord(row.outcome)}${row.because}`, tone: outcomeTone },
  ];
}

export function decisionColumns(nowMs: number): Column<DecisionRecord>[] {
  return [
    { title: "WHEN", value: (row) => formatAge(since(row.at, nowMs)), right: true },
    { title: "BY", value: (row) => row.machine },
    { title: "ON", value: (row) => thing(row.subject) },
    { title: "WHY", value: (row) => row.because },
  ];
}

/** True when nothing here needs anybody: every workload healthy, stopped by a person, or completed. */
export function allWell(status: GetStatusResponse): boolean {
  return status.health === NodeHealth.HEALTHY && status.workloads.every(isWell) && status.warnings.length === 0;
}

function isWell(workload: WorkloadStatus): boolean {
  const { health, phase } = workload;
  return health === WorkloadHealth.HEALTHY || phase === WorkloadPhase.STOPPED || phase === WorkloadPhase.COMPLETED;
}

function verdict(status: GetStatusResponse): string {
  const total = status.workloads.length;
  const unwell = status.workloads.filter((workload) => !isWell(workload));
  if (total === 0) return "no workloads";
  const things = total === 1 ? "1 workload" : `${total} workloads`;
  if (unwell.length > 0) {
    // Nothing is wrong with what is only on its way up.
    const isComing = unwell.every(({ health }) => health === WorkloadHealth.UNSPECIFIED);
    return `${unwell.length} of ${things} ${isComing ? "not up yet" : "not healthy"}`;
  }
  const stopped = status.workloads.filter((workload) => workload.phase === WorkloadPhase.STOPPED).length;
  return stopped > 0 ? `${things}, ${stopped} stopped by a person` : `${things}, all well`;
}

function because(row: WorkloadStatus): string {
  const wait = row.backoffRemaining ? `next start in ${took(row.backoffRemaining)}; ` : "";
  const isAdopted = row.adopted && !row.because.startsWith("adopted");
  const marks = [...(isAdopted ? ["adopted"] : []), ...workloadMarks(row), ...looseLimits(row)];
  return `${wait}${row.because}${marks.length > 0 ? ` (${marks.join(", ")})` : ""}`;
}

/** Every workload has a bound of tasks; memory and CPU somebody has declared. */
const isDeclared = ({ what }: WorkloadStatus["limits"][number]) => what !== "tasks";

/** Who declares a limit has to see when no cgroup holds it. {@link limitLines} shows every limit. */
function looseLimits({ limits }: WorkloadStatus): string[] {
  return limits.filter((one) => isDeclared(one) && one.how !== "cgroup").map(limitWords);
}

/** One line for each workload that declares a limit: who holds each, and why no cgroup does. */
export function limitLines(workloads: readonly WorkloadStatus[]): string[] {
  return workloads
    .filter(({ limits }) => limits.some(isDeclared))
    .map(({ name, limits }) => {
      const why = [...new Set(limits.map(({ because }) => because).filter(Boolean))].join("; ");
      return `limits of ${name}: ${limits.map(limitWords).join(", ")}${why && ` (${why})`}`;
    });
}

/** `memory 512 MiB held by a cgroup`, `cpu 50 % only told`. */
function limitWords({ what, limit, how }: WorkloadStatus["limits"][number]): string {
  const words: Readonly<Record<string, string>> = {
    cgroup: "held by a cgroup",
    watched: "by watching",
    told: "only told",
    later: "from its next start",
  };
  return `${what} ${limit} ${words[how] ?? how}`;
}

/** `WORKLOAD_PHASE_RUNNING` → `running`: the enum's own names are the words. */
function word(of: Readonly<Record<number, string>>, value: number): string {
  return (of[value] ?? `unknown ${value}`).toLowerCase().replaceAll("_", " ");
}

function healthWord(health: WorkloadHealth): string {
  return health === WorkloadHealth.UNSPECIFIED ? "-" : word(WorkloadHealth, health);
}

function nodeHealthWord(health: NodeHealth): string {
  return health === NodeHealth.UNSPECIFIED ? "unknown" : word(NodeHealth, health);
}

function healthTone(health: WorkloadHealth): Tone | undefined {
  const tones = {
    [WorkloadHealth.UNSPECIFIED]: undefined,
    [WorkloadHealth.HEALTHY]: "good",
    [WorkloadHealth.DEGRADED]: "warn",
    [WorkloadHealth.UNHEALTHY]: "worst",
  } as const;
  return tones[health];
}

function incidentTone(row: Incident): Tone | undefined {
  if (row.needsPerson) return "worst";
  return row.state === IncidentState.CLOSED ? "faint" : "warn";
}

/** What did not end well says so first; success goes without saying. */
function outcomeWord(outcome: AuditOutcome): string {
  const words = {
    [AuditOutcome.UNSPECIFIED]: "outcome unknown: ",
    [AuditOutcome.SUCCESS]: "",
    [AuditOutcome.FAILURE]: "FAILED: ",
    [AuditOutcome.REFUSED]: "REFUSED: ",
  };
  return words[outcome] ?? "";
}

/** `workload/NAME` → `NAME`: on a node it is nearly always a workload; other things keep their kind. */
function thing(target: string): string {
  return target.startsWith("workload/") ? target.slice("workload/".length) : target;
}

function outcomeTone(row: AuditRecord): Tone | undefined {
  return row.outcome === AuditOutcome.FAILURE || row.outcome === AuditOutcome.REFUSED ? "worst" : undefined;
}

function took(duration: Duration | undefined): string {
  return formatDuration(duration ? durationMs(duration) : undefined);
}

function since(at: Timestamp | undefined, nowMs: number): number | undefined {
  return at ? Math.max(0, nowMs - timestampMs(at)) : undefined;
}
