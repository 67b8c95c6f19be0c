import {
  durationForm,
  parseDuration,
  parsePercent,
  parseSize,
  percentForm,
  printDuration,
  printPercent,
  printSize,
  sizeForm,
} from "@blueflame/shared/units/units.ts";

/** How a figure is written by people. `rate` is bytes in a second, `seconds` a duration that the figure counts in seconds. */
type Unit = "percent" | "ms" | "seconds" | "bytes" | "rate" | "number";

/** What a trigger may look at. */
export interface Metric {
  /** Whose figure it is. */
  readonly of: "node" | "workload";
  readonly unit: Unit;
  /** In words, for lists. */
  readonly means: string;
  /** A threshold beyond this could never be crossed. */
  readonly max?: number;
  /** It grows when the machine had too little CPU: see `doubt.ts`. */
  readonly slowedByLoad?: true;
  /** The agent itself counts its time, so it grows also while the agent alone was late: see `doubt.ts`. */
  readonly isAge?: true;
  /** It is about the workload over all its lives: a new process does not end it. */
  readonly outlives?: true;
  /** Of this resource strangers may take their part. */
  readonly shared?: "cpu" | "memory";
}

const node = (unit: Unit, means: string, more: Partial<Metric> = {}): Metric => ({ of: "node", unit, means, ...more });
const workload = (unit: Unit, means: string, more: Partial<Metric> = {}): Metric => ({
  of: "workload",
  unit,
  means,
  ...more,
});
const slowed = { slowedByLoad: true } as const;
const age = { slowedByLoad: true, isAge: true } as const;

/** Every figure of an Observation that a threshold may be set on. */
export const metrics: Readonly<Record<string, Metric>> = {
  cpu_busy_ratio: node("percent", "CPU of all cores together", { max: 1, shared: "cpu" }),
  load_1m_ratio: node("number", "load average of a minute, per core", { shared: "cpu" }),
  memory_used_ratio: node("percent", "memory that cannot be had without swapping", { max: 1, shared: "memory" }),
  memory_used_bytes: node("bytes", "the same in bytes", { shared: "memory" }),
  swap_used_bytes: node("bytes", "swap", { shared: "memory" }),
  disk_used_ratio: node("percent", "the disk of the data directory", { max: 1 }),
  disk_free_bytes: node("bytes", "what that disk has left"),
  disk_free_inodes: node("number", "files that it can still hold"),
  disk_silent_seconds: node("seconds", "for how long that disk has not answered"),
  network_received_bytes_per_second: node("rate", "received, all interfaces"),
  network_sent_bytes_per_second: node("rate", "sent, all interfaces"),
  temperature_celsius: node("number", "the hottest sensor"),
  uptime_ms: workload("ms", "age of its process"),
  beat_age_ms: workload("ms", "age of its last beat", age),
  process_cpu_ratio: workload("percent", "CPU of its family; 100% is one core"),
  process_memory_bytes: workload("bytes", "memory of its family"),
  process_tasks: workload("number", "processes and threads of its family"),
  process_open_files: workload("number", "open files of its family"),
  output_bytes_per_second: workload("rate", "what it prints"),
  io_bytes_per_second: workload("rate", "what it reads and writes"),
  progress_age_ms: workload("ms", "since its last sign of progress", age),
  avg_latency_ms: workload("ms", "its requests take, on average", slowed),
  p95_latency_ms: workload("ms", "95 of 100 of its requests are faster", slowed),
  p99_latency_ms: workload("ms", "99 of 100 of its requests are faster", slowed),
  error_rate: workload("percent", "share of its requests that fail", { max: 1 }),
  requests_per_second: workload("number", "requests that it serves"),
  cpu_usage: workload("percent", "CPU by its own account"),
  memory_usage_mb: workload("number", "megabytes by its own account"),
  api_timeouts: workload("number", "requests that timed out in the last minute"),
  error_lines: workload("number", "lines with errors in the last minute"),
  trust: workload("number", "trust in it, from 0 to 1", { max: 1, outlives: true }),
  health_score: workload("number", "its health, from 0 to 100", { max: 100, outlives: true }),
};

/** The metric of that name; undefined when there is none. */
export function metricOf(name: string): Metric | undefined {
  return Object.hasOwn(metrics, name) ? metrics[name] : undefined;
}

const forms: Readonly<Record<Unit, string>> = {
  percent: percentForm,
  ms: durationForm,
  seconds: durationForm,
  bytes: sizeForm,
  rate: `${sizeForm}, counted in a second`,
  number: "a number, such as 5 or 0.7",
};

/** What a threshold of this metric may be, for error texts. */
export function formOf({ unit, max }: Metric): string {
  return `allowed is ${forms[unit]}${max === undefined ? "" : `, at most ${printFigure(unit, max)}`}`;
}

/** The figure that `text` writes for this metric; undefined for what is not {@link formOf}: a bare number where a unit is meant. */
export function parseFigure({ unit, max }: Metric, text: string): number | undefined {
  const figure = parsed(unit, text);
  return figure === undefined || figure > (max ?? Number.MAX_SAFE_INTEGER) ? undefined : figure;
}

function parsed(unit: Unit, text: string): number | undefined {
  switch (unit) {
    case "percent":
      return parsePercent(text);
    case "ms":
      return parseDuration(text);
    case "seconds": {
      const ms = parseDuration(text);
      return ms === undefined ? undefined : ms / 1000;
    }
    case "bytes":
    case "rate":
      return parseSize(text);
    case "number":
      return /^\d{1,15}(\.\d{1,9})?$/.test(text) ? Number(text) : undefined;
  }
}

/** The figure of a metric as people read it: `86.5%`, `1250ms`, `2.1GiB`; of an unknown metric as a number. */
export function figureWords(name: string, value: number): string {
  return printFigure(metricOf(name)?.unit ?? "number", value);
}

function printFigure(unit: Unit, value: number): string {
  switch (unit) {
    case "percent":
      return printPercent(Math.round(value * 1000) / 1000);
    case "ms":
      return value < 10_000 ? `${Math.round(value)}ms` : printDuration(Math.round(value / 1000) * 1000);
    case "seconds":
      return printDuration(value * 1000);
    case "bytes":
      return sizeWords(value);
    case "rate":
      return `${sizeWords(value)}/s`;
    case "number":
      return String(Math.round(value * 1000) / 1000);
  }
}

/** As it was written when it needs no fraction, else to a tenth of the largest unit: 2147483648 is 2GiB, 2254857830 is 2.1GiB. */
function sizeWords(bytes: number): string {
  const whole = Math.round(bytes);
  for (const size of [2 ** 40, 2 ** 30, 2 ** 20, 2 ** 10]) {
    if (whole < size) continue;
    const unit = printSize(size).slice(1);
    return `${Math.round((whole / size) * 10) / 10}${unit}`;
  }
  return printSize(whole);
}
