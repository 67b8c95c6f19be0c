import type { Random } from "@blueflame/shared/random/random.ts";
import { type Cancel, type Clock, nextRound } from "@blueflame/shared/time/clock.ts";
import type { ProbeSpec } from "../supervise/spec.ts";
import { type Asked, ask } from "./probe.driver.ts";
import type { ProbeVerdict } from "./verdict.ts";

/** Commands of exec probes that run at once in the whole agent; others wait their turn, first come, first served. */
export const execMax = 8;
/** The first question comes within this time, at random, so that fifty workloads are not asked in one breath. */
const spreadMs = 1000;
/** What comes every second or so is asked at the moments at which the agent wakes anyway, a few at a time. */
const roundMs = 250;

/** A verdict, and how much later than due its question was asked. */
export interface ProbeAnswer extends ProbeVerdict {
  readonly lateMs: number;
}

/** What the runner is made of. `tell` must not throw. */
export interface ProbeRunnerParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly tell: (workload: string, probe: string, answer: ProbeAnswer) => void;
  /** Asks a probe; the real world unless a test says otherwise. */
  readonly ask?: (spec: ProbeSpec, signal: AbortSignal) => Asked;
}

interface Asker {
  readonly workload: string;
  readonly spec: ProbeSpec;
  /** Ends everything of this asker. */
  readonly stop: AbortController;
  dueMs: number;
  cancelWake: Cancel;
  /** Waiting for a turn, or asking. */
  busy: boolean;
  /** The command of the last question could not be killed yet. */
  stuck: boolean;
}

/**
 * Asks every probe of every workload at its interval. A probe never overlaps with itself: when an answer takes longer
 * than the interval, the next question follows at once. Whoever made it closes it.
 */
export class ProbeRunner {
  readonly #parts: ProbeRunnerParts;
  readonly #askers = new Map<string, Asker[]>();
  /** Exec probes that wait for a turn; at most one entry per probe. */
  #waiting: Asker[] = [];
  #running = 0;

  constructor(parts: ProbeRunnerParts) {
    this.#parts = parts;
  }

  /** Asks `specs` for `workload` from now on, instead of what was asked for it before. */
  start(workload: string, specs: readonly ProbeSpec[]): void {
    this.stop(workload);
    const askers = specs.map((spec): Asker => {
      const dueMs = atRound(
        this.#parts.clock.monotonicMs() + this.#parts.random() * Math.min(spec.everyMs, spreadMs),
        spec,
      );
      return { workload, spec, stop: new AbortController(), dueMs, cancelWake: () => {}, busy: false, stuck: false };
    });
    this.#askers.set(workload, askers);
    for (const asker of askers) this.#sleep(asker);
  }

  /** Asks no more; what is under way is cancelled and not told. Harmless for an unknown workload. */
  stop(workload: string): void {
    for (const asker of this.#askers.get(workload) ?? []) {
      asker.cancelWake();
      asker.stop.abort();
    }
    this.#askers.delete(workload);
    this.#waiting = this.#waiting.filter((asker) => asker.workload !== workload);
  }

  /** Asks all probes of the workload now, except those that are being asked. */
  askNow(workload: string): void {
    for (const asker of this.#askers.get(workload) ?? []) {
      if (asker.busy) continue;
      asker.cancelWake();
      asker.dueMs = this.#parts.clock.monotonicMs();
      this.#due(asker);
    }
  }

  /** Stops all. */
  close(): void {
    for (const workload of [...this.#askers.keys()]) this.stop(workload);
  }

  #sleep(asker: Asker): void {
    asker.cancelWake = this.#parts.clock.wakeAt(asker.dueMs, () => this.#due(asker));
  }

  #due(asker: Asker): void {
    if (asker.busy || asker.stop.signal.aborted) return;
    if (this.#parts.clock.monotonicMs() < asker.dueMs) {
      this.#sleep(asker);
      return;
    }
    asker.busy = true;
    if (asker.spec.ask.by === "exec") {
      this.#waiting.push(asker);
      this.#takeTurns();
    } else {
      void this.#ask(asker);
    }
  }

  #takeTurns(): void {
    while (this.#running < execMax) {
      const asker = this.#waiting.shift();
      if (!asker) return;
      this.#running += 1;
      void this.#ask(asker).finally(() => {
        this.#running -= 1;
        this.#takeTurns();
      });
    }
  }

  async #ask(asker: Asker): Promise<void> {
    const { clock } = this.#parts;
    const { spec, stop, workload } = asker;
    const askedMs = clock.monotonicMs();
    const lateMs = Math.max(0, askedMs - asker.dueMs);
    const verdict = await this.#verdict(asker);
    if (stop.signal.aborted) return;
    asker.busy = false;
    asker.dueMs = Math.max(atRound(askedMs + spec.everyMs, spec), clock.monotonicMs());
    this.#sleep(asker);
    this.#parts.tell(workload, spec.name, { ...verdict, lateMs });
  }

  /** A command that cannot be killed is not started a second time: a dead disk would fill the machine with them. */
  async #verdict(asker: Asker): Promise<ProbeVerdict> {
    if (asker.stuck) return { ok: false, because: "the command of an earlier question cannot be killed", tookMs: 0 };
    const asked = (this.#parts.ask ?? ask)(asker.spec, asker.stop.signal);
    asker.stuck = true;
    void asked.gone.then(() => {
      asker.stuck = false;
    });
    return await asked.verdict;
  }
}

/** The last round before `atMs`, which may have passed; `atMs` itself for what is asked more often, or at odd intervals. */
function atRound(atMs: number, { everyMs }: ProbeSpec): number {
  return everyMs >= spreadMs && everyMs % roundMs === 0 ? nextRound(atMs - roundMs, roundMs) : atMs;
}
