import type { Severity } from "../supervise/severity.ts";

/** A trigger's condition holds: what the incident is opened with. */
export interface Symptom {
  /** The trigger's name. */
  readonly trigger: string;
  /** A workload, or the node when empty. */
  readonly workload: string;
  /** The job that is late; then `workload` is empty. */
  readonly job?: string;
  readonly severity: Severity;
  /** The playbook that the trigger asks for; empty: the diagnosis chooses a rung. */
  readonly playbook: string;
  /** One sentence with the figures. */
  readonly because: string;
  /** When the condition began to hold, by the monotonic clock. */
  readonly sinceMs: number;
}
