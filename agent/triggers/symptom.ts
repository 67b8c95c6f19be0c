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
  /** The playbook is a file of the operator's folder, so it is played as it is, whatever the box has under that name. */
  readonly own?: true;
  /** The playbook has failed here so often that others go first: why. */
  readonly demoted?: string;
  /** Its end is no sign of recovery within minutes (trust), or is seen by the supervision itself (a beat): none waits for it. */
  readonly lasting?: true;
  /** Of the node: the workload of ours that is the cause. Its own machine is told of it, and the node waits for its end. */
  readonly culprit?: string;
  /** One sentence with the figures. */
  readonly because: string;
  /** When the condition began to hold, by the monotonic clock. */
  readonly sinceMs: number;
}
