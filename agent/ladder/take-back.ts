import type { Facts } from "../diagnosis/facts.ts";

/** Up to this age a version answers for the trust in its workload: as long as a change of config is evidence by default (agent/ladder/policy.ts). */
const newMs = 3_600_000;

/** How things stand with a workload whose trust has fallen. */
export interface Lost {
  /** An incident is open on it. */
  readonly busy: boolean;
  /** How long ago its trust fell below the threshold. */
  readonly lostAgoMs: number;
}

/**
 * Why fallen trust is no reason to take the version in use back, as one sentence; undefined when it is one: the version came
 * lately, trust fell under it, and another one was healthy. Trust that fell under an earlier version, or under one that had been
 * well for long, says nothing against what a person has deployed since.
 */
export function whyNotBack(config: Facts["config"], { busy, lostAgoMs }: Lost): string | undefined {
  if (busy) return "an incident is open on it already";
  if (config.healthyVersion === undefined) return "there is no other version that was healthy";
  if (config.changedAgoMs === undefined || config.changedAgoMs > newMs)
    return "its config has not changed lately, so another version would not help";
  if (config.changedAgoMs < lostAgoMs) return "the trust fell before its config changed";
  return undefined;
}
