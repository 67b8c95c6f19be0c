/**
 * Rungs and playbooks on virtual time: the agent's real pools, conditions and progress of runs, as its executor puts them together,
 * over deeds of the story's world. A run outlives the agent as it does on a disk: asked again by its id, it goes on at its step.
 */
import type { Step } from "@blueflame/agent/playbooks/playbook.ts";
import { deedWords } from "@blueflame/agent/playbooks/words.ts";
import { type Seen as ConditionSeen, holds } from "@blueflame/agent/remedies/conditions.ts";
import { emptyPools, enter, leave, type PoolBounds, type PoolState } from "@blueflame/agent/remedies/pools.ts";
import type { RemedyResult } from "@blueflame/agent/remedies/ports.ts";
import {
  begun,
  hasFailed,
  next,
  type Run,
  type StepRecord,
  stepBegun,
  stepEnded,
} from "@blueflame/agent/remedies/progress.ts";
import type { Cancel, Clock } from "@blueflame/shared/time/clock.ts";
import type { Seen } from "./node-parts.ts";

/** What is to be run. */
export interface RunRequest {
  readonly id: string;
  readonly name: string;
  /** Empty: the node. */
  readonly workload: string;
  readonly incidentId: string;
  readonly steps: readonly Step[];
  readonly budgetMs: number;
  readonly pool: string;
  readonly down: boolean;
  /** Called when it has its place. */
  readonly begun: () => void;
}

/** What a deed is given; `end` is to be called once, now or later, or never. */
export interface DeedContext {
  readonly run: Pick<Run, "id" | "name" | "workload">;
  readonly step: Step;
  readonly first: boolean;
  readonly down: boolean;
  readonly again: boolean;
  readonly intent: Readonly<Record<string, unknown>>;
  readonly intend: (intent: Readonly<Record<string, unknown>>) => void;
  readonly leftMs: () => number;
  readonly end: (outcome: StepRecord["outcome"], because: string) => void;
}

/** What runs need of the world. */
export interface RunGround {
  readonly clock: Clock;
  readonly bounds: PoolBounds;
  readonly see: (seen: Seen) => void;
  readonly perform: (context: DeedContext) => void;
  readonly sight: (workload: string, failedBefore: boolean) => ConditionSeen;
  /** Its machine waits for the remedy that runs now. */
  readonly awaits: (workload: string) => boolean;
}

interface Live {
  readonly request: RunRequest;
  readonly answer: (result: RemedyResult) => void;
  run: Run;
  runs: boolean;
  stopWaiting: Cancel;
}

/** Runs of one agent's life after the other. */
export class Runs {
  readonly #ground: RunGround;
  readonly #journal = new Map<string, Run>();
  readonly #live = new Map<string, Live>();
  #pools: PoolState = emptyPools;

  constructor(ground: RunGround) {
    this.#ground = ground;
  }

  begin(request: RunRequest, answer: (result: RemedyResult) => void): void {
    const { clock, bounds } = this.#ground;
    const { id, name, workload, incidentId, steps, pool } = request;
    const kept = this.#journal.get(id);
    if (kept?.ended) {
      answer(kept.ended);
      return;
    }
    const run = kept ?? begun({ id, name, workload, incidentId, steps, startedWallMs: clock.wallMs() });
    const { state, entry } = enter(this.#pools, { id, pool, subject: workload || "node" }, bounds);
    this.#pools = state;
    if (entry.is === "refused") {
      this.#see("refused", request, entry.because);
      answer({ ok: false, because: entry.because, turnedAway: true });
      return;
    }
    const live: Live = { request, answer, run, runs: entry.is === "runs", stopWaiting: () => undefined };
    this.#live.set(id, live);
    if (live.runs) {
      this.#go(live, true);
      return;
    }
    this.#see("waits", request, `its pool ${pool} is full`);
    live.stopWaiting = clock.wakeAt(clock.monotonicMs() + request.budgetMs, () => {
      if (this.#live.get(id) === live) this.#turnAway(live, `no place in ${pool} was free in time`);
    });
  }

  cancel(id: string): void {
    const live = this.#live.get(id);
    if (!live) return;
    this.#see("cancelled", live.request, "it is called off");
    this.#journal.set(id, { ...live.run, ended: { ok: false, because: "cancelled" } });
    this.#leave(live);
  }

  /** The agent has died: what ran is where it was. */
  dies(): void {
    this.#live.clear();
    this.#pools = emptyPools;
  }

  /** Ends what is at work on a workload before something else is done to it. */
  clear(workload: string, but: string): void {
    for (const { request } of [...this.#live.values()])
      if (request.workload === workload && request.id !== but) this.cancel(request.id);
  }

  #go(live: Live, first: boolean): void {
    if (first) {
      const again = live.run.atWork || live.run.records.length > 0;
      this.#see(again ? "goesOn" : "begins", live.request, "");
      live.request.begun();
    }
    const { budgetMs } = live.request;
    const what = next(live.run, { cancelled: false, budgetMs });
    if (what.is === "ended") this.#end(live, what.result);
    else if (what.is === "lost") this.#record(live, what.record);
    else this.#step(live, what.step, what.again);
  }

  #step(live: Live, step: Step, again: boolean): void {
    const { clock, perform, sight, awaits } = this.#ground;
    const { request } = live;
    if (step.when && !again) {
      const asked = holds(step.when, sight(request.workload, hasFailed(live.run)));
      if (!asked.holds) {
        this.#record(live, { outcome: "skipped", because: asked.because, tookMs: 0 });
        return;
      }
    }
    const intent = live.run.intent ?? {};
    live.run = stepBegun(live.run);
    this.#journal.set(request.id, live.run);
    const startedMs = clock.monotonicMs();
    const untilMs = startedMs + Math.min(step.timeoutMs, Math.max(0, request.budgetMs - live.run.spentMs));
    let over = false;
    const end = (outcome: StepRecord["outcome"], because: string): void => {
      if (over || this.#live.get(request.id) !== live) return;
      over = true;
      stopTimer();
      this.#record(live, { outcome, because, tookMs: clock.monotonicMs() - startedMs }, step);
    };
    const stopTimer = clock.wakeAt(untilMs, () => end("failed", `it did not end within ${untilMs - startedMs} ms`));
    perform({
      run: request,
      step,
      first: live.run.records.length === 0,
      down: request.down || (request.workload !== "" && awaits(request.workload)),
      again,
      intent,
      intend: (chosen) => {
        live.run = { ...live.run, intent: { ...live.run.intent, ...chosen } };
        this.#journal.set(request.id, live.run);
      },
      leftMs: () => Math.max(0, untilMs - clock.monotonicMs()),
      end,
    });
  }

  #record(live: Live, record: StepRecord, step?: Step): void {
    const { outcome, because } = record;
    if (step && live.request.steps.length > 1) {
      const words = step.name || deedWords(step.action);
      this.#ground.see({ is: "step", workload: live.request.workload, words, outcome, because });
    }
    live.run = stepEnded(live.run, record);
    this.#journal.set(live.request.id, live.run);
    this.#go(live, false);
  }

  #end(live: Live, result: RemedyResult): void {
    this.#journal.set(live.request.id, { ...live.run, ended: result });
    this.#see("ends", live.request, result.because);
    this.#leave(live);
    live.answer(result);
  }

  /** Not kept: asked again, it may have its turn. */
  #turnAway(live: Live, because: string): void {
    this.#leave(live);
    live.answer({ ok: false, because, turnedAway: true });
  }

  #leave(live: Live): void {
    live.stopWaiting();
    this.#live.delete(live.request.id);
    const left = leave(this.#pools, live.request.id, this.#ground.bounds);
    this.#pools = left.state;
    for (const { id } of left.begins) {
      const waiting = this.#live.get(id);
      if (!waiting) continue;
      waiting.stopWaiting();
      waiting.runs = true;
      this.#go(waiting, true);
    }
  }

  #see(at: Extract<Seen, { is: "run" }>["at"], request: RunRequest, because: string): void {
    const { id, name, workload, down } = request;
    this.#ground.see({ is: "run", at, id, name, workload, down, because });
  }
}
