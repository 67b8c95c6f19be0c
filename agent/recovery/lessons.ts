/** What one more revision of an incident teaches. Pure. */
import type { LearningEvent } from "../learning/learning.ts";
import type { IncidentFacts } from "../supervise/state.ts";

/** What is known of the failure beside the incident. */
export interface Circumstances {
  readonly workload: string;
  readonly signature: string;
  readonly nowMs: number;
  /** How long it had run when it failed; absent when nobody knows. */
  readonly uptimeMs?: number;
  readonly sinceConfigMs?: number;
}

/**
 * Remedies whose outcome became known with this revision, and the end of the incident. A rung counts as having worked when it was
 * verified, and as having failed when it was relapsed from: both may come, one after the other.
 */
export function lessonsOf(
  before: IncidentFacts | undefined,
  after: IncidentFacts,
  around: Circumstances,
): LearningEvent[] {
  const { workload, signature } = around;
  // Two may begin in the same millisecond.
  const nameOf = ({ ms, rung, playbook }: IncidentFacts["attempts"][number]) => `${ms} ${rung ?? ""} ${playbook ?? ""}`;
  const known = new Map(before?.attempts.map((attempt) => [nameOf(attempt), attempt.ok]));
  const events: LearningEvent[] = [];
  for (const attempt of after.attempts) {
    const { rung, playbook, ok, tookMs } = attempt;
    if (ok === undefined || known.get(nameOf(attempt)) === ok) continue;
    events.push({
      is: "remedied",
      workload,
      signature,
      ...(rung && { rung }),
      ...(playbook !== undefined && { playbook }),
      ok,
      tookMs: tookMs ?? 0,
    });
  }
  if (after.at === "closed" && before?.at !== "closed") {
    const { uptimeMs, sinceConfigMs } = around;
    const root = after.diagnosis?.root;
    events.push({
      is: "incidentClosed",
      workload,
      signature,
      agoMs: Math.max(0, around.nowMs - after.detectedMs),
      ...(uptimeMs !== undefined && { uptimeMs }),
      ...(sinceConfigMs !== undefined && { sinceConfigMs }),
      ...(root !== undefined && { dependency: root }),
    });
  }
  return events;
}
