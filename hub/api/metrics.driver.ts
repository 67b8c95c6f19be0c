import { WorkloadHealth, WorkloadPhase } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import type { GetHubResponse, Node } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { Counter, Gauge, Registry } from "prom-client";
import type { Fleet, FleetCounters } from "../fleet.ts";

/** What the hub's own process uses; only a driver can know it. */
export interface ProcessUse {
  /** Processor time since the start. */
  readonly cpuSeconds: number;
  readonly residentBytes: number;
}

/** Nodes with series of their own, worst first; the counts by level are over all of them. */
const nodesMost = 2000;
/** Workload series and readings over all nodes. */
const workloadsMost = 10_000;
const readingsMost = 20_000;
/** Different sensor names; each is a metric of its own. */
const sensorsMost = 60;

export const metricsContentType = Registry.PROMETHEUS_CONTENT_TYPE;

/**
 * The fleet in Prometheus' text format. A registry is made for each scrape: what is no longer there leaves no series
 * behind. Labels are bounded; what a bound left out is counted in `blueflame_metrics_left_out`.
 */
export async function metricsText(fleet: Fleet, use: ProcessUse): Promise<string> {
  const registry = new Registry();
  const nodes = fleet.nodes();
  const metrics = maker(registry);
  hubMetrics(metrics, fleet.hub(), nodes, use);
  counterMetrics(metrics, fleet.counters());
  const shown = nodes.slice(0, nodesMost);
  let leftOut = nodes.length - shown.length;
  nodeMetrics(metrics, shown);
  leftOut += workloadMetrics(metrics, shown);
  leftOut += readingMetrics(metrics, shown);
  metrics
    .gauge("metrics_left_out", "Nodes, workloads and readings without series of their own because of a bound")
    .set(leftOut);
  return registry.metrics();
}

type Maker = ReturnType<typeof maker>;

function maker(registry: Registry) {
  const made = (name: string, help: string, labelNames: string[]) => ({
    name: `blueflame_${name}`,
    help,
    labelNames,
    registers: [registry],
  });
  return {
    gauge: (name: string, help: string, ...labels: string[]) => new Gauge(made(name, help, labels)),
    counter: (name: string, help: string, ...labels: string[]) => new Counter(made(name, help, labels)),
  };
}

function hubMetrics({ gauge, counter }: Maker, hub: GetHubResponse, nodes: readonly Node[], use: ProcessUse): void {
  gauge("hub_info", "Always 1; the hub's version as a label", "version").set({ version: hub.version }, 1);
  gauge("hub_epoch", "Epoch of the hub; grows with each rebuilt hub").set(Number(hub.epoch));
  const startedAt = hub.startedAt === undefined ? 0 : timestampMs(hub.startedAt) / 1000;
  gauge("hub_start_time_seconds", "When the hub started, in seconds since 1970").set(startedAt);
  counter("hub_cpu_seconds_total", "Processor time of the hub's process").inc(use.cpuSeconds);
  gauge("hub_resident_memory_bytes", "Memory of the hub's process").set(use.residentBytes);
  const level = gauge("nodes", "Nodes by level of escalation", "level");
  const known = hub.green + hub.yellow + hub.orange + hub.red;
  level.set({ level: "green" }, hub.green);
  level.set({ level: "yellow" }, hub.yellow);
  level.set({ level: "orange" }, hub.orange);
  level.set({ level: "red" }, hub.red);
  level.set({ level: "unknown" }, Math.max(0, nodes.length - known));
  gauge("incidents_open", "Incidents that are not closed").set(hub.openIncidents);
  gauge("groups_frozen", "Groups of nodes whose escalation is frozen because of mass silence").set(hub.frozen.length);
}

function counterMetrics({ gauge, counter }: Maker, counts: FleetCounters): void {
  counter("heartbeats_total", "Heartbeats received").inc(counts.heartbeats);
  counter("records_stored_total", "Records made durable at the hub").inc(counts.recordsStored);
  counter("records_duplicate_total", "Records that were durable already and were sent again").inc(
    counts.recordsDuplicate,
  );
  counter("messages_quarantined_total", "Messages that could not be decoded and were set aside").inc(
    counts.quarantined,
  );
  gauge("sessions_open", "Sessions of agents now").set(counts.sessionsOpen);
  counter("sessions_opened_total", "Sessions opened by agents").inc(counts.sessionsOpened);
  counter("sessions_replaced_total", "Sessions closed because a newer one of the node came").inc(
    counts.sessionsReplaced,
  );
  const changes = counter("level_changes_total", "Nodes that came to a level: the frequency of escalation", "level");
  for (const [level, count] of Object.entries(counts.levelChanges)) changes.inc({ level }, count);
  counter("orders_sent_total", "Orders sent to nodes").inc(counts.ordersSent);
  const respawns = counter("respawns_total", "Resurrections by the respawn driver, by outcome", "outcome");
  for (const [outcome, count] of Object.entries(counts.respawns)) respawns.inc({ outcome }, count);
  counter("alerts_total", "Alerts given to people").inc(counts.alerts);
  counter("incidents_opened_total", "Incidents opened").inc(counts.incidentsOpened);
  counter("incidents_closed_total", "Incidents closed: with those opened, the rate of success").inc(
    counts.incidentsClosed,
  );
  const { detectSeconds: detect, recoverSeconds: recover } = counts;
  counter("detection_seconds_total", "Time from faults to their detection, summed").inc(detect.sum);
  counter("detections_total", "Faults detected: divide the time by it for MTTD").inc(detect.count);
  counter("recovery_seconds_total", "Time from detections to verified recoveries, summed").inc(recover.sum);
  counter("recoveries_total", "Recoveries verified: divide the time by it for MTTR").inc(recover.count);
  gauge("worst_lag_seconds", "How late the hub's own sweep was at worst since its start").set(counts.worstLagSeconds);
}

function nodeMetrics({ gauge }: Maker, nodes: readonly Node[]): void {
  const level = gauge("node_level", "Level of a node: 0 unknown, 1 green, 2 yellow, 3 orange, 4 red", "node");
  const connected = gauge("node_connected", "1 while a session of the node is open: network connectivity", "node");
  const age = gauge("node_last_beat_age_seconds", "Time since the node's last heartbeat", "node");
  for (const one of nodes) {
    level.set({ node: one.id }, one.level);
    connected.set({ node: one.id }, one.connected ? 1 : 0);
    if (one.lastBeatAgo !== undefined) age.set({ node: one.id }, durationMs(one.lastBeatAgo) / 1000);
  }
}

function workloadMetrics({ gauge, counter }: Maker, nodes: readonly Node[]): number {
  const labels = ["node", "workload"];
  const running = gauge("workload_running", "1 while the workload's process runs", ...labels);
  const healthy = gauge("workload_healthy", "1 while all evidence about the workload is good", ...labels);
  const pid = gauge("workload_pid", "Process id of the workload, 0 when there is none", ...labels);
  const started = gauge("workload_start_time_seconds", "When the workload's process started", ...labels);
  const restarts = counter("workload_restarts_total", "Starts after the first", ...labels);
  const all = nodes.flatMap((node) => node.workloads.map((workload) => ({ node: node.id, workload })));
  for (const { node, workload } of all.slice(0, workloadsMost)) {
    const of = { node, workload: workload.name };
    const runs = workload.phase === WorkloadPhase.RUNNING || workload.phase === WorkloadPhase.STARTING;
    running.set(of, runs && workload.pid > 0 ? 1 : 0);
    healthy.set(of, workload.health === WorkloadHealth.HEALTHY ? 1 : 0);
    pid.set(of, workload.pid);
    if (workload.startedAt !== undefined) started.set(of, timestampMs(workload.startedAt) / 1000);
    restarts.inc(of, Number(workload.restarts));
  }
  return Math.max(0, all.length - workloadsMost);
}

/** Each sensor's name ends with its unit, so each is a metric: `blueflame_node_cpu_busy_ratio`. Names come from nodes. */
function readingMetrics({ gauge }: Maker, nodes: readonly Node[]): number {
  const sensors = new Map<string, Gauge>();
  let [shown, leftOut] = [0, 0];
  for (const node of nodes) {
    for (const { sensor, subject, value } of node.readings) {
      const fits = shown < readingsMost && (sensors.has(sensor) || sensors.size < sensorsMost);
      if (!fits || !/^[a-z][a-z0-9]*(_[a-z0-9]+){0,8}$/.test(sensor) || sensor.length > 60 || reserved.has(sensor)) {
        leftOut += 1;
        continue;
      }
      const metric =
        sensors.get(sensor) ?? gauge(`node_${sensor}`, `Latest ${sensor} as the node read it`, "node", "subject");
      sensors.set(sensor, metric);
      metric.set({ node: node.id, subject }, value);
      shown += 1;
    }
  }
  return leftOut;
}

/** Our own `blueflame_node_…` metrics; a sensor that calls itself so must not shadow one. */
const reserved = new Set(["level", "connected", "last_beat_age_seconds"]);
