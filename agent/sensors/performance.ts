import type { Figures } from "../triggers/observation.ts";

/** Field names of PRA-5, each with the largest sane value; shares of a whole end at 1. */
const fields = {
  avg_latency_ms: Number.MAX_SAFE_INTEGER,
  p95_latency_ms: Number.MAX_SAFE_INTEGER,
  p99_latency_ms: Number.MAX_SAFE_INTEGER,
  error_rate: 1,
  requests_per_second: Number.MAX_SAFE_INTEGER,
  // A share of one core: a program of many threads goes beyond 1.
  cpu_usage: 4096,
  memory_usage_mb: Number.MAX_SAFE_INTEGER,
} as const;

/** The figures of a performance page; what is missing, no number, negative or beyond its bound is left out. */
export function performanceFigures(document: unknown): Figures {
  if (typeof document !== "object" || document === null) return {};
  const page = document as Readonly<Record<string, unknown>>;
  const found: Record<string, number> = {};
  for (const [name, most] of Object.entries(fields)) {
    const value = Object.hasOwn(page, name) ? page[name] : undefined;
    if (typeof value === "number" && value >= 0 && value <= most) found[name] = value;
  }
  return found;
}
