import type { Action } from "../playbooks/playbook.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import type { StepRecord } from "./progress.ts";

/** What a step that runs is given. */
export interface StepContext {
  readonly runId: string;
  /** The playbook, or the rung. */
  readonly name: string;
  /** Empty: the node. */
  readonly workload: string;
  /** The workload's spec as it is used; absent for the node. */
  readonly spec?: WorkloadSpec;
  readonly incidentId: string;
  /** The process is down, and its machine starts it when the run has ended. */
  readonly down: boolean;
  /** This step had begun when an earlier agent ended. */
  readonly again: boolean;
  /** What it had chosen then. */
  readonly intent: Readonly<Record<string, unknown>>;
  /** Aborts at the step's deadline, on a cancel, and when the agent leaves. */
  readonly signal: AbortSignal;
  /** What is left for this step. */
  readonly leftMs: () => number;
  /** Makes a choice durable: after a crash the step goes on with it. Must be awaited before the choice is acted upon. */
  readonly intend: (intent: Readonly<Record<string, unknown>>) => Promise<void>;
}

/** What came of it; `after` is for the audit. */
export interface Outcome extends Pick<StepRecord, "outcome" | "because"> {
  readonly after?: unknown;
}

/** Does one kind of step. Rejects only with {@link Refused}, or by mistake; everything else is an outcome. */
export type Performer<A extends Action = Action> = (action: A, context: StepContext) => Promise<Outcome>;

/** One performer for each kind of step: a forgotten one does not compile. */
export type Performers = { readonly [K in Action["do"]]: Performer<Extract<Action, { do: K }>> };

/** Authority says no. */
export class Refused extends Error {
  override readonly name = "Refused";
  readonly rule: string;
  constructor(rule: string, because: string) {
    super(because);
    this.rule = rule;
  }
}

export const done = (because: string, after?: unknown): Outcome => ({
  outcome: "done",
  because,
  ...(after !== undefined && { after }),
});
export const failed = (because: string): Outcome => ({ outcome: "failed", because });
export const skipped = (because: string): Outcome => ({ outcome: "skipped", because });
/** An answer of another part as an outcome. */
export const outcomeOf = ({ ok, because }: { readonly ok: boolean; readonly because: string }): Outcome => ({
  outcome: ok ? "done" : "failed",
  because,
});
