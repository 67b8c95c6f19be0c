import type { Moment } from "@blueflame/shared/time/clock.ts";
import type { Spending, Verdict } from "../escalation/state.ts";

/**
 * What restarts and resurrections may cost the whole fleet. Pure. A node holds at most one part of it at a time, from the
 * grant until it is released; who holds longer than `holdMaxMs` is taken for lost. The hour counts grants.
 */
export interface BudgetPolicy {
  /** At once. Default 3, at least 1. */
  readonly concurrent: number;
  /** Within any 60 minutes. Default 60, at least 1. */
  readonly perHour: number;
  /** At most this share of a site at once, but always one. Default 0.34. */
  readonly siteShare: number;
  /** Longer than any respawn with its coming back. Default 1 h. */
  readonly holdMaxMs: number;
}

export const budgetDefaults: BudgetPolicy = { concurrent: 3, perHour: 60, siteShare: 0.34, holdMaxMs: 3_600_000 };

/** Plain JSON. Both lists are bounded by the policy: `held` by concurrent, `granted` by perHour. */
export interface Budget {
  readonly held: readonly Held[];
  /** When each grant of the last hour was given, oldest first. */
  readonly granted: readonly number[];
}
export interface Held {
  readonly node: string;
  readonly site: string;
  readonly for: Spending;
  readonly sinceMs: number;
}
export interface Ask {
  readonly node: string;
  readonly site: string;
  /** Nodes of that site, silent ones included. */
  readonly siteNodes: number;
  readonly for: Spending;
}

export const emptyBudget: Budget = { held: [], granted: [] };
const hourMs = 3_600_000;
// Nobody knows when a running one ends: look again soon, but not in step with everybody else's sweep.
const lookAgainMs = 5_000;

/** Grants or refuses; a refusal says why and when to ask again. Asking while holding replaces what is held. */
export function askBudget(
  policy: BudgetPolicy,
  budget: Budget,
  ask: Ask,
  now: Pick<Moment, "ms">,
): { readonly budget: Budget; readonly verdict: Verdict } {
  const held = budget.held.filter((one) => one.node !== ask.node && one.sinceMs + policy.holdMaxMs >= now.ms);
  const granted = budget.granted.filter((atMs) => atMs > now.ms - hourMs);
  const refuse = (because: string, againAtMs: number) => ({
    budget: { held, granted },
    verdict: { granted: false, because, againAtMs } as const,
  });
  const [oldest] = granted.slice(-policy.perHour);
  if (oldest !== undefined && granted.length >= policy.perHour) {
    return refuse(`${granted.length} of ${policy.perHour} within the hour`, oldest + hourMs);
  }
  if (held.length >= policy.concurrent) {
    return refuse(`${held.length} of ${policy.concurrent} run at once`, now.ms + lookAgainMs);
  }
  const here = held.filter((one) => one.site === ask.site).length;
  const share = Math.max(1, Math.floor(policy.siteShare * ask.siteNodes));
  if (here >= share) return refuse(`${here} of ${share} run at once in site '${ask.site}'`, now.ms + lookAgainMs);
  const mine: Held = { node: ask.node, site: ask.site, for: ask.for, sinceMs: now.ms };
  return { budget: { held: [...held, mine], granted: [...granted, now.ms] }, verdict: { granted: true } };
}

/** The node no longer holds a part; harmless when it held none. */
export function releaseBudget(budget: Budget, node: string): Budget {
  return { ...budget, held: budget.held.filter((one) => one.node !== node) };
}

/**
 * After a restart of the hub: its monotonic times mean nothing, so every grant of the stored hour counts as given now,
 * which can only be too strict. Of what was held remains what `holders` (nodes whose restored state holds) still hold.
 */
export function restoredBudget(budget: Budget, holders: ReadonlySet<string>, now: Pick<Moment, "ms">): Budget {
  return {
    held: budget.held.filter((one) => holders.has(one.node)).map((one) => ({ ...one, sinceMs: now.ms })),
    granted: budget.granted.map(() => now.ms),
  };
}
