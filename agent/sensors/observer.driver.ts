/**
 * Everything that is seen of a node, at three speeds that never wait for each other (DOL-7):
 *
 *   at once          requests that a workload reports
 *   sensors.every    the machine and the processes ──▶ Observation, and readings for the hub
 *   meta.every       sources, ports, rules, jobs   ──▶ meta-health, meta_health.json
 *
 * Performance pages are asked each at its own pace. Nothing here judges: what is too much is decided by triggers.
 */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Reading as HubReading } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import type { JobSpec, MetaSpec } from "../config/sections.ts";
import { type MetaHealth, metaHealthJson, type WorkloadSeen } from "../meta/meta-health.ts";
import type { FinishedRequest } from "../node.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import type { Figures, Observation } from "../triggers/observation.ts";
import { FamilyFigures } from "./family-figures.driver.ts";
import { MetaWatch } from "./meta-watch.driver.ts";
import { nodeFigures, oursOf, workloadReadings } from "./node-figures.ts";
import { OutputWatch } from "./output-watch.driver.ts";
import { PerformanceProbes } from "./performance.driver.ts";
import type { Reading } from "./reading.ts";
import { metaHealthFile, StatusFile } from "./status-file.driver.ts";
import { Strangers } from "./stranger.driver.ts";
import { type SystemSensors, systemSensors } from "./system.driver.ts";
import { watchSensors } from "./watch.driver.ts";
import { type FigureSources, WorkloadFigures, type WorkloadLook } from "./workload-figures.driver.ts";
import type { Sights } from "./workload-sight.ts";

/** A look that is later than this was missed by the agent itself. */
const lateFromMs = 1000;
/** Workloads that are read in one go; each costs about a tenth of a millisecond. */
const looksPerStep = 8;

/** What an observer is made of. No callback may throw. */
export interface ObserverParts {
  readonly specs: readonly WorkloadSpec[];
  readonly meta: MetaSpec;
  readonly jobs: readonly JobSpec[];
  readonly sensors: { readonly everyMs: number; readonly historyEveryMs: number };
  /** `meta_health.json` is written there. */
  readonly dataDir: string;
  readonly clock: Clock;
  /** How the workloads stand now. */
  readonly sights: () => Sights;
  /** The folder of a workload's own cgroup; undefined where it has none. */
  readonly cgroupOf: (workload: string) => string | undefined;
  readonly logFileOf: (workload: string) => string;
  /** From 0 to 1, and from 0 to 100; undefined: nothing is known. */
  readonly trust: (workload: string) => number | undefined;
  readonly healthScore: (workload: string) => number | undefined;
  readonly onObservation: (observation: Observation) => void;
  readonly onMeta: (meta: MetaHealth) => void;
  /** After each report of requests, with what was reported and the figures that follow from it; and after each answer of a page, with nothing reported. */
  readonly onRequests: (workload: string, finished: readonly FinishedRequest[], figures: Figures) => void;
  /** A workload has printed so many more lines with errors. */
  readonly onErrors: (workload: string, lines: number) => void;
  /** Keeps readings for the hub's history. */
  readonly keep: (readings: readonly HubReading[]) => Promise<void>;
  /** Something that a person should know, once. */
  readonly troubled: (workload: string, because: string) => void;
  /** The machine's own figures; the real ones unless a test says otherwise. */
  readonly system?: SystemSensors;
}

/** A running observer; whoever started it closes it. */
export interface Observer {
  /** Counts requests that a workload has finished. Throws LIMIT_REACHED above 100 calls a second of one workload. */
  requests(workload: string, finished: readonly FinishedRequest[]): void;
  /** A process of the workload was started at `sinceMs`: what is known of the one before is forgotten, also in {@link latest}. */
  born(workload: string, sinceMs: number): void;
  /** Undefined before the first. */
  latest(): Observation | undefined;
  meta(): MetaHealth | undefined;
  /** The newest readings for the hub: the machine's, and the main ones of each workload. */
  readings(): readonly HubReading[];
  close(): void;
}

/** Observes the node until it is closed. */
export function observe(parts: ObserverParts): Observer {
  return new RunningObserver(parts);
}

class RunningObserver implements Observer {
  readonly #parts: ObserverParts;
  readonly #system: SystemSensors;
  readonly #workloads: ReadonlyMap<string, WorkloadFigures>;
  readonly #performance: PerformanceProbes;
  readonly #family: FamilyFigures;
  readonly #meta: MetaWatch;
  readonly #strangers: Strangers;
  readonly #watch;
  #latest: Observation | undefined;
  #lookedMs: number | undefined;
  #closed = false;

  constructor(parts: ObserverParts) {
    this.#parts = parts;
    const { specs, meta, jobs, clock, dataDir, sensors, keep } = parts;
    this.#system = parts.system ?? systemSensors(dataDir, clock);
    const isRunning = (name: string) => parts.sights()[name]?.pid !== undefined;
    this.#performance = new PerformanceProbes(specs, clock, isRunning, (name) => this.#answered(name));
    this.#family = new FamilyFigures(clock, parts.cgroupOf);
    const from: FigureSources = {
      clock,
      family: this.#family,
      output: new OutputWatch(() => clock.monotonicMs(), parts.troubled),
      performance: this.#performance,
      logFileOf: parts.logFileOf,
    };
    this.#workloads = new Map(specs.map((spec) => [spec.name, new WorkloadFigures(spec, from)]));
    this.#strangers = new Strangers(clock);
    const file = new StatusFile(join(dataDir, metaHealthFile));
    this.#meta = new MetaWatch({
      meta,
      jobs,
      clock,
      workloads: () => this.#seenByMeta(),
      offsetMs: (wallMs) => -60_000 * new Date(wallMs).getTimezoneOffset(),
      tell: (health) => {
        file.put(metaHealthJson(health));
        parts.onMeta(health);
      },
    });
    const more = () => workloadReadings(this.#latest?.workloads ?? {});
    this.#watch = watchSensors({ ...sensors, clock, keep, more, sensors: { read: () => this.#observe() } });
  }

  requests(workload: string, finished: readonly FinishedRequest[]): void {
    const figures = this.#workloads.get(workload)?.report(finished);
    if (figures) this.#parts.onRequests(workload, finished, figures);
  }
  born(workload: string, sinceMs: number): void {
    this.#workloads.get(workload)?.born(sinceMs);
    if (!this.#latest) return;
    const { [workload]: _before, ...workloads } = this.#latest.workloads;
    this.#latest = { ...this.#latest, workloads };
  }
  latest(): Observation | undefined {
    return this.#latest;
  }
  meta(): MetaHealth | undefined {
    return this.#meta.latest();
  }
  readings(): readonly HubReading[] {
    return this.#watch.latest();
  }
  close(): void {
    this.#closed = true;
    this.#watch.close();
    this.#meta.close();
    this.#performance.close();
    this.#family.close();
  }

  /** What a page says is told at once: with the wait for the next look a trigger could come too late (GRC-11). */
  #answered(workload: string): void {
    const figures = this.#workloads.get(workload)?.service();
    if (figures && !this.#closed) this.#parts.onRequests(workload, [], figures);
  }

  async #observe(): Promise<readonly Reading[]> {
    const awayMs = this.#awayMs();
    const [machine, workloads] = await Promise.all([this.#system.read(), this.#lookAtWorkloads(awayMs)]);
    const figures = nodeFigures(machine);
    const node = { ...figures, ...oursOf(figures, workloads.figures, availableParallelism()) };
    const heaviestStranger = await this.#strangers.heaviest(node, workloads.pids);
    if (this.#closed) return machine;
    const present = this.#present(workloads.figures, workloads.looks);
    const observation: Observation = { node, workloads: present, ...this.#meta.findings(), heaviestStranger };
    this.#latest = observation;
    this.#parts.onObservation(observation);
    return machine;
  }

  async #lookAtWorkloads(awayMs: number) {
    const { sights, trust, healthScore } = this.#parts;
    const now = sights();
    const looks: Promise<readonly [name: string, look: WorkloadLook | undefined]>[] = [];
    for (const [name, workload] of this.#workloads) {
      if (this.#closed) break;
      // What happens meanwhile is not kept waiting for the whole walk.
      if (looks.length % looksPerStep === looksPerStep - 1) await new Promise((resolve) => setImmediate(resolve));
      looks.push(workload.look(now[name], awayMs).then((look) => [name, look]));
    }
    const pids = new Set([process.pid]);
    const figures: Record<string, Figures> = {};
    const all = await Promise.all(looks);
    for (const [name, look] of all) {
      if (!look) continue;
      for (const pid of look.pids) pids.add(pid);
      if (look.newErrorLines > 0 && !this.#closed) this.#parts.onErrors(name, look.newErrorLines);
      const [trusted, score] = [trust(name), healthScore(name)];
      figures[name] = {
        ...look.figures,
        ...(trusted !== undefined && { trust: trusted }),
        ...(score !== undefined && { health_score: score }),
      };
    }
    return { figures, pids, looks: new Map(all) };
  }

  /** What was started anew meanwhile is not known yet. */
  #present(figures: Readonly<Record<string, Figures>>, looks: ReadonlyMap<string, WorkloadLook | undefined>) {
    const isPresent = (name: string) => {
      const look = looks.get(name);
      return look !== undefined && this.#workloads.get(name)?.isOfThisLife(look) === true;
    };
    return Object.fromEntries(Object.entries(figures).filter(([name]) => isPresent(name)));
  }

  #awayMs(): number {
    const { clock, sensors } = this.#parts;
    const nowMs = clock.monotonicMs();
    const lateMs = this.#lookedMs === undefined ? 0 : nowMs - this.#lookedMs - sensors.everyMs;
    this.#lookedMs = nowMs;
    return lateMs > lateFromMs ? lateMs : 0;
  }

  #seenByMeta(): Record<string, WorkloadSeen> {
    const { sights, specs, clock } = this.#parts;
    const [now, nowMs] = [sights(), clock.monotonicMs()];
    const seen: Record<string, WorkloadSeen> = {};
    for (const { name, beat } of specs) {
      const sight = now[name];
      const alive = sight?.pid !== undefined;
      // What still starts, or leaves on purpose, owes no beat.
      const owes = beat !== undefined && alive && !sight.starting && !sight.stopped;
      const sinceMs = owes ? (sight.lastBeatMs ?? sight.sinceMs) : undefined;
      seen[name] = {
        alive,
        stopped: sight?.stopped ?? false,
        ...(sinceMs !== undefined && { beatAgeMs: Math.max(0, nowMs - sinceMs) }),
        ...(beat && { beatTimeoutMs: beat.timeoutMs }),
      };
    }
    return seen;
  }
}
