import type { Figures } from "../triggers/observation.ts";
import type { Reading } from "./reading.ts";

/** The hub takes a thousand readings of one heartbeat, or none; the machine's own need less than a hundred. */
const workloadReadingsMax = 900;
/** What of a workload is worth sending with every heartbeat. */
const sent = [
  "process_cpu_ratio",
  "process_memory_bytes",
  "process_tasks",
  "process_open_files",
  "p95_latency_ms",
  "error_rate",
  "requests_per_second",
] as const;

/** The machine's readings as figures, with the ratios that follow from them. */
export function nodeFigures(machine: readonly Reading[]): Figures {
  const figures: Record<string, number> = {};
  for (const { sensor, value } of machine) figures[sensor] = value;
  const ratio = (name: string, part: number | undefined, whole: number | undefined) => {
    if (part !== undefined && whole !== undefined && whole > 0) figures[name] = part / whole;
  };
  ratio("memory_used_ratio", figures.memory_used_bytes, figures.memory_total_bytes);
  const { disk_total_bytes: disk, disk_free_bytes: free } = figures;
  ratio("disk_used_ratio", disk === undefined || free === undefined ? undefined : disk - free, disk);
  return figures;
}

/** What our own families take of the machine: ours_cpu_ratio of all cores together, ours_memory_ratio of all memory. */
export function oursOf(node: Figures, workloads: Readonly<Record<string, Figures>>, cores: number): Figures {
  let [cpu, bytes, measured] = [0, 0, false];
  for (const figures of Object.values(workloads)) {
    measured ||= figures.process_cpu_ratio !== undefined;
    cpu += figures.process_cpu_ratio ?? 0;
    bytes += figures.process_memory_bytes ?? 0;
  }
  const { memory_total_bytes: total } = node;
  const none = Object.keys(workloads).length === 0;
  return {
    ...((measured || none) && { ours_cpu_ratio: cpu / cores }),
    ...(total !== undefined && total > 0 && { ours_memory_ratio: bytes / total }),
  };
}

/** The main figures of workloads as readings for the hub, at most 900; workloads beyond that send none. */
export function workloadReadings(workloads: Readonly<Record<string, Figures>>): Reading[] {
  const readings: Reading[] = [];
  for (const [name, figures] of Object.entries(workloads)) {
    const ours = sent.flatMap((sensor) => {
      const value = figures[sensor];
      return value === undefined ? [] : [{ sensor, subject: `workload/${name}`, value }];
    });
    if (readings.length + ours.length > workloadReadingsMax) break;
    readings.push(...ours);
  }
  return readings;
}
