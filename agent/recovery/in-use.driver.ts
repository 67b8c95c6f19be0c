import type { Remedies } from "../remedies/remedies.driver.ts";
import type { Known } from "../supervise/report.ts";

/** By which version of its config each workload runs, or would; read from the versions, and kept for a status that cannot wait. */
export class InUse {
  readonly #remedies: Pick<Remedies, "configInUse">;
  readonly #known = new Map<string, { readonly version: string; readonly rolledBack: boolean }>();

  constructor(remedies: Pick<Remedies, "configInUse">) {
    this.#remedies = remedies;
  }

  /** It was started just now, or adopted: its version is asked for again. */
  learn(workload: string): void {
    void this.#remedies.configInUse(workload).then((inUse) => this.#known.set(workload, inUse));
  }

  /** Also what does not run, say by the kill switch, is told. */
  learnRest(workloads: readonly string[]): void {
    for (const name of workloads) if (!this.#known.has(name)) this.learn(name);
  }

  of(workload: string): Required<Pick<Known, "configVersion" | "rolledBack">> {
    const { version = "", rolledBack = false } = this.#known.get(workload) ?? {};
    return { configVersion: version, rolledBack };
  }
}
