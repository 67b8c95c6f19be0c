/**
 * Runs the steps of a run, one after the other: asked ─▶ a place in its pool ─▶ for each step: its condition, authority, then the
 * deed within its time ─▶ recorded and audited ─▶ answered. Asked again with the same id, it goes on where it was or answers what
 * it has answered, in this life of the agent or the next. While a step only lets time pass, its place in the pool is another's.
 */
import type { Step } from "../playbooks/playbook.ts";
import { deedWords } from "../playbooks/words.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import type { Around } from "./around.ts";
import { holds, type Seen } from "./conditions.ts";
import type { Journal } from "./journal.driver.ts";
import { inTime, wordsOf } from "./patience.driver.ts";
import { failed, type Outcome, type Performer, type Performers, Refused, skipped } from "./performer.ts";
import type { Permission } from "./permission.driver.ts";
import { emptyPools, enter, type Left, leave, type PoolBounds, type PoolState, rest, resume } from "./pools.ts";
import type { RemedyRequest, RemedyResult } from "./ports.ts";
import { begun, hasFailed, isOver, next, type Run, type StepRecord, stepBegun, stepEnded } from "./progress.ts";

/** After its deadline or a cancel a step has this long to come to a safe point; then it is left alone. */
const settleMs = 3000;

/** What is to be run. */
export interface RunRequest {
  readonly id: string;
  readonly name: string;
  readonly workload: string;
  readonly incidentId: string;
  readonly steps: readonly Step[];
  readonly budgetMs: number;
  /** Empty: it counts against no pool. */
  readonly pool: string;
  /** Two runs with the same subject never run at once. */
  readonly subject: string;
  /** agent, or person:NAME. */
  readonly actor: string;
  readonly down: boolean;
  /** False: nobody asks again, so nothing of it is kept. */
  readonly durable: boolean;
  /** See {@link RemedyRequest}. */
  readonly begun?: () => void;
  /** What is at work on this subject is ended first. */
  readonly clears?: string;
}

/** A run that has ended, with its steps. */
export interface RunReport extends RemedyResult {
  readonly steps: readonly Step[];
  readonly records: readonly StepRecord[];
}

interface Live {
  readonly request: RunRequest;
  readonly report: Promise<RunReport>;
  readonly stop: AbortController;
  /** Resolves when it gets the place that it waits for. */
  entered: PromiseWithResolvers<void>;
}

/** What the executor is made of. */
export interface ExecutorParts {
  readonly around: Around;
  readonly bounds: PoolBounds;
  readonly permission: Permission;
  readonly performers: Performers;
  readonly journal: Journal;
  readonly specOf: (workload: string) => WorkloadSpec | undefined;
  /** What a condition is looked at with. */
  readonly seen: (workload: string) => Seen;
  /** The state for the audit, small. */
  readonly snapshot: (workload: string) => unknown;
}

/** Runs everything that remedies do. Whoever made it closes it. */
export class Executor {
  readonly #parts: ExecutorParts;
  readonly #live = new Map<string, Live>();
  #pools: PoolState = emptyPools;
  #closed = false;

  constructor(parts: ExecutorParts) {
    this.#parts = parts;
  }

  /** Never rejects. */
  run(request: RunRequest): Promise<RunReport> {
    const live = this.#live.get(request.id);
    if (live) return live.report;
    const stop = new AbortController();
    const entered = Promise.withResolvers<void>();
    const report = this.#begin(request, stop.signal, entered.promise).finally(() => {
      this.#live.delete(request.id);
      this.#make(leave(this.#pools, request.id, this.#parts.bounds));
    });
    this.#live.set(request.id, { request, report, stop, entered });
    return report;
  }

  /** Ends a run at its next safe point. Unknown ids are fine. */
  cancel(id: string): void {
    this.#live.get(id)?.stop.abort(new Error("cancelled"));
  }
  /** Ends what is at work on the subject, and resolves when it has ended. Who asks is not among it: that comes later. */
  async #clear(subject: string): Promise<void> {
    const others = [...this.#live.values()].filter(({ request }) => request.subject === subject);
    for (const { stop } of others) stop.abort(new Error("something else is to be done first"));
    await Promise.all(others.map(({ report }) => report));
  }
  /** The agent leaves: what runs is left as it is, and gone on with by the next agent that is asked. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { stop } of this.#live.values()) stop.abort(new Error("the agent leaves"));
    await Promise.all([...this.#live.values()].map(({ report }) => report));
  }

  #make({ state, begins }: Left): void {
    this.#pools = state;
    for (const { id } of begins) this.#live.get(id)?.entered.resolve();
  }

  /** After a rest: resolves with a place, or when the time is over or it is stopped, which ends the run. */
  async #goOn({ id }: RunRequest, withinMs: number, stop: AbortSignal): Promise<void> {
    const { bounds, around } = this.#parts;
    const { state, runs } = resume(this.#pools, id, bounds);
    this.#pools = state;
    const live = this.#live.get(id);
    if (runs || !live) return;
    live.entered = Promise.withResolvers<void>();
    await inTime(around.clock, withinMs, live.entered.promise, stop);
  }

  async #begin(request: RunRequest, stop: AbortSignal, entered: Promise<void>): Promise<RunReport> {
    const { journal, bounds, around } = this.#parts;
    if (request.clears !== undefined) await this.#clear(request.clears);
    const kept = request.durable ? await journal.load(request.id) : undefined;
    if (kept && isOver(kept)) return { ...kept.ended, steps: request.steps, records: kept.records };
    const { id, name, workload, incidentId, steps, pool, subject, budgetMs } = request;
    const run = kept ?? begun({ id, name, workload, incidentId, steps, startedWallMs: around.clock.wallMs() });
    const asked = enter(this.#pools, { id, pool, subject }, bounds);
    this.#pools = asked.state;
    if (asked.entry.is === "refused") return this.#turnedAway(run, asked.entry.because);
    const askedMs = around.clock.monotonicMs();
    if (asked.entry.is === "waits") {
      const waited = await inTime(around.clock, budgetMs, entered, stop);
      if (waited.is !== "done") return this.#turnedAway(run, `no place in the pool ${pool} was free in time`);
    }
    const waitedMs = around.clock.monotonicMs() - askedMs;
    request.begun?.();
    return this.#go({ ...request, budgetMs: budgetMs - waitedMs }, run, stop);
  }

  /** Not kept: asked again, it may have its turn. */
  #turnedAway(run: Run, because: string): RunReport {
    return { ok: false, because, steps: run.steps, records: run.records, turnedAway: true };
  }

  async #go(request: RunRequest, start: Run, stop: AbortSignal): Promise<RunReport> {
    let run = start;
    for (;;) {
      const what = next(run, { cancelled: stop.aborted && !this.#closed, budgetMs: request.budgetMs });
      // A life that ends leaves the run as it is.
      if (this.#closed && what.is !== "ended") return this.#turnedAway(run, "the agent leaves");
      if (what.is === "ended") {
        run = { ...run, atWork: false, ended: what.result };
        await this.#keep(request, run);
        return { ...what.result, steps: run.steps, records: run.records };
      }
      if (what.is === "lost") run = stepEnded(run, what.record);
      else {
        const record = await this.#step(request, run, what, stop);
        if (this.#closed) return this.#turnedAway(run, "the agent leaves");
        run = stepEnded(run, record);
      }
      await this.#keep(request, run);
    }
  }

  async #keep({ durable }: RunRequest, run: Run): Promise<void> {
    if (durable) await this.#parts.journal.save(run);
  }

  async #step(
    request: RunRequest,
    run: Run,
    { step, again }: { readonly step: Step; readonly again: boolean },
    stop: AbortSignal,
  ): Promise<StepRecord> {
    const { around, snapshot } = this.#parts;
    const startedMs = around.clock.monotonicMs();
    const before = snapshot(request.workload);
    const outcome = await this.#perform(request, run, step, again, stop).catch((error: unknown): Outcome => {
      if (error instanceof Refused) return { outcome: "refused", because: error.message };
      return failed(`it broke off: ${wordsOf(error)}`);
    });
    await this.#goOn(request, request.budgetMs - run.spentMs - (around.clock.monotonicMs() - startedMs), stop);
    const tookMs = around.clock.monotonicMs() - startedMs;
    if (!this.#closed) this.#audit(request, step, outcome, tookMs, before);
    return { outcome: outcome.outcome, because: outcome.because.slice(0, 400), tookMs };
  }

  async #perform(request: RunRequest, run: Run, step: Step, again: boolean, stop: AbortSignal): Promise<Outcome> {
    const { around, bounds, permission, specOf } = this.#parts;
    const { workload, incidentId, name } = request;
    // What had begun goes on, whatever its condition would say now.
    if (step.when && !again) {
      const asked = holds(step.when, this.#seen(run));
      if (!asked.holds) return skipped(asked.because);
    }
    permission.step(step.action.do, workload);
    if (step.action.do === "wait") this.#make(rest(this.#pools, request.id, bounds));
    const begins = stepBegun(run);
    const saving = this.#keep(request, begins);
    // Only what must not be done twice has to be known before it is done.
    if (step.once) await saving;
    const budgetMs = Math.min(step.timeoutMs, Math.max(0, request.budgetMs - run.spentMs));
    const untilMs = around.clock.monotonicMs() + budgetMs;
    const deadline = new AbortController();
    const cancelDeadline = around.clock.wakeAt(untilMs, () => deadline.abort(new Error("its time was over")));
    const spec = specOf(workload);
    let intent = run.intent ?? {};
    // Each kind has the performer of its own: the table's type says so.
    const perform = this.#parts.performers[step.action.do] as Performer;
    const doing = perform(step.action, {
      runId: request.id,
      name,
      workload,
      ...(spec && { spec }),
      incidentId,
      down: request.down || (workload !== "" && around.stand(workload).awaitsRemedy === true),
      again,
      intent,
      signal: AbortSignal.any([stop, deadline.signal]),
      leftMs: () => Math.max(0, untilMs - around.clock.monotonicMs()),
      intend: async (chosen) => {
        intent = { ...intent, ...chosen };
        await this.#keep(request, { ...begins, intent });
      },
    });
    const stopped = Promise.withResolvers<void>();
    stop.addEventListener("abort", () => stopped.resolve(), { once: true });
    if (stop.aborted) stopped.resolve();
    const first = await inTime(around.clock, budgetMs, Promise.race([doing, stopped.promise]));
    if (first.is === "failed") throw first.error;
    // Over, or asked to end: it has a moment to come to a safe point by itself.
    const last = first.is === "done" && first.value ? first : await inTime(around.clock, settleMs, doing);
    cancelDeadline();
    if (last.is === "failed") throw last.error;
    if (last.is === "done" && last.value) return last.value;
    return failed(stop.aborted ? wordsOf(stop.reason) : `it did not end within ${Math.round(budgetMs)} ms`);
  }

  #seen(run: Run): Seen {
    return { ...this.#parts.seen(run.workload), failedBefore: hasFailed(run) };
  }

  /** What was only looked at and passed over changed nothing, and is in the report alone. */
  #audit(request: RunRequest, step: Step, outcome: Outcome, tookMs: number, before: unknown): void {
    if (outcome.outcome === "skipped") return;
    const { around, snapshot } = this.#parts;
    const outcomes = { done: "success", failed: "failure", refused: "refused" } as const;
    around.audit({
      action: `remedy.${step.action.do}`,
      actor: request.actor,
      workload: request.workload,
      because: `${request.name}: ${step.name || deedWords(step.action)}: ${outcome.because}`.slice(0, 600),
      outcome: outcomes[outcome.outcome],
      tookMs,
      incidentId: request.incidentId,
      before,
      after: outcome.after ?? snapshot(request.workload),
    });
  }
}
