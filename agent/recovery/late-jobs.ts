/** What is done about jobs that are late (DOL-8), and when a person hears of one. */
import type { Jobs } from "./jobs.driver.ts";
import type { Voice } from "./voice.driver.ts";

/** Each late job is triggered; people hear once, until it was picked up, of one that cannot be or that has failed. */
export class LateJobs {
  readonly #jobs: Pick<Jobs, "trigger" | "hasCommand">;
  readonly #voice: Pick<Voice, "audit" | "alert">;
  readonly #late: () => Readonly<Record<string, number>>;
  readonly #known = new Map<string, "triggered" | "told">();

  /** `late`: those that are late now, by name. */
  constructor(
    jobs: Pick<Jobs, "trigger" | "hasCommand">,
    voice: Pick<Voice, "audit" | "alert">,
    late: () => Readonly<Record<string, number>>,
  ) {
    this.#jobs = jobs;
    this.#voice = voice;
    this.#late = late;
  }

  /** The trigger has fired for `found`. */
  fired(found: string | undefined, because: string): void {
    for (const job of Object.keys(this.#late())) {
      const triggered = this.#jobs.trigger(job);
      const words = `${because}; ${triggered.started ? "it is triggered" : triggered.because}`;
      this.#audit("job.trigger", job, words, triggered.started ? "success" : "refused");
      if (job !== found) continue;
      // What was triggered before and is late still, or has nothing to be triggered by, is a person's.
      if (!this.#jobs.hasCommand(job) || this.#known.has(job)) this.#tell(job, words);
      else if (triggered.started) this.#known.set(job, "triggered");
    }
  }

  /** A run has ended, whoever triggered it. */
  ended(job: string, ok: boolean, because: string): void {
    this.#audit("job.ended", job, because, ok ? "success" : "failure");
    if (!ok && this.#known.has(job)) this.#tell(job, `it was late and was triggered, and has failed: ${because}`);
  }

  /** It was picked up. */
  cleared(job: string): void {
    this.#known.delete(job);
  }

  #tell(job: string, message: string): void {
    if (this.#known.get(job) === "told") return;
    this.#known.set(job, "told");
    this.#voice.alert({ severity: "medium", workload: "", incidentId: "", what: `job ${job}`, message });
  }

  #audit(action: string, job: string, because: string, outcome: "success" | "failure" | "refused"): void {
    this.#voice.audit({ action, target: `job/${job}`, because, outcome });
  }
}
