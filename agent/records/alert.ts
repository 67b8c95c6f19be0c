import type { Severity } from "../supervise/severity.ts";
import type { IncidentFacts } from "../supervise/state.ts";

/** What is worth telling somebody at once. */
export interface Alert {
  readonly kind: "opened" | "needs_person" | "rolled_back" | "recovered" | "closed" | "told";
  readonly severity: Severity;
  /** A person has to do something: the pager is run. */
  readonly page: boolean;
  readonly because: string;
}

/**
 * The alerts that one more revision of an incident is worth: at most one of each kind in an incident's life, except a relapse,
 * and what is worse than the low severity it began with: both open it anew; and except a person who was not needed any more and is
 * again. A failure that nothing is done about opens and ends it at once, and is one alert. Nothing holds an alert back (design.md, rule 4).
 */
export function alertsOf(before: IncidentFacts | undefined, after: IncidentFacts): Alert[] {
  const { severity, summary } = after;
  const alerts: Alert[] = [];
  const again = before !== undefined && after.failures > before.failures;
  const relapsed = before?.at === "probation" && (again || (after.at !== "probation" && after.at !== "closed"));
  const worse = again && before.severity === "low" && severity !== "low";
  const opens = !before || relapsed || worse || (again && after.at === "closed");
  if (opens) {
    const words = relapsed ? `it failed again on probation: ${summary}` : summary;
    alerts.push({ kind: "opened", severity, page: false, because: `${after.symptom}: ${words}` });
  }
  if (after.needsPerson && !before?.needsPerson)
    alerts.push({ kind: "needs_person", severity: "critical", page: true, because: lastOf(after) });
  const last = after.timeline.at(-1);
  if (last?.what === "remedy" && last.because.startsWith("config_rollback: "))
    alerts.push({ kind: "rolled_back", severity: "high", page: false, because: lastOf(after) });
  if (after.at === "probation" && before?.at !== "probation")
    alerts.push({ kind: "recovered", severity: "low", page: false, because: lastOf(after) });
  if (after.at === "closed" && before?.at !== "closed" && !opens)
    alerts.push({ kind: "closed", severity: "low", page: false, because: lastOf(after) });
  return alerts;
}

function lastOf({ timeline, summary }: IncidentFacts): string {
  return timeline.at(-1)?.because ?? summary;
}
