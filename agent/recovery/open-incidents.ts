/** What is known of incidents that are not closed, from one revision to the next. Pure; at most one for each machine. */
import { type IncidentFacts, lastOf, type State } from "../supervise/state.ts";
import type { Event as TriggerEvent } from "../triggers/state.ts";

/** What one more revision means beside itself. */
export interface Told {
  /** The revision before; absent: it is new. */
  readonly before: IncidentFacts | undefined;
  /** How long the process had run whose failure opened it; absent when nobody knows. */
  readonly uptimeMs?: number;
  /** How long before it its config had been changed, as far as it was known then. */
  readonly sinceConfigMs?: number;
}

/** Remembers each open incident as it was told last. */
export class OpenIncidents {
  readonly #facts = new Map<string, IncidentFacts>();
  readonly #opened = new Map<string, Omit<Told, "before">>();

  /** `left` is what an earlier agent process has left open: it is not told, counted and learned from anew. */
  constructor(left: readonly IncidentFacts[]) {
    for (const facts of left) this.#facts.set(facts.id, facts);
  }

  /** `state` is the workload's after it; absent for the node. `changedAgoMs`: when its config was changed, asked of a new one. */
  told(facts: IncidentFacts, state: State | undefined, changedAgoMs: () => number | undefined = () => undefined): Told {
    const { id, at, failures, detectedMs } = facts;
    const before = this.#facts.get(id);
    // Only now it is known which process failed: what runs when the incident is closed is another one.
    const failed = state && lastOf(state.phase);
    if (!before && failures === 1) {
      const sinceConfigMs = changedAgoMs();
      this.#opened.set(id, {
        ...(failed && { uptimeMs: Math.max(0, detectedMs - failed.sinceMs) }),
        ...(sinceConfigMs !== undefined && { sinceConfigMs }),
      });
    }
    const opened = this.#opened.get(id);
    this.#facts.set(id, facts);
    if (at === "closed") {
      this.#facts.delete(id);
      this.#opened.delete(id);
    }
    return { before, ...opened };
  }
}

/** One more failure of what supervision sees and heals by itself, as its triggers count it; undefined when it is none of theirs. */
export function factOf(
  workload: string,
  before: IncidentFacts | undefined,
  { symptom, summary: because, trigger, failures }: IncidentFacts,
): TriggerEvent | undefined {
  if (before?.failures === failures) return undefined;
  if (symptom === "crash" || symptom === "sandbox_crash")
    return { is: "ended", workload, sandbox: symptom === "sandbox_crash", because };
  // It lives and does nothing; what could not be started or cleaned up after, or took too much, is not that.
  const isFrozen = trigger === undefined && !["spawn_failed", "not_cleaned", "over_limit"].includes(symptom);
  return isFrozen ? { is: "frozen", workload, because } : undefined;
}
