import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import type { FinishedRequest } from "../node.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import type { Figures } from "../triggers/observation.ts";
import type { FamilyFigures } from "./family-figures.driver.ts";
import type { OutputWatch } from "./output-watch.driver.ts";
import type { PerformanceProbes } from "./performance.driver.ts";
import { advance, type Progress } from "./progress.ts";
import { countRequest, freshMeter, type RequestMeter, requestFigures } from "./requests.ts";
import type { WorkloadSight } from "./workload-sight.ts";

/** Reports of one workload in a second; a client that batches needs one, and each costs us a decision. */
const reportsPerSecondMax = 100;
/** The log lies on the disk of the data directory; a local one answers in microseconds. */
const outputWaitMs = 500;

/** What the figures of all workloads are read with. */
export interface FigureSources {
  readonly clock: Clock;
  readonly family: FamilyFigures;
  readonly output: OutputWatch;
  readonly performance: PerformanceProbes;
  readonly logFileOf: (workload: string) => string;
}

/** What one look at a workload has found. */
export interface WorkloadLook {
  /** When the process was started that was looked at. */
  readonly lifeMs: number;
  readonly figures: Figures;
  readonly pids: readonly number[];
  /** Lines with errors that it has printed since the last look. */
  readonly newErrorLines: number;
}

/** The figures of one workload over the lives of its process: each life begins with a clean slate. */
export class WorkloadFigures {
  readonly #spec: WorkloadSpec;
  readonly #from: FigureSources;
  /** When the process was started that all of this is about. */
  #lifeMs: number | undefined;
  #progress: Progress = { movedMs: 0 };
  #outputMs: number | undefined;
  #meter: RequestMeter = freshMeter();
  #reports = { second: 0, count: 0 };

  constructor(spec: WorkloadSpec, from: FigureSources) {
    this.#spec = spec;
    this.#from = from;
  }

  /** A process of it was started: nothing is known of it yet. */
  born(sinceMs: number): void {
    if (this.#lifeMs !== sinceMs) this.#begin(sinceMs);
  }

  /** Is this what was seen of the process that runs now? */
  isOfThisLife({ lifeMs }: WorkloadLook): boolean {
    return lifeMs === this.#lifeMs;
  }

  /** Undefined while no process lives. `awayMs`: how long the agent itself was away since the last look. */
  async look(sight: WorkloadSight | undefined, awayMs: number): Promise<WorkloadLook | undefined> {
    const { clock, family, output, logFileOf } = this.#from;
    const { name, patterns } = this.#spec;
    if (sight?.pid === undefined) {
      family.forget(name);
      return undefined;
    }
    const sinceMs = sight.sinceMs ?? clock.monotonicMs();
    // The sights were taken before it was started anew.
    if (this.#lifeMs !== undefined && sinceMs < this.#lifeMs) return undefined;
    if (this.#lifeMs !== sight.sinceMs || this.#lifeMs === undefined) this.#begin(sinceMs);
    const lifeMs = this.#lifeMs ?? sinceMs;
    const seen = family.read(name, sight.pid);
    if (!seen) return undefined;
    const written = await output.look(name, logFileOf(name), patterns.error, outputWaitMs);
    // It was started anew while the disk was asked.
    if (lifeMs !== this.#lifeMs) return undefined;
    const nowMs = clock.monotonicMs();
    const { lastBeatMs } = sight;
    const { beat } = this.#spec;
    this.#progress = advance(
      this.#progress,
      { ...(lastBeatMs !== undefined && { lastBeatMs }), outputBytes: written?.grownBytes ?? 0, ioBytes: seen.ioBytes },
      nowMs,
      awayMs,
    );
    const outputRate =
      written && this.#outputMs !== undefined && nowMs > this.#outputMs
        ? { output_bytes_per_second: (written.grownBytes * 1000) / (nowMs - this.#outputMs) }
        : {};
    if (written) this.#outputMs = nowMs;
    const figures: Figures = {
      uptime_ms: Math.max(0, nowMs - sinceMs),
      ...(lastBeatMs !== undefined && { beat_age_ms: Math.max(0, nowMs - lastBeatMs) }),
      ...(beat && { beat_timeout_ms: beat.timeoutMs }),
      ...seen.figures,
      ...outputRate,
      progress_age_ms: Math.max(0, nowMs - this.#progress.movedMs),
      ...this.service(),
      ...(written && { error_lines: written.errorLines }),
    };
    return { lifeMs, figures, pids: seen.pids, newErrorLines: written?.newErrorLines ?? 0 };
  }

  /** How it serves. What was counted here, request by request, is better than what the workload says of itself. */
  service(): Figures {
    const { clock, performance } = this.#from;
    return { ...performance.figures(this.#spec.name), ...requestFigures(this.#meter, clock.monotonicMs()) };
  }

  /** Counts finished requests and returns the figures that follow. Throws LIMIT_REACHED above 100 reports a second. */
  report(requests: readonly FinishedRequest[]): Figures {
    const nowMs = this.#from.clock.monotonicMs();
    const second = Math.floor(nowMs / 1000);
    if (this.#reports.second !== second) this.#reports = { second, count: 0 };
    this.#reports.count += 1;
    if (this.#reports.count > reportsPerSecondMax) {
      throw new Fault(
        "LIMIT_REACHED",
        `'${this.#spec.name}' reported more than ${reportsPerSecondMax} times within a second; up to 1000 requests fit into one report`,
      );
    }
    for (const request of requests) countRequest(this.#meter, request, nowMs);
    return requestFigures(this.#meter, nowMs);
  }

  #begin(sinceMs: number): void {
    const { clock, family, output, performance } = this.#from;
    const another = this.#lifeMs !== undefined;
    this.#lifeMs = sinceMs;
    // The first one may have run for days under an earlier agent: when it moved last nobody here has seen.
    this.#progress = { movedMs: another ? sinceMs : clock.monotonicMs() };
    if (!another) return;
    family.forget(this.#spec.name);
    output.forget(this.#spec.name);
    performance.forget(this.#spec.name);
    this.#meter = freshMeter();
  }
}
