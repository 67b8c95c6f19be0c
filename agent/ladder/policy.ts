import type { Rung } from "./rungs.ts";

/** How long each rung may take until its verification, and how long a changed config is suspected. */
export interface LadderPolicy {
  readonly budgetMs: Readonly<Record<Rung, number>>;
  readonly recentConfigMs: number;
}

const minuteMs = 60_000;

/** SYN-3's budgets; a config that changed within an hour is suspected first. */
export const ladderDefaults: LadderPolicy = {
  budgetMs: {
    quick_restart: 30_000,
    safe_mode: 2 * minuteMs,
    config_rollback: 5 * minuteMs,
    dependency_restart: 10 * minuteMs,
    backup_restore: 30 * minuteMs,
    full_bootstrap: 120 * minuteMs,
  },
  recentConfigMs: 60 * minuteMs,
};
