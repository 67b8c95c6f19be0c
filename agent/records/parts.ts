/**
 * The parts that have a log of their own (SYN-8): `logs/PART.log` below the data directory, JSON lines, bounded. phoenix is the
 * agent's recovery, launcher the life of the workloads; watchdog and emergency are processes that write theirs themselves.
 */
export const parts = ["phoenix", "launcher", "incidents", "watchdog", "emergency"] as const;

/** One of them. */
export type Part = (typeof parts)[number];

/** Its file, below the data directory. */
export function logOf(part: Part): string {
  return `logs/${part}.log`;
}
