/** What a health score is made of. */
export interface HealthFigures {
  /** Time up, in percent of the time looked at, 0 to 100. */
  readonly uptimePercent: number;
  /** Good requests as a fraction of all, 0 to 1. */
  readonly successRate: number;
  /** 95 of 100 requests take at most this long. */
  readonly p95Ms: number;
  /** Failed requests as a fraction of all, 0 to 1. */
  readonly errorRate: number;
}

/**
 * The health score of PRA-6, from 0 (worst) to 100:
 * 0.3·uptime % + 0.3·success rate·100 + 0.2·(1 − p95 ms/1000)·100 + 0.2·(1 − error rate)·100, clamped.
 * The sum is clamped, not its terms: a p95 of 4 s takes away what the other terms gave. A figure that is no number scores 0.
 */
export function healthScore({ uptimePercent, successRate, p95Ms, errorRate }: HealthFigures): number {
  const score =
    0.3 * uptimePercent + 0.3 * successRate * 100 + 0.2 * (1 - p95Ms / 1000) * 100 + 0.2 * (1 - errorRate) * 100;
  return Number.isNaN(score) ? 0 : Math.min(100, Math.max(0, score));
}
