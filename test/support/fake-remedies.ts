import { type Facts, noFacts } from "@blueflame/agent/diagnosis/facts.ts";
import type { PlayRequest, RemedyPort, RemedyRequest, RemedyResult } from "@blueflame/agent/remedies/ports.ts";
import type { WorkloadSpec } from "@blueflame/agent/supervise/spec.ts";

/** Remedies that do nothing, can be told to fail or to hang, and write down what was asked of them. */
export class FakeRemedies implements RemedyPort {
  readonly asked: string[] = [];
  readonly cancelled: string[] = [];
  readonly well = new Set<string>();
  facts: Facts = noFacts;
  /** By the name of the rung or playbook; what is not named works at once. `hangs` never answers. */
  readonly answers = new Map<string, RemedyResult | "hangs">();
  readonly #specs: Map<string, WorkloadSpec>;

  constructor(specs: readonly WorkloadSpec[]) {
    this.#specs = new Map(specs.map((spec) => [spec.name, spec]));
  }
  prepare({ workload, rung, begun }: RemedyRequest): Promise<RemedyResult> {
    begun?.();
    return this.#answer(workload, rung);
  }
  play({ workload, playbook, begun }: PlayRequest): Promise<RemedyResult> {
    begun?.();
    return this.#answer(workload || "node", playbook);
  }
  cancel(id: string): void {
    this.cancelled.push(id);
  }
  async examine(_workload: string): Promise<Facts> {
    return this.facts;
  }
  specInUse(workload: string): WorkloadSpec {
    const spec = this.#specs.get(workload);
    if (!spec) throw new Error(`no spec of '${workload}'`);
    return spec;
  }
  /** What the next instance of the workload will be started with. */
  use(spec: WorkloadSpec): void {
    this.#specs.set(spec.name, spec);
  }
  healthy(workload: string): void {
    this.well.add(workload);
  }

  #answer(workload: string, name: string): Promise<RemedyResult> {
    this.asked.push(`${workload} ${name}`);
    const answer = this.answers.get(name) ?? { ok: true, because: "done" };
    return answer === "hangs" ? new Promise(() => undefined) : Promise.resolve(answer);
  }
}
