import type { Random } from "@blueflame/shared/random/random.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import { BeatFileWatcher } from "./beat-file.driver.ts";
import { type ProbeAnswer, ProbeRunner } from "./probe-runner.driver.ts";

/** Where signs of life go. Neither may throw. */
export interface SignsParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly beat: (workload: string) => void;
  readonly probed: (workload: string, probe: string, answer: ProbeAnswer) => void;
}

/** Probes and beat files of all workloads behind one door: the supervisor's SignsPort. Whoever made it closes it. */
export class Signs {
  readonly #probes: ProbeRunner;
  readonly #beatFiles: BeatFileWatcher;

  constructor({ clock, random, beat, probed }: SignsParts) {
    this.#probes = new ProbeRunner({ clock, random, tell: probed });
    this.#beatFiles = new BeatFileWatcher(clock, beat);
  }

  /** Watches what the spec names, instead of what was watched for its workload before. */
  watch(spec: WorkloadSpec): void {
    this.#probes.start(spec.name, spec.probes);
    if (spec.beat?.file) this.#beatFiles.start(spec.name, spec.beat.file, spec.beat.timeoutMs);
    else this.#beatFiles.stop(spec.name);
  }
  unwatch(workload: string): void {
    this.#probes.stop(workload);
    this.#beatFiles.stop(workload);
  }
  /** Asks all probes of the workload now. */
  askNow(workload: string): void {
    this.#probes.askNow(workload);
  }
  close(): void {
    this.#probes.close();
    this.#beatFiles.close();
  }
}
