/** What one more revision of an incident teaches. Pure. */
import type { LearningEvent } from "../learning/learning.ts";
import type { FailureFacts } from "../learning/signature.ts";
import type { IncidentFacts } from "../supervise/state.ts";

/** What is known of the failure beside the incident. */
export interface Circumstances {
  /** Empty: the node. */
  readonly workload: string;
  readonly signature: string;
  readonly nowMs: number;
  /** How long it had run when it failed; absent when nobody knows. */
  readonly uptimeMs?: number;
  /** How long before it the config had been changed; absent: nobody knows of a change. */
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
  // Two may begin in the same millisecond; and its monotonic time is another one after a reboot.
  const nameOf = ({ wallMs, rung, playbook }: IncidentFacts["attempts"][number]) =>
    `${wallMs} ${rung ?? ""} ${playbook ?? ""}`;
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
  // What the node itself suffers from has its triggers, and no measure of a workload against it.
  if (workload !== "" && after.at === "closed" && before?.at !== "closed") {
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

/** What the incident says of how it ended; the numbers stand in its own words. */
export function failureOf(incident: IncidentFacts | undefined): FailureFacts {
  if (!incident) return { symptom: "unknown" };
  const code = /exit code (\d+)/.exec(incident.summary)?.[1];
  const signal = /ended by (SIG[A-Z0-9]+)/.exec(incident.summary)?.[1];
  return {
    symptom: incident.symptom,
    ...(incident.trigger && { trigger: incident.trigger }),
    ...(code !== undefined && { code: Number(code) }),
    ...(signal !== undefined && { signal }),
  };
}
