/** What the node of a story learns: the agent's real memory of remedies, fed as its own experience feeds it. */
import type { Facts } from "@blueflame/agent/diagnosis/facts.ts";
import {
  advise,
  demotedFor,
  freshLearning,
  type LearningState,
  learn,
  trustOf,
} from "@blueflame/agent/learning/learning.ts";
import { lessonsOf } from "@blueflame/agent/recovery/lessons.ts";
import type { IncidentFacts } from "@blueflame/agent/supervise/state.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";

/** One node's memory; it is kept over the agent's death. */
export class Experience {
  readonly #clock: Clock;
  readonly #suggested: (workload: string, text: string) => void;
  #learning: LearningState;

  constructor(clock: Clock, suggested: (workload: string, text: string) => void) {
    this.#clock = clock;
    this.#suggested = suggested;
    this.#learning = freshLearning(this.#now());
  }

  incident(workload: string, before: IncidentFacts | undefined, after: IncidentFacts, uptimeMs: number | undefined) {
    const now = this.#now();
    const around = { workload, signature: this.#signature(after), nowMs: this.#clock.monotonicMs() };
    const uptime = uptimeMs === undefined ? {} : { uptimeMs };
    for (const event of lessonsOf(before, after, { ...around, ...uptime })) {
      const { state, suggestions } = learn(this.#learning, event, now);
      this.#learning = state;
      for (const { workload: about, text } of suggestions) this.#suggested(about, text);
    }
  }

  advice(workload: string, incident: IncidentFacts | undefined): Facts["advice"] | undefined {
    if (!incident) return undefined;
    const { order, learned, because } = advise(this.#learning, workload, this.#signature(incident), this.#now());
    return learned ? { order, because } : undefined;
  }

  demoted(workload: string): NonNullable<Facts["demoted"]> {
    return demotedFor(this.#learning, workload, this.#now());
  }

  trust(workload: string) {
    return trustOf(this.#learning, `workload:${workload}`, this.#now());
  }

  /** In a story failures are told apart by what is seen of them first. */
  #signature({ timeline, symptom }: IncidentFacts): string {
    return timeline[0]?.because.split(":")[0] ?? symptom;
  }
  #now() {
    return { bootId: "story", bootMs: this.#clock.bootMs(), wallMs: this.#clock.wallMs() };
  }
}
