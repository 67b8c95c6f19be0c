/** Figures by their name with its unit last, like `cpu_busy_ratio`; what is not known is missing, never NaN. */
export type Figures = Readonly<Record<string, number>>;

/**
 * What was seen of the machine and its workloads at one moment. JSON-able: with it a decision can be replayed.
 *
 * Of the node: cpu_busy_ratio, load_1m_ratio, memory_used_ratio, memory_used_bytes, memory_total_bytes, swap_used_bytes,
 * disk_used_ratio, disk_free_bytes, disk_free_inodes, disk_silent_seconds, network_received_bytes_per_second,
 * network_sent_bytes_per_second, temperature_celsius, and what our own families take of it: ours_cpu_ratio (of the whole
 * machine, as cpu_busy_ratio) and ours_memory_ratio.
 *
 * Of a workload while its process lives: uptime_ms, beat_age_ms, beat_timeout_ms (how long its spec lets it be silent),
 * process_cpu_ratio (of one core), process_memory_bytes, process_tasks, process_open_files (of its family), output_bytes_per_second, io_bytes_per_second, progress_age_ms; from
 * performance probe, requests and beats: avg_latency_ms, p95_latency_ms, p99_latency_ms, error_rate, requests_per_second,
 * cpu_usage, memory_usage_mb, api_timeouts (in the last minute); error_lines (in the last minute); trust; health_score.
 */
export interface Observation {
  readonly node: Figures;
  /** By workload; only those whose process lives. */
  readonly workloads: Readonly<Record<string, Figures>>;
  /** Jobs that are late, and by how much. */
  readonly lateJobs: Readonly<Record<string, number>>;
  /** Sources of data that are stale or dead, with who makes them; `external` ones are nobody's fault here. */
  readonly staleSources: readonly {
    readonly name: string;
    readonly ageMs: number;
    readonly external: boolean;
    readonly workload: string;
  }[];
  /** The heaviest process that is not ours, in words for people: `stress-ng (pid 4711) takes 180 % of a core`; empty: none. */
  readonly heaviestStranger: string;
}
