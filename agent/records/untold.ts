/**
 * What people have yet to be told. An alert is written down in the same batch as the revision of the incident that it is about, and
 * crossed off when it was told: an agent that dies in between leaves it to the next one. So everything is told at least once; the
 * same alert has the same file, and only its pager may be run twice. At most {@link untoldMax}; the oldest go first. Pure.
 */
import type { IncidentFacts } from "../supervise/state.ts";
import { type Alert, alertsOf } from "./alert.ts";

/** As many as there are alert files. */
const untoldMax = 500;

/** One alert, and what it is about. JSON-able. */
export interface UntoldAlert extends Alert {
  /** A workload; empty: the node. */
  readonly workload: string;
  readonly incidentId: string;
  readonly revision: number;
  readonly wallMs: number;
}

/** See {@link Untold.stage}. */
export type StageAlerts = (
  workload: string,
  before: IncidentFacts | undefined,
  revisions: readonly IncidentFacts[],
) => readonly UntoldAlert[] | undefined;

/** The list of one agent. */
export class Untold {
  readonly #alerts = new Map<string, UntoldAlert>();

  /** `left` is what an earlier agent process was to tell. */
  constructor(left: readonly UntoldAlert[]) {
    for (const alert of left) this.#alerts.set(keyOf(alert), alert);
  }

  /** Takes in what these revisions of incidents are worth; answers with the whole list when that changed it. */
  stage: StageAlerts = (workload, before, revisions) => {
    let last = before;
    let grown = false;
    for (const facts of revisions) {
      for (const alert of untoldOf(workload, last?.id === facts.id ? last : undefined, facts)) {
        this.#alerts.set(keyOf(alert), alert);
        grown = true;
      }
      last = facts;
    }
    for (const oldest of this.#alerts.keys()) {
      if (this.#alerts.size <= untoldMax) break;
      this.#alerts.delete(oldest);
    }
    return grown ? this.all() : undefined;
  };

  /** It was told. True when it had been on the list. */
  told(alert: UntoldAlert): boolean {
    return this.#alerts.delete(keyOf(alert));
  }

  all(): readonly UntoldAlert[] {
    return [...this.#alerts.values()];
  }
}

/** The alerts of one revision. Its own time is theirs: told twice, an alert is the same. */
export function untoldOf(workload: string, before: IncidentFacts | undefined, facts: IncidentFacts): UntoldAlert[] {
  const { id: incidentId, revision, timeline, detectedWallMs } = facts;
  const wallMs = timeline.at(-1)?.wallMs ?? detectedWallMs;
  return alertsOf(before, facts).map((alert) => ({ ...alert, workload, incidentId, revision, wallMs }));
}

function keyOf({ incidentId, revision, kind }: UntoldAlert): string {
  return `${incidentId}/${revision}/${kind}`;
}
