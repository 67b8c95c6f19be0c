/** The answer of `/health/performance`; field names are fixed, monitors read them. */
export interface Performance {
  readonly avg_latency_ms: number;
  readonly p95_latency_ms: number;
  readonly p99_latency_ms: number;
  /** Share of requests that failed on our side, 0 to 1. */
  readonly error_rate: number;
  readonly requests_per_second: number;
  /** Share of one processor since the last question, at least a second ago. */
  readonly cpu_usage: number;
  readonly memory_usage_mb: number;
}

/** One answered request. */
export interface Served {
  readonly atMs: number;
  readonly tookMs: number;
  readonly failed: boolean;
}

const keptMost = 2048;
/** Older requests say nothing about now. */
const windowMs = 60_000;

/** `served` with one more, bounded in number and age. */
export function served(earlier: readonly Served[], one: Served): Served[] {
  return [...earlier.slice(-(keptMost - 1)), one];
}

/** Figures over the last minute, all 0 when nothing was served. */
export function summary(all: readonly Served[], nowMs: number): Omit<Performance, "cpu_usage" | "memory_usage_mb"> {
  const recent = all.filter((one) => one.atMs > nowMs - windowMs);
  const took = recent.map((one) => one.tookMs).sort((a, b) => a - b);
  const sum = took.reduce((total, one) => total + one, 0);
  const oldest = recent[0]?.atMs ?? nowMs;
  // After a full buffer, or soon after the start, the window is shorter than a minute; never shorter than a second.
  const spanSeconds = Math.max(1, recent.length < keptMost ? windowMs / 1000 : (nowMs - oldest) / 1000);
  return {
    avg_latency_ms: round(took.length === 0 ? 0 : sum / took.length),
    p95_latency_ms: round(quantile(took, 0.95)),
    p99_latency_ms: round(quantile(took, 0.99)),
    error_rate: round(recent.length === 0 ? 0 : recent.filter((one) => one.failed).length / recent.length),
    requests_per_second: round(recent.length / spanSeconds),
  };
}

/** True when so many requests fail that traffic should go elsewhere: half of at least twenty. */
export function isFailing(all: readonly Served[], nowMs: number): boolean {
  const recent = all.filter((one) => one.atMs > nowMs - windowMs);
  return recent.length >= 20 && recent.filter((one) => one.failed).length * 2 >= recent.length;
}

function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
