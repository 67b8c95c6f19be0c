/** What the node learns from its incidents, and what it makes of it. Pure but for its memory. */
import type { Facts } from "../diagnosis/facts.ts";
import { advise, demotedFor, type LearningEvent, type LearningState, learn, trustOf } from "../learning/learning.ts";
import { signatureOf } from "../learning/signature.ts";
import { type Instant, passTo } from "../slo/timeline.ts";
import type { IncidentFacts } from "../supervise/state.ts";
import { type Circumstances, failureOf, lessonsOf } from "./lessons.ts";

/** Incidents whose signature and earlier revision are remembered; the oldest go first. */
const incidentsMax = 500;
/** Attempts of an incident that wait for its signature: as many as it names. */
const unsignedMax = 16;
/** A suggestion that was not made again for so long is out of date. */
const suggestedMs = 30 * 86_400_000;

/** An incident that is not closed. */
interface Open {
  readonly facts: IncidentFacts;
  /** By what its failure is known again. */
  readonly signature: string;
  /** What was tried before anybody had looked at what the failed process said; undefined: somebody has. */
  readonly unsigned: readonly Extract<LearningEvent, { is: "remedied" }>[] | undefined;
}

/** Memory of one node; at most 500 open incidents beside it. */
export class Learned {
  readonly #instant: () => Instant;
  readonly #suggested: (workload: string, text: string) => void;
  readonly #incidents = new Map<string, Open>();
  #state: LearningState;

  /** `frozen`: by the config. `suggested` is told each new suggestion of a preventive measure. */
  constructor(
    instant: () => Instant,
    kept: LearningState,
    frozen: boolean,
    suggested: (workload: string, text: string) => void,
  ) {
    this.#instant = instant;
    this.#suggested = suggested;
    // What the config froze, a config that no longer says so thaws; what a person froze stays.
    const isThawed = !frozen && kept.frozenBy === "the config";
    const change = frozen ? ({ is: "frozen", who: "the config" } as const) : isThawed && ({ is: "thawed" } as const);
    this.#state = change ? learn(kept, change, instant()).state : kept;
  }

  /** What is to be remembered over restarts. Time without lessons has passed too: no reboot, and no clock that jumps in it, takes it back. */
  kept(): LearningState {
    this.#state = { ...this.#state, line: passTo(this.#state.line, this.#instant()) };
    return this.#state;
  }

  /** An incident that an earlier agent process has left open: what it has taught already is not taught again. */
  resume(facts: IncidentFacts): void {
    this.#incidents.set(facts.id, { signature: signatureOf(failureOf(facts)).text, facts, unsigned: [] });
  }

  /** One more revision of an incident. */
  incident(facts: IncidentFacts, around: Omit<Circumstances, "signature">): void {
    const known = this.#incidents.get(facts.id);
    const signature = known?.signature ?? signatureOf(failureOf(facts)).text;
    const lessons = lessonsOf(known?.facts, facts, { ...around, signature });
    for (const lesson of lessons) this.#learn(lesson);
    this.#incidents.delete(facts.id);
    const tried = lessons.filter((lesson) => lesson.is === "remedied");
    const unsigned = known && !known.unsigned ? undefined : [...(known?.unsigned ?? []), ...tried].slice(-unsignedMax);
    if (facts.at !== "closed") this.#incidents.set(facts.id, { signature, facts, unsigned });
    for (const oldest of this.#incidents.keys()) {
      if (this.#incidents.size <= incidentsMax) break;
      this.#incidents.delete(oldest);
    }
  }

  /**
   * By what the failure of an open incident is known. The first restart is tried before anybody looks: what was tried until now
   * counts for this failure too.
   */
  sign(incidentId: string, signature: string): void {
    const known = this.#incidents.get(incidentId);
    if (!known || signature === "") return;
    if (signature !== known.signature) {
      for (const { playbook: _whose, ...tried } of known.unsigned ?? [])
        this.#learn({ ...tried, is: "recognised", signature });
    }
    this.#incidents.set(incidentId, { ...known, signature, unsigned: undefined });
  }

  advice(workload: string, signature: string): Facts["advice"] {
    const { order, learned, because } = advise(this.#state, workload, signature, this.#instant());
    return learned ? { order, because } : undefined;
  }
  demoted(workload: string): NonNullable<Facts["demoted"]> {
    return demotedFor(this.#state, workload, this.#instant());
  }
  trust(subject: Parameters<typeof trustOf>[1]) {
    return trustOf(this.#state, subject, this.#instant());
  }
  /** Those of the last 30 days, for workloads that are still there. */
  suggestions(isThere: (workload: string) => boolean): string[] {
    const { ageMs } = passTo(this.#state.line, this.#instant());
    const current = this.#state.suggestions.filter(
      ({ workload, toldAtMs }) => isThere(workload) && ageMs - toldAtMs < suggestedMs,
    );
    return current.map(({ text }) => text);
  }

  #learn(event: LearningEvent): void {
    const { state, suggestions } = learn(this.#state, event, this.#instant());
    this.#state = state;
    for (const { workload, text } of suggestions) this.#suggested(workload, text);
  }
}
