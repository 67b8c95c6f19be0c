import type { Facts } from "../diagnosis/facts.ts";
import type { Rung } from "../ladder/rungs.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";

/** The rungs that need something done before the workload is started again. */
export type PreparedRung = Extract<
  Rung,
  "config_rollback" | "dependency_restart" | "backup_restore" | "full_bootstrap"
>;

/** Whose remedy got no place asks again this often; see {@link RemedyResult}. */
export const askAgainMs = 1000;

/** What is to be done. */
export interface RemedyRequest {
  /** Incident, rung and attempt: asked again with the same id, it goes on or answers what it has answered. */
  readonly id: string;
  readonly workload: string;
  readonly rung: PreparedRung;
  readonly incidentId: string;
  readonly budgetMs: number;
  /** Called when it has its place and its next step is about to begin; never when it had ended already. Must not throw. */
  readonly begun?: () => void;
}

/** How it ended. */
export interface RemedyResult {
  readonly ok: boolean;
  /** One sentence with facts. */
  readonly because: string;
  /** It is not ok, but came to its end: what failed may fail (`on_failure: continue`), and was passed over. */
  readonly through?: true;
  /** Nothing of it was begun: no place was free, or another run is at work. Asked again with the same id, it may have its turn. */
  readonly turnedAway?: true;
}

/** A playbook to run; `workload` empty: on the node. */
export interface PlayRequest {
  readonly id: string;
  readonly playbook: string;
  readonly workload: string;
  readonly incidentId: string;
  readonly budgetMs: number;
  /** See {@link RemedyRequest}. */
  readonly begun?: () => void;
}

/** Alone in changing the machine beyond starting and stopping processes. No method rejects; each is bounded by its budget. */
export interface RemedyPort {
  /** Called while the workload's process is down. */
  prepare(request: RemedyRequest): Promise<RemedyResult>;
  /** Called while it runs, or for the node. */
  play(request: PlayRequest): Promise<RemedyResult>;
  /** What has not ended under this id ends now, at the next safe point. */
  cancel(id: string): void;
  /** What the diagnosis has to know, within a second: what cannot be had by then is missing. */
  examine(workload: string): Promise<Facts>;
  /** The spec that the workload's next instance is started with: the config's, or an older version after a rollback. */
  specInUse(workload: string): WorkloadSpec;
  /** It was well through its probation, or has been well for that long: this version of its config is good. */
  healthy(workload: string): void;
}
