/** The six strategies of the ladder, cheapest first (SYN-3). */
export const rungs = [
  "quick_restart",
  "safe_mode",
  "config_rollback",
  "dependency_restart",
  "backup_restore",
  "full_bootstrap",
] as const;

/** One strategy. */
export type Rung = (typeof rungs)[number];
