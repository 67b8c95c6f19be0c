/** Figures over the newest steps, with the field names that performance probes read. */
export interface Performance {
  readonly avg_latency_ms: number;
  readonly p95_latency_ms: number;
  readonly p99_latency_ms: number;
  /** Share of the steps that failed, 0 to 1. */
  readonly error_rate: number;
  /** Steps per second: this program's requests are its steps. */
  readonly requests_per_second: number;
  /** Share of one CPU, 0 to 1. */
  readonly cpu_usage: number;
  readonly memory_usage_mb: number;
}

/** One step as it was measured. */
interface Sample {
  readonly atMs: number;
  readonly tookMs: number;
  readonly ok: boolean;
}

/** Enough for a stable p99, small enough to sort on each question. */
const samplesMax = 500;

/** Collects the newest steps. Pure but for what it keeps: times and usage come in. */
export class Meter {
  readonly #samples: Sample[] = [];

  count(sample: Sample): void {
    this.#samples.push(sample);
    if (this.#samples.length > samplesMax) this.#samples.shift();
  }

  /** Figures as of `nowMs`, on the scale of the samples. Without samples all latencies and rates are 0. */
  figures(nowMs: number, cpuUsage: number, memoryBytes: number): Performance {
    const took = this.#samples.map((sample) => sample.tookMs).sort((a, b) => a - b);
    const first = this.#samples[0];
    const spanMs = first === undefined ? 0 : nowMs - first.atMs;
    return {
      avg_latency_ms: round(took.reduce((sum, ms) => sum + ms, 0) / Math.max(1, took.length)),
      p95_latency_ms: round(quantile(took, 0.95)),
      p99_latency_ms: round(quantile(took, 0.99)),
      error_rate: round(this.#samples.filter((sample) => !sample.ok).length / Math.max(1, took.length)),
      requests_per_second: round(spanMs <= 0 ? 0 : (this.#samples.length * 1000) / spanMs),
      cpu_usage: round(cpuUsage),
      memory_usage_mb: round(memoryBytes / 1024 / 1024),
    };
  }
}

function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
