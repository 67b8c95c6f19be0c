import type { Clock } from "@blueflame/shared/time/clock.ts";
import type { JobSpec, MetaSpec } from "../config/sections.ts";
import type { MetaHealth } from "../meta/meta-health.ts";
import { type RecoveryMove, recoverOrder } from "../meta/recover-order.ts";
import type { Event, State } from "../supervise/state.ts";
import type { Triggered } from "./jobs.driver.ts";

/** DEAD for so many computations in a row: what a machine is healing by itself is over by then. */
const deadInARow = 2;
/** One round at a time, and none sooner than this after the last. */
const roundEveryMs = 60_000;
/** An outage is over when the node was better than DEAD for so long; in the next one each job has its turn anew. */
const betterMs = 600_000;
/** A step waits so long for what it started before the next one begins all the same. */
const stepMs = 30_000;

/** What the order of a dead node is carried out with. No callback may throw. */
export interface DeadParts {
  readonly meta: MetaSpec;
  readonly jobs: readonly JobSpec[];
  readonly clock: Clock;
  /** All workloads, what others depend on first. */
  readonly order: () => readonly string[];
  readonly state: (workload: string) => State;
  readonly post: (workload: string, event: Event) => void;
  /** True when it is up by then. */
  readonly untilWell: (workload: string, limitMs: number) => Promise<boolean>;
  readonly late: () => Readonly<Record<string, number>>;
  readonly trigger: (job: string) => Triggered;
  readonly audit: (action: string, target: string, because: string, outcome: "success" | "failure") => void;
}

/**
 * DOL-3: when the node is DEAD, first the control plane, then missing processes, then the jobs. It only orders what is done first:
 * every start goes through the workload's own machine, so one healer is at work on each. However long the node is DEAD, a job that
 * runs at an interval is triggered once in its interval, unless it is late.
 */
export class DeadDesk {
  readonly #parts: DeadParts;
  #inARow = 0;
  #roundMs = Number.NEGATIVE_INFINITY;
  #deadMs = Number.NEGATIVE_INFINITY;
  /** When each job was triggered last in this outage. */
  readonly #triggeredMs = new Map<string, number>();
  #working = false;

  constructor(parts: DeadParts) {
    this.#parts = parts;
  }

  /** To be called after each computation of the meta-health. */
  computed(meta: MetaHealth): void {
    const nowMs = this.#parts.clock.monotonicMs();
    const dead = meta.status === "DEAD";
    this.#inARow = dead ? this.#inARow + 1 : 0;
    if (dead && nowMs > this.#deadMs + betterMs) this.#triggeredMs.clear();
    if (dead) this.#deadMs = nowMs;
    if (this.#inARow < deadInARow || this.#working || nowMs < this.#roundMs + roundEveryMs) return;
    const moves = this.#moves(meta);
    if (moves.length === 0) return;
    const workloads = moves.filter(({ step }) => step !== "job");
    // What still starts is not judged: a node that boots is DEAD until it is up, and each on its way has its turn by itself.
    if (workloads.length > 0 && workloads.every(({ name }) => !this.#isStuck(name))) return;
    this.#roundMs = nowMs;
    this.#working = true;
    void this.#round(meta, moves).finally(() => {
      this.#working = false;
    });
  }

  #moves(meta: MetaHealth): RecoveryMove[] {
    const { meta: spec, jobs, order, state, late } = this.#parts;
    const living = order().filter((name) => state(name).intent === "run" && !state(name).held);
    const all = recoverOrder(meta, { controlPlane: spec.controlPlane, order: living, jobs, late: late() });
    return all.filter(({ step, name }) => (step === "job" ? this.#isDue(name) : !this.#isSlow(name)));
  }

  /** A node may be DEAD for a day: what runs at an interval runs at its interval, and sooner only when it is late. */
  #isDue(job: string): boolean {
    const { jobs, late, clock } = this.#parts;
    const everyMs = jobs.find(({ name }) => name === job)?.everyMs ?? 0;
    const lastMs = this.#triggeredMs.get(job) ?? Number.NEGATIVE_INFINITY;
    return Object.hasOwn(late(), job) || clock.monotonicMs() >= lastMs + everyMs;
  }

  /** The end of its ladder, or its backoff, has given it a time: a node that stays DEAD starts it no sooner, round after round. */
  #isSlow(name: string): boolean {
    const { phase } = this.#parts.state(name);
    return phase.at === "backoff" && phase.slow === true;
  }

  /** It waits between two starts, or runs and does not do its work: all else is on its way. */
  #isStuck(name: string): boolean {
    const { at } = this.#parts.state(name).phase;
    return at === "backoff" || at === "running";
  }

  async #round(meta: MetaHealth, moves: readonly RecoveryMove[]): Promise<void> {
    const { audit } = this.#parts;
    for (const step of ["control_plane", "process", "job"] as const) {
      const here = moves.filter((move) => move.step === step);
      const waits = here.map((move) => this.#make(move));
      for (const move of here) {
        const target = move.step === "job" ? `job/${move.name}` : `workload/${move.name}`;
        audit(`meta.${move.step}`, target, `the node is DEAD (${meta.rmMeta.toFixed(2)}): ${move.because}`, "success");
      }
      await Promise.all(waits);
    }
  }

  async #make({ step, name, missing, because }: RecoveryMove): Promise<void> {
    const { post, state, untilWell, trigger, clock } = this.#parts;
    if (step === "job") {
      if (trigger(name).started) this.#triggeredMs.set(name, clock.monotonicMs());
      return;
    }
    const { phase } = state(name);
    if (missing) {
      // What is being cleaned, mended or started already is on its way, and what waits for its dependency has a reason.
      if (phase.at === "backoff") post(name, { is: "restart", who: "meta-health" });
    } else if (phase.at === "running") {
      const symptom = {
        lasting: true,
        trigger: "meta-dead",
        workload: name,
        severity: "critical",
        playbook: "restart-service",
        because,
        sinceMs: clock.monotonicMs(),
      } as const;
      post(name, { is: "symptom", symptom });
    }
    await untilWell(name, stepMs);
  }
}
