import { type Cancel, type Clock, nextRound } from "@blueflame/shared/time/clock.ts";
import type { JobSpec, MetaSpec } from "../config/sections.ts";
import { applyRule, type RuleState, unseenRule } from "../meta/coherence.ts";
import { type Freshness, freshen } from "../meta/freshness.ts";
import { type JobRun, type JobSeen, jobRun, lateJobs } from "../meta/jobs.ts";
import { type MetaHealth, metaHealth, type PartSeen, portName, type WorkloadSeen } from "../meta/meta-health.ts";
import { type PlaceSeen, placeKey, placesOf, ruleLook, sourceLook } from "../meta/places.ts";
import type { Observation } from "../triggers/observation.ts";
import { type FileDesk, fileDesk } from "./file-desk.driver.ts";
import { PlaceReader } from "./places.driver.ts";
import { portAccepts } from "./port.driver.ts";

/** A look is given this long, and never the whole time to the next one. */
const lookMsMax = 2000;
/** What comes later than it should by this much was missed by the agent itself: it judges nobody for that time. */
const lateFromMs = 1000;
/** The wall clock parts from the time since boot by more than this from one look to the next: somebody set it. Less is its own drift. */
const stepFromMs = 60_000;
/** After an absence the supervisor forgives first; its own tick is a quarter of a second. */
const forgiveMs = 500;

/** What the sources and jobs of the node have come to, as the Observation tells it. */
export type Findings = Pick<Observation, "staleSources" | "lateJobs">;

/** What it is made of. `tell` must not throw. */
export interface MetaWatchParts {
  readonly meta: MetaSpec;
  readonly jobs: readonly JobSpec[];
  readonly clock: Clock;
  readonly workloads: () => Readonly<Record<string, WorkloadSeen>>;
  readonly tell: (meta: MetaHealth) => void;
  /** How far local time is ahead of UTC at a moment of wall time. */
  readonly offsetMs: (wallMs: number) => number;
  readonly desk?: FileDesk;
}

/**
 * Looks at sources, ports, rules and jobs every `meta.everyMs` and computes the meta-health. All looks of one round run side by
 * side, each with its deadline: what hangs is not known, and the rest is as fresh as ever. Whoever made it closes it.
 */
export class MetaWatch {
  readonly #parts: MetaWatchParts;
  readonly #desk: FileDesk;
  readonly #places;
  readonly #reader: PlaceReader;
  readonly #startedMs: number;
  readonly #sources = new Map<string, Freshness>();
  readonly #rules = new Map<string, RuleState>();
  readonly #ports = new Map<string, PartSeen>();
  /** The newest run of each job that was seen. */
  readonly #ran = new Map<string, JobRun>();
  /** Jobs that the last look could tell something about. */
  readonly #looked = new Set<string>();
  #awakeSinceMs: number;
  #steadySinceMs: number;
  /** How far the wall clock was ahead of the time since boot, and by how much somebody has set it since the agent's start. */
  #wallAheadMs: number;
  #setMs = 0;
  #judgedMs: number;
  /** Time since the last judgement in which the agent was away. */
  #awayMs = 0;
  #cancel: Cancel = () => undefined;
  #closed = false;
  #latest: MetaHealth | undefined;
  #findings: Findings = { staleSources: [], lateJobs: {} };

  constructor(parts: MetaWatchParts) {
    this.#parts = parts;
    this.#desk = parts.desk ?? fileDesk;
    this.#reader = new PlaceReader(this.#desk);
    this.#places = placesOf(parts.meta.sources, parts.meta.coherence);
    this.#startedMs = parts.clock.monotonicMs();
    this.#awakeSinceMs = this.#startedMs;
    this.#steadySinceMs = this.#startedMs;
    this.#wallAheadMs = parts.clock.wallMs() - parts.clock.bootMs();
    this.#judgedMs = this.#startedMs;
    this.#sleep(parts.clock.monotonicMs() + parts.meta.everyMs);
  }

  /** Undefined before the first round has ended. */
  latest(): MetaHealth | undefined {
    return this.#latest;
  }
  findings(): Findings {
    return this.#findings;
  }
  close(): void {
    this.#closed = true;
    this.#cancel();
  }

  #sleep(dueMs: number): void {
    if (this.#closed) return;
    const { clock } = this.#parts;
    this.#cancel = clock.wakeAt(dueMs, () => {
      const lateMs = clock.monotonicMs() - dueMs;
      if (lateMs < lateFromMs) void this.#round();
      else this.#forgive(lateMs);
    });
  }

  #forgive(awayMs: number): void {
    this.#awayMs += awayMs;
    this.#awakeSinceMs = this.#parts.clock.monotonicMs();
    this.#sleep(this.#awakeSinceMs + forgiveMs);
  }

  async #round(): Promise<void> {
    const { meta, clock } = this.#parts;
    const beganMs = clock.monotonicMs();
    const waitMs = Math.min(lookMsMax, meta.everyMs * 0.8);
    const [places] = await Promise.all([
      this.#lookAtPlaces(waitMs),
      this.#lookAtPorts(waitMs),
      this.#lookAtJobs(waitMs),
    ]);
    if (this.#closed) return;
    const tookMs = clock.monotonicMs() - beganMs;
    // Stopped in the middle of its looks: their deadlines say nothing.
    if (tookMs > waitMs + lateFromMs) return this.#forgive(tookMs);
    this.#judge(places);
    this.#sleep(nextRound(clock.monotonicMs(), meta.everyMs));
  }

  #judge(places: ReadonlyMap<string, PlaceSeen>): void {
    const { meta, clock, workloads, tell } = this.#parts;
    const [nowMs, wallMs] = [clock.monotonicMs(), clock.wallMs()];
    const awakeMs = Math.max(0, nowMs - this.#judgedMs - this.#awayMs);
    this.#judgedMs = nowMs;
    this.#awayMs = 0;
    for (const source of meta.sources) {
      const seen = places.get(placeKey(source));
      if (seen)
        this.#sources.set(
          source.name,
          freshen(this.#sources.get(source.name), sourceLook(source, seen), awakeMs, wallMs),
        );
    }
    for (const rule of meta.coherence) {
      const seen = places.get(placeKey(rule));
      if (seen)
        this.#rules.set(
          rule.name,
          applyRule(rule, this.#rules.get(rule.name) ?? unseenRule, ruleLook(rule, seen), awakeMs),
        );
    }
    this.#findings = { staleSources: this.#staleSources(), lateJobs: this.#lateJobs(nowMs, wallMs) };
    this.#latest = metaHealth(
      meta,
      {
        workloads: workloads(),
        sources: Object.fromEntries(this.#sources),
        ports: Object.fromEntries(this.#ports),
        rules: Object.fromEntries(this.#rules),
      },
      wallMs,
    );
    tell(this.#latest);
  }

  #staleSources(): Findings["staleSources"] {
    return this.#parts.meta.sources.flatMap(({ name, external, workload, staleMs }) => {
      const ageMs = this.#sources.get(name)?.ageMs ?? 0;
      return ageMs > staleMs ? [{ name, ageMs, external, workload }] : [];
    });
  }

  #lateJobs(nowMs: number, wallMs: number): Findings["lateJobs"] {
    const { jobs, offsetMs } = this.#parts;
    const steadyMs = this.#steadyMs(wallMs);
    const seen = jobs.map(({ name }): [string, JobSeen] => {
      const ran = this.#ran.get(name);
      return [name, this.#looked.has(name) ? (ran ? steadyMs - ran.ranMs : "never") : "unknown"];
    });
    return lateJobs(jobs, Object.fromEntries(seen), {
      wallMs,
      knownForMs: nowMs - this.#startedMs,
      awakeForMs: nowMs - this.#awakeSinceMs,
      steadyForMs: nowMs - this.#steadySinceMs,
      offsetMs,
    });
  }

  /** The wall clock without what it was set by. */
  #steadyMs(wallMs: number): number {
    const { clock } = this.#parts;
    const aheadMs = wallMs - clock.bootMs();
    const steppedMs = aheadMs - this.#wallAheadMs;
    this.#wallAheadMs = aheadMs;
    if (Math.abs(steppedMs) > stepFromMs) {
      this.#setMs += steppedMs;
      this.#steadySinceMs = clock.monotonicMs();
    }
    return wallMs - this.#setMs;
  }

  async #lookAtPlaces(waitMs: number): Promise<ReadonlyMap<string, PlaceSeen>> {
    const looks = this.#places.map(async (place) => [placeKey(place), await this.#reader.look(place, waitMs)] as const);
    return new Map(await Promise.all(looks));
  }

  async #lookAtPorts(waitMs: number): Promise<void> {
    await Promise.all(
      this.#parts.meta.ports.map(async (address) => {
        const seen = await portAccepts(address.host, address.port, waitMs);
        // What the agent itself could not ask stays as it was.
        if (seen) this.#ports.set(portName(address), seen);
      }),
    );
  }

  async #lookAtJobs(waitMs: number): Promise<void> {
    const { jobs, clock } = this.#parts;
    await Promise.all(
      jobs.map(async ({ name, file }) => {
        const flight = await this.#desk.look(file, "job", ({ mtimeMs }) => mtimeMs, waitMs);
        const wallMs = clock.wallMs();
        const now = { wallMs, steadyMs: this.#steadyMs(wallMs) };
        if (flight.is === "answered") this.#ran.set(name, jobRun(this.#ran.get(name), flight.value, now));
        // A file that was there and is gone says nothing new: the run that was seen goes on counting.
        const known = flight.is === "answered" || (flight.is === "failed" && isAbsent(flight.error));
        if (known) this.#looked.add(name);
        else this.#looked.delete(name);
      }),
    );
  }
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}
