/**
 * What the node remembers of its workloads beyond their states: what was learned, whom to trust, how the service objectives stand,
 * what is usual, what grows. Everything that decides is pure and lies elsewhere; here it is fed, kept and asked.
 */
import type { Random } from "@blueflame/shared/random/random.ts";
import type { Cancel, Clock } from "@blueflame/shared/time/clock.ts";
import { type FeatureName, sampleOf } from "../anomaly/features.ts";
import { beginTraining, forestOf, type Training, trainSome } from "../anomaly/forest.ts";
import { defaultTrend, freshTrend, recordTrend, type Trend, trendOf } from "../anomaly/trend.ts";
import { freshWatch, look, trained, trainingDue, type Watch } from "../anomaly/watch.ts";
import type { Facts } from "../diagnosis/facts.ts";
import { freshLearning, type LearningState } from "../learning/learning.ts";
import { healthScore } from "../slo/health.ts";
import { healthFigures, type SloReport, sloReport } from "../slo/report.ts";
import { freshSlo, recordPerformance, recordUptime, type SloState } from "../slo/slo.ts";
import type { Instant } from "../slo/timeline.ts";
import type { AgentStore } from "../store/ports.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import type { IncidentFacts } from "../supervise/state.ts";
import type { Figures, Observation } from "../triggers/observation.ts";
import type { Event as TriggerEvent } from "../triggers/state.ts";
import { Learned } from "./learned.ts";
import type { Circumstances } from "./lessons.ts";

/** Memories are written this often when they have changed; a power cut forgets at most so much of them. */
const keepEveryMs = 60_000;
/** Trends are asked this often: one answer takes half a millisecond. */
const trendEveryMs = 60_000;
/** Trees that grow in one go: about a millisecond each. */
const treesAtOnce = 2;
/** How long the machine has slept is asked at most this often: each answer is a file of the kernel. */
const askEveryMs = 1000;
/** Time up and down is summed for so long before it is recorded, and a health score stands so long. */
const recordEveryMs = 30_000;
/** Looks in a row that have to be out before it is told: one may be chance. */
const anomalyStreak = 3;
/** Whose trend it is when it is no workload's. */
const theNode = "";
const hourMs = 3_600_000;
/** A gap of more readings than this was not watched: the agent was stopped, or the guest it runs in. */
const readingsMissedMax = 3;

/** What is remembered over restarts. */
interface Kept {
  readonly learning: LearningState;
  readonly slo: Readonly<Record<string, SloState>>;
  readonly anomaly: Unusual;
}

/**
 * Of what grows, the node's disk: it goes on filling while no agent looks, and over a reboot. At most 64 points, below 4 KB. The
 * memory of workloads is followed anew. Agents that kept nothing of it are read as well.
 */
interface Unusual {
  readonly disk?: Trend;
}

/** What the experience is made of. No callback may throw. */
export interface ExperienceParts {
  readonly specs: readonly WorkloadSpec[];
  readonly slo: WorkloadSpec["slo"] & object;
  readonly frozen: boolean;
  readonly store: Pick<AgentStore, "memory" | "saveStep">;
  readonly clock: Clock;
  readonly bootId: string;
  /** Readings come this often. */
  readonly everyMs: number;
  readonly random: Random;
  readonly tell: (event: TriggerEvent) => void;
  /** A new suggestion of a preventive measure. */
  readonly suggested: (workload: string, text: string) => void;
}

/** Reads what was remembered. Whoever opened it closes it. */
export async function openExperience(parts: ExperienceParts): Promise<Experience> {
  const now = instants(parts)();
  const learning = (await parts.store.memory("learning")) as LearningState | undefined;
  const slo = (await parts.store.memory("slo")) as Record<string, SloState> | undefined;
  const anomaly = (await parts.store.memory("anomaly")) as Unusual | undefined;
  return new Experience(parts, { learning: learning ?? freshLearning(now), slo: slo ?? {}, anomaly: anomaly ?? {} });
}

/** See {@link openExperience}. */
export class Experience {
  readonly #parts: ExperienceParts;
  readonly #specs: ReadonlyMap<string, WorkloadSpec>;
  readonly #instant: () => Instant;
  readonly #learned: Learned;
  readonly #slo = new Map<string, SloState>();
  readonly #watches = new Map<string, Watch>();
  /** Of which features each workload tells itself. */
  readonly #tells = new Map<string, ReadonlySet<FeatureName>>();
  readonly #trainings = new Map<string, Training>();
  /** By workload, or {@link theNode}. */
  readonly #trends = new Map<string, { trend: Trend; sinceMs: number }>();
  readonly #anomalous = new Set<string>();
  /** When each was seen down last. */
  readonly #downMs = new Map<string, number>();
  /** Time up and down that is not recorded yet. */
  readonly #unrecorded = new Map<string, { up: number; down: number }>();
  readonly #scores = new Map<string, number>();
  #recordedMs = 0;
  #observedMs: number | undefined;
  #trendsMs = 0;
  #changed = false;
  #cancelKeep: Cancel = () => undefined;
  #cancelTrain: Cancel | undefined;
  #closed = false;

  constructor(parts: ExperienceParts, kept: Kept) {
    this.#parts = parts;
    this.#instant = instants(parts);
    this.#specs = new Map(parts.specs.map((spec) => [spec.name, spec]));
    this.#learned = new Learned(this.#instant, kept.learning, parts.frozen, parts.suggested);
    for (const [name, state] of Object.entries(kept.slo)) if (this.#specs.has(name)) this.#slo.set(name, state);
    if (kept.anomaly.disk) this.#trends.set(theNode, { trend: kept.anomaly.disk, sinceMs: 0 });
    this.#keepLater();
  }

  // ── what is learned: see {@link Learned} ───────────────────────────────────────────────────────────────────────────

  resume(facts: IncidentFacts): void {
    this.#learned.resume(facts);
  }
  incident(facts: IncidentFacts, around: Omit<Circumstances, "signature" | "nowMs">): void {
    this.#changed = true;
    this.#learned.incident(facts, { ...around, nowMs: this.#parts.clock.monotonicMs() });
  }
  sign(incidentId: string, signature: string): void {
    this.#changed = true;
    this.#learned.sign(incidentId, signature);
  }
  advice(workload: string, signature: string): Facts["advice"] {
    return this.#learned.advice(workload, signature);
  }
  demoted(workload: string): NonNullable<Facts["demoted"]> {
    return this.#learned.demoted(workload);
  }
  trust(subject: Parameters<Learned["trust"]>[0]) {
    return this.#learned.trust(subject);
  }
  suggestions(): string[] {
    return this.#learned.suggestions((workload) => this.#specs.has(workload));
  }

  // ── what is seen ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** `up`: it runs and is healthy; undefined: a person stopped it, and its time does not count. After a long gap it counts for one reading. */
  observed(observation: Observation, up: (workload: string) => boolean | undefined): void {
    const [now, nowMs] = [this.#instant(), this.#parts.clock.monotonicMs()];
    const passedMs = watchedMs(Math.max(0, nowMs - (this.#observedMs ?? nowMs)), this.#parts.everyMs);
    this.#observedMs = nowMs;
    const due = nowMs >= this.#recordedMs + recordEveryMs;
    if (due) this.#recordedMs = nowMs;
    for (const name of this.#specs.keys()) {
      const figures = observation.workloads[name];
      const available = up(name);
      this.#serviceOf(name, figures, available, passedMs, now, due);
      // What still starts is not what it usually is: its CPU is that of its start.
      if (figures && available === true) this.#lookAt(name, figures);
      if (!figures) this.#trends.delete(name);
    }
    if (nowMs >= this.#trendsMs + trendEveryMs) {
      this.#trendsMs = nowMs;
      this.#askTrends(observation, now);
    }
  }

  #serviceOf(
    name: string,
    figures: Figures | undefined,
    up: boolean | undefined,
    passedMs: number,
    now: Instant,
    due: boolean,
  ): void {
    const nowMs = this.#parts.clock.monotonicMs();
    const sum = this.#unrecorded.get(name) ?? { up: 0, down: 0 };
    if (up !== undefined) sum[up ? "up" : "down"] += passedMs;
    this.#unrecorded.set(name, sum);
    let state = this.#slo.get(name) ?? freshSlo(now);
    // A second down is told at once, and so is each look after it for a while: it is rare, and what came after it shows in the score.
    if (up === false) this.#downMs.set(name, nowMs);
    const lately = nowMs < (this.#downMs.get(name) ?? Number.NEGATIVE_INFINITY) + recordEveryMs;
    if (due || lately) {
      if (sum.up + sum.down > 0) state = recordUptime(state, sum.up, sum.down, now);
      this.#unrecorded.delete(name);
      this.#scores.delete(name);
    }
    const rate = figures && rateOf(figures);
    if (figures && rate && passedMs > 0) {
      const requests = (rate * passedMs) / 1000;
      const { p95_latency_ms: p95Ms, p99_latency_ms: p99Ms } = figures;
      const slice = { requests, errors: requests * (figures.error_rate ?? 0) };
      state = recordPerformance(
        state,
        this.#objectivesOf(name),
        { ...slice, ...(p95Ms !== undefined && { p95Ms }), ...(p99Ms !== undefined && { p99Ms }) },
        now,
      );
    }
    this.#slo.set(name, state);
    this.#changed = true;
  }

  /** Only of what tells how it serves: processes alone are no service, and their CPU may be anything. */
  #lookAt(name: string, figures: Figures): void {
    if (figures.p95_latency_ms === undefined && figures.requests_per_second === undefined) return;
    const before = this.#watches.get(name) ?? freshWatch(Math.floor(this.#parts.random() * 2 ** 31));
    const { sample, tells } = sampleOf(figures, this.#tells.get(name) ?? new Set());
    const { watch, verdict } = look(before, sample);
    this.#tells.set(name, tells);
    this.#watches.set(name, watch);
    const anomalous = verdict.streak >= anomalyStreak;
    if (anomalous || this.#anomalous.has(name))
      this.#parts.tell({ is: "anomaly", workload: name, anomalous, because: verdict.because });
    if (anomalous) this.#anomalous.add(name);
    else this.#anomalous.delete(name);
    if (!trainingDue(watch) || this.#trainings.has(name)) return;
    const training = beginTraining(watch.columns, watch.seed + watch.seen);
    if (!training) return;
    this.#trainings.set(name, training);
    this.#trainLater();
  }

  /** In the background, a few trees at a time: nothing else waits for more than some milliseconds. */
  #trainLater(): void {
    const { clock } = this.#parts;
    this.#cancelTrain ??= clock.wakeAt(clock.monotonicMs() + 20, () => {
      this.#cancelTrain = undefined;
      const [next] = this.#trainings;
      if (this.#closed || !next) return;
      const [name, before] = next;
      const training = trainSome(before, treesAtOnce);
      const forest = forestOf(training);
      const watch = this.#watches.get(name);
      if (forest && watch) this.#watches.set(name, trained(watch, forest));
      if (forest) this.#trainings.delete(name);
      else this.#trainings.set(name, training);
      this.#trainLater();
    });
  }

  #askTrends(observation: Observation, now: Instant): void {
    const { memory_total_bytes: total, disk_free_bytes: free, disk_used_ratio: used } = observation.node;
    for (const [name, figures] of Object.entries(observation.workloads)) {
      const limit = this.#specs.get(name)?.limits.memoryBytes || total;
      const value = figures.process_memory_bytes;
      if (value === undefined || !limit) continue;
      // A new process begins a new life: what an earlier one had is not in it.
      const sinceMs = this.#parts.clock.monotonicMs() - (figures.uptime_ms ?? 0);
      this.#trend(name, "process_memory_bytes", value, limit, sinceMs, now);
    }
    if (used !== undefined && free !== undefined) this.#trend(theNode, "disk_used_ratio", used, 1, 0, now);
  }

  #trend(workload: string, metric: string, value: number, limit: number, sinceMs: number, now: Instant): void {
    const known = this.#trends.get(workload);
    const same = known && Math.abs(known.sinceMs - sinceMs) < 10_000;
    const trend = recordTrend(same ? known.trend : freshTrend(now), value, now);
    this.#trends.set(workload, { trend, sinceMs: same ? known.sinceMs : sinceMs });
    const { growing, etaMs, confidence, because } = trendOf(trend, limit, defaultTrend, now);
    this.#parts.tell({
      is: "trend",
      workload,
      metric,
      ...(growing && etaMs !== undefined && { etaMs }),
      confidence,
      because,
    });
  }

  // ── what is told ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** PRA-6, over the last hour; undefined before anything was seen. */
  healthScore(workload: string): number | undefined {
    const known = this.#scores.get(workload);
    const state = this.#slo.get(workload);
    if (known !== undefined || !state) return known;
    const score = healthScore(healthFigures(state, hourMs, this.#instant()));
    this.#scores.set(workload, score);
    return score;
  }

  sloReport(workload: string): SloReport | undefined {
    const state = this.#slo.get(workload);
    return state && sloReport(this.#objectivesOf(workload), state, this.#instant());
  }

  #objectivesOf(workload: string) {
    return this.#specs.get(workload)?.slo ?? this.#parts.slo;
  }

  // ── what is kept ───────────────────────────────────────────────────────────────────────────────────────────────────

  #keepLater(): void {
    const { clock } = this.#parts;
    this.#cancelKeep = clock.wakeAt(clock.monotonicMs() + keepEveryMs, () => {
      void this.#keep();
      if (!this.#closed) this.#keepLater();
    });
  }

  /** A disk that refuses loses lessons, not workloads; the next minute tries again. */
  async #keep(): Promise<void> {
    if (!this.#changed) return;
    this.#changed = false;
    const { store } = this.#parts;
    const write = (key: "learning" | "slo" | "anomaly", value: unknown) =>
      store.saveStep({ workload: "", memory: { key, value } }, "batched").catch(() => {
        this.#changed = true;
      });
    await write("learning", this.#learned.kept());
    await write("slo", Object.fromEntries(this.#slo));
    const disk = this.#trends.get(theNode);
    if (disk) await write("anomaly", { disk: disk.trend } satisfies Unusual);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelKeep();
    this.#cancelTrain?.();
    await this.#keep();
  }
}

/** Requests a second. A page that tells how they go and not how many they are: each second weighs the same. */
function rateOf({ requests_per_second, error_rate, p95_latency_ms }: Figures): number | undefined {
  return requests_per_second ?? (error_rate !== undefined || p95_latency_ms !== undefined ? 1 : undefined);
}

/** For how long of the time since the last reading the newest one speaks: time that nobody watched is neither up nor down. */
function watchedMs(passedMs: number, everyMs: number): number {
  return passedMs > readingsMissedMax * everyMs ? everyMs : passedMs;
}

/** Moments as memories count them. */
function instants({ clock, bootId }: Pick<ExperienceParts, "clock" | "bootId">): () => Instant {
  let [askedMs, sleptMs] = [Number.NEGATIVE_INFINITY, 0];
  return () => {
    const ms = clock.monotonicMs();
    if (ms >= askedMs + askEveryMs) [askedMs, sleptMs] = [ms, clock.bootMs() - ms];
    return { bootId, bootMs: ms + sleptMs, wallMs: clock.wallMs() };
  };
}
