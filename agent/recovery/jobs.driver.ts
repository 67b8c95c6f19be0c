import { spawn } from "node:child_process";
import { codeOf } from "@blueflame/shared/errors/code.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import type { JobSpec } from "../config/sections.ts";
import { bornOrdinary } from "../limits/oom-score.driver.ts";
import { withoutServiceManager } from "../notify/inherited.ts";

/** A job that was triggered has this long; then its command is ended. */
const jobMs = 10 * 60_000;
/** The same job is not triggered again within this time, whoever asks. */
const againMs = 60_000;

/** What triggering a job came to. */
export type Triggered = { readonly started: true } | { readonly started: false; readonly because: string };

/** Starts jobs that were not picked up: each alone, one after the other over all (DOL-6). Whoever made it closes it. */
export class Jobs {
  readonly #jobs: ReadonlyMap<string, JobSpec>;
  readonly #clock: Clock;
  readonly #ended: (job: string, ok: boolean, because: string) => void;
  readonly #held: () => boolean;
  readonly #startedMs = new Map<string, number>();
  readonly #closed = new AbortController();
  #queue: Promise<void> = Promise.resolve();
  readonly #waiting = new Set<string>();

  /** `ended` is told how each run ended; while the kill switch is on (`held`), nothing is started, what waits neither. */
  constructor(
    jobs: readonly JobSpec[],
    clock: Clock,
    ended: (job: string, ok: boolean, because: string) => void,
    held: () => boolean,
  ) {
    this.#jobs = new Map(jobs.map((job) => [job.name, job]));
    this.#clock = clock;
    this.#ended = ended;
    this.#held = held;
  }

  /** False: somebody else runs it. */
  hasCommand(name: string): boolean {
    return this.#jobs.get(name)?.command !== undefined;
  }

  trigger(name: string): Triggered {
    const command = this.#jobs.get(name)?.command;
    if (!command) return { started: false, because: "it has no command: somebody else has to run it" };
    if (this.#held()) return { started: false, because: "the kill switch is on" };
    if (this.#waiting.has(name)) return { started: false, because: "it is at work, or waits for its turn" };
    const lastMs = this.#startedMs.get(name);
    if (lastMs !== undefined && this.#clock.monotonicMs() < lastMs + againMs)
      return { started: false, because: "it was triggered a moment ago" };
    this.#waiting.add(name);
    this.#startedMs.set(name, this.#clock.monotonicMs());
    this.#queue = this.#queue.then(() => this.#run(name, command)).finally(() => this.#waiting.delete(name));
    return { started: true };
  }

  close(): void {
    this.#closed.abort();
  }

  async #run(name: string, [file, ...args]: readonly [string, ...string[]]): Promise<void> {
    if (this.#closed.signal.aborted) return;
    if (this.#held()) {
      this.#ended(name, false, "the kill switch was turned on before its turn came");
      return;
    }
    const because = await new Promise<string>((resolve) => {
      const env = withoutServiceManager(process.env);
      // What it prints is nobody's: a pipe would end a job that prints much, and wait for whoever it leaves behind with it.
      const options = {
        env,
        stdio: "ignore",
        timeout: jobMs,
        killSignal: "SIGKILL",
        signal: this.#closed.signal,
      } as const;
      try {
        const child = bornOrdinary(() => spawn(file, args, options));
        child.on("error", (error) => resolve(`it could not be started (${codeOf(error)})`));
        child.on("exit", (code, signal) => resolve(code === null ? `ended by ${signal}` : `exit code ${code}`));
      } catch (thrown) {
        // A program that is just being written (ETXTBSY) is told so, and not by an event.
        resolve(`it could not be started (${codeOf(thrown)})`);
      }
    });
    if (!this.#closed.signal.aborted) this.#ended(name, because === "exit code 0", because);
  }
}
