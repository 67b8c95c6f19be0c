/**
 * How far a run has come, and what is next. The record is durable before each step and after it, so a crash between any two
 * lines leads to "go on", "this step again" or "already done". Pure.
 *
 *   (begun, nothing known) ── step begins ─▶ at work ── its outcome ─▶ done | skipped | failed | refused ─▶ next step … ─▶ ended
 */
import type { Step } from "../playbooks/playbook.ts";
import { deedWords } from "../playbooks/words.ts";
import type { RemedyResult } from "./ports.ts";

/** What became of one step. */
export interface StepRecord {
  readonly outcome: "done" | "skipped" | "failed" | "refused";
  readonly because: string;
  readonly tookMs: number;
}

/** A run as it is kept. JSON-able. */
export interface Run {
  readonly id: string;
  /** The playbook's name, or the rung's. */
  readonly name: string;
  /** Empty: the node. */
  readonly workload: string;
  readonly incidentId: string;
  readonly startedWallMs: number;
  /** Time that its steps have used, over all lives of the agent. */
  readonly spentMs: number;
  readonly steps: readonly Step[];
  /** One for each step that has ended. */
  readonly records: readonly StepRecord[];
  /** The step after the last record has begun. */
  readonly atWork: boolean;
  /** What the step at work has chosen (a target, a backup), so that it goes on with the same after a crash. */
  readonly intent?: Readonly<Record<string, unknown>>;
  readonly ended?: RemedyResult;
}

/** What is to be done now. */
export type Next =
  | { readonly is: "step"; readonly step: Step; readonly index: number; readonly again: boolean }
  | { readonly is: "lost"; readonly record: StepRecord }
  | { readonly is: "ended"; readonly result: RemedyResult };

/** What stands against going on. */
export interface Against {
  readonly cancelled: boolean;
  readonly budgetMs: number;
}

/** Decides. Total: it always answers. */
export function next(run: Run, { cancelled, budgetMs }: Against): Next {
  if (run.ended) return { is: "ended", result: run.ended };
  const { steps, records } = run;
  const last = records.at(-1);
  const lastStep = steps[records.length - 1];
  if (last && isBad(last) && lastStep?.onFailure === "stop") return broken(run, last.because);
  const step = steps[records.length];
  if (!step) return through(run);
  if (run.atWork && step.once) {
    const because = "it had begun when the agent ended, and is not done twice";
    return { is: "lost", record: { outcome: "failed", because, tookMs: 0 } };
  }
  if (cancelled) return broken(run, `cancelled before step ${records.length + 1} of ${steps.length}`);
  if (run.spentMs >= budgetMs) {
    return broken(run, `its ${Math.round(budgetMs)} ms were over before step ${records.length + 1} of ${steps.length}`);
  }
  return { is: "step", step, index: records.length, again: run.atWork };
}

/** What is kept of a run that has ended: nobody performs its steps again, so of each only its name and kind. */
export interface EndedRun extends Omit<Run, "steps"> {
  readonly steps: readonly { readonly name: string; readonly action: { readonly do: string } }[];
  readonly ended: RemedyResult;
}

export function isOver(run: Run | EndedRun): run is EndedRun {
  return run.ended !== undefined;
}

/** The run as it is kept: one that goes on whole, with all that its next step needs. */
export function kept(run: Run | EndedRun): Run | EndedRun {
  if (!isOver(run)) return run;
  return { ...run, steps: run.steps.map(({ name, action }) => ({ name, action: { do: action.do } })) };
}

/** A new run. */
export function begun(about: Pick<Run, "id" | "name" | "workload" | "incidentId" | "startedWallMs" | "steps">): Run {
  return { ...about, spentMs: 0, records: [], atWork: false };
}

/** The next step is about to begin; what an earlier try had chosen stays. */
export function stepBegun(run: Run): Run {
  return { ...run, atWork: true };
}

export function stepEnded(run: Run, record: StepRecord): Run {
  const { intent: _over, ...rest } = run;
  return { ...rest, atWork: false, records: [...run.records, record], spentMs: run.spentMs + record.tookMs };
}

/** A step has failed so far. */
export function hasFailed(run: Run): boolean {
  return run.records.some(isBad);
}

/**
 * What is left of a wait of `ms`, from 0 to `ms`, by what an earlier life has intended. Of another boot only the wall clock knows how
 * long nobody was there; it may have been set meanwhile, so it is believed within these bounds.
 */
export function leftToWait(
  { bootId, untilMs, untilWallMs }: Readonly<Record<string, unknown>>,
  ms: number,
  now: { readonly ms: number; readonly wallMs: number; readonly bootId: string },
): number {
  const sameBoot = bootId === now.bootId && typeof untilMs === "number";
  const left = sameBoot ? untilMs - now.ms : typeof untilWallMs === "number" ? untilWallMs - now.wallMs : ms;
  return Math.min(ms, Math.max(0, left));
}

function isBad({ outcome }: StepRecord): boolean {
  return outcome === "failed" || outcome === "refused";
}

/** It breaks off. Steps that failed and were passed over are the reason, whatever came last. */
function broken(run: Run, because: string): Next {
  return { is: "ended", result: { ok: false, because: run.records.find(isBad)?.because ?? because } };
}

/** Every step had its turn. */
function through(run: Run): Next {
  const failed = run.records.find(isBad);
  if (!failed) return { is: "ended", result: { ok: true, because: summary(run) } };
  return { is: "ended", result: { ok: false, because: failed.because, through: true } };
}

/** What came of it, in one sentence: what was done, each in its own words, and what of the workload was not needed any more by then. */
function summary({ records, steps, workload }: Run): string {
  const done = records.filter(({ outcome }) => outcome === "done").map(({ because }) => because);
  if (done.length === 0)
    return records.length > 0
      ? `nothing was to be done: ${records.map(({ because }) => because).join("; ")}`.slice(0, 600)
      : "nothing was to be done";
  const first = records.findIndex(({ outcome }) => outcome === "done");
  const needless = records.flatMap(({ outcome, because }, index) => {
    const step = steps[index];
    if (workload === "" || index < first || outcome !== "skipped" || !step?.when?.any.length) return [];
    return [`not needed any more: to ${deedWords(step.action)} (${because})`];
  });
  return [...done, ...needless].join("; ").slice(0, 600);
}
