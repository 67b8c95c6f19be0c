import type { Cancel, Clock } from "@blueflame/shared/time/clock.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import type { Figures } from "../triggers/observation.ts";
import { jsonPage } from "./json-page.driver.ts";
import { performanceFigures } from "./performance.ts";

/** Figures are good for this many intervals; then the page has gone silent and nothing is known. */
const intervalsGood = 3;

type Probe = NonNullable<WorkloadSpec["performance"]>;

interface Asker {
  readonly probe: Probe;
  cancel: Cancel;
  seen: { readonly figures: Figures; readonly ms: number } | undefined;
}

/** Asks the performance pages of workloads (PRA-5), each at its own pace: a slow one delays nobody. Whoever made it closes it. */
export class PerformanceProbes {
  readonly #clock: Clock;
  readonly #askers = new Map<string, Asker>();
  readonly #isRunning: (workload: string) => boolean;
  readonly #answered: (workload: string) => void;
  #closed = false;

  /** A workload that does not run is not asked. `answered` is called when there are new figures; it may not throw. */
  constructor(
    specs: readonly Pick<WorkloadSpec, "name" | "performance">[],
    clock: Clock,
    isRunning: (workload: string) => boolean,
    answered: (workload: string) => void,
  ) {
    this.#clock = clock;
    this.#isRunning = isRunning;
    this.#answered = answered;
    const asked = specs.filter(({ performance }) => performance !== undefined);
    for (const [index, { name, performance }] of asked.entries()) {
      if (!performance) continue;
      const asker: Asker = { probe: performance, cancel: () => undefined, seen: undefined };
      this.#askers.set(name, asker);
      // Spread over the interval, so that not all are asked in one breath.
      this.#sleep(name, asker, (performance.everyMs * (index + 1)) / asked.length);
    }
  }

  /** The newest figures of the workload's page; empty when it has none, or when it has been silent for three intervals. */
  figures(workload: string): Figures {
    const asker = this.#askers.get(workload);
    if (!asker?.seen) return {};
    const fresh = this.#clock.monotonicMs() - asker.seen.ms <= intervalsGood * asker.probe.everyMs;
    return fresh ? asker.seen.figures : {};
  }

  /** Forgets what was seen: a new process answers from now on. */
  forget(workload: string): void {
    const asker = this.#askers.get(workload);
    if (asker) asker.seen = undefined;
  }

  close(): void {
    this.#closed = true;
    for (const asker of this.#askers.values()) asker.cancel();
  }

  #sleep(name: string, asker: Asker, ms: number): void {
    if (this.#closed) return;
    asker.cancel = this.#clock.wakeAt(this.#clock.monotonicMs() + ms, () => void this.#ask(name, asker));
  }

  async #ask(name: string, asker: Asker): Promise<void> {
    const { url, everyMs, timeoutMs } = asker.probe;
    const beganMs = this.#clock.monotonicMs();
    if (this.#isRunning(name)) {
      try {
        const { status, document } = await jsonPage(url, timeoutMs);
        // PRA-5: 200 and 503 both carry figures; another status is another page.
        if (status === 200 || status === 503) {
          asker.seen = { figures: performanceFigures(document), ms: this.#clock.monotonicMs() };
          if (!this.#closed) this.#answered(name);
        }
      } catch {
        // Silent: what is known of it grows old. Whether the workload is unwell is asked by its probes.
      }
    }
    this.#sleep(name, asker, Math.max(0, everyMs - (this.#clock.monotonicMs() - beganMs)));
  }
}
