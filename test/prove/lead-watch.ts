import { allPids } from "@blueflame/agent/supervise/proc.driver.ts";

/** A process has its session and its environment long before: it forks, leads and executes within milliseconds. */
const settledMs = 2000;
const settledLooks = 5;

/**
 * Looks for main processes of workloads among all that live, for trials that look many times a second: who was looked at often
 * enough, for longer than a start takes, and was none, becomes none any more and is not read again.
 */
export class LeadWatch<Lead> {
  readonly #leadOf: (pid: number) => Lead | undefined;
  /** Who is none; those that are gone are forgotten, as their numbers are given again. */
  #others: ReadonlyMap<number, { readonly sinceMs: number; readonly looks: number }> = new Map();

  /** `leadOf` reads one process: what it leads, undefined when it leads nothing of ours or lives no more. */
  constructor(leadOf: (pid: number) => Lead | undefined) {
    this.#leadOf = leadOf;
  }

  look(): Lead[] {
    const leads: Lead[] = [];
    const nowMs = performance.now();
    const others = new Map<number, { sinceMs: number; looks: number }>();
    for (const pid of allPids()) {
      const { sinceMs, looks } = this.#others.get(pid) ?? { sinceMs: nowMs, looks: 0 };
      const isSettled = looks >= settledLooks && nowMs - sinceMs > settledMs;
      const lead = isSettled ? undefined : this.#leadOf(pid);
      if (lead === undefined) others.set(pid, { sinceMs, looks: looks + 1 });
      else leads.push(lead);
    }
    this.#others = others;
    return leads;
  }
}
