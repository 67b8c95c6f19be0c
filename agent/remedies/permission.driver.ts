import type { Action } from "../playbooks/playbook.ts";
import type { Around } from "./around.ts";
import { type AuthorityPolicy, type Deed, judge, judgeStep } from "./authority.ts";
import { realOf } from "./files.driver.ts";
import { Refused } from "./performer.ts";

/** Paths of the config are resolved again after this long: somebody may have moved a link. */
const freshMs = 10_000;

interface Resolved {
  readonly atMs: number;
  readonly dataDir: string;
  readonly disposable: readonly string[];
  readonly guarded: readonly string[];
  readonly production: readonly string[];
  readonly of: ReadonlyMap<string, Pick<AuthorityPolicy, "configFiles" | "data" | "artifacts">>;
}

/** Asks the authority with what holds on this machine now: real paths, the kill switch, a person's stop. */
export class Permission {
  readonly #around: Around;
  /** The config files of versions that a rollback may go back to are declared as well. */
  readonly #configFiles: (workload: string) => readonly string[];
  #resolved: Resolved | undefined;

  constructor(around: Around, configFiles: (workload: string) => readonly string[]) {
    this.#around = around;
    this.#configFiles = configFiles;
  }

  /** May a step of this kind run now? Throws {@link Refused}. */
  step(kind: Action["do"], workload: string): void {
    const stopped = workload !== "" && this.#around.stand(workload).is === "stopped";
    const judged = judgeStep(kind, { killSwitch: this.#around.killSwitch(), stopped });
    if (!judged.allowed) throw new Refused(judged.rule, judged.because);
  }

  /** May it do this? Paths are made real first. Rejects with {@link Refused}. */
  async deed(kind: Action["do"], workload: string, deed: Deed): Promise<void> {
    this.step(kind, workload);
    const policy = await this.policy(workload);
    const real = "path" in deed ? { ...deed, path: await realOf(deed.path) } : deed;
    const judged = judge(kind, real, policy);
    if (!judged.allowed) throw new Refused(judged.rule, judged.because);
  }

  /** May a config file of a workload be written back, while nobody asked for it just now? Rejects with {@link Refused}. */
  async write(workload: string, path: string): Promise<void> {
    // Its intent is not asked: a bad file is taken back for a workload that is down too, and nothing is started by it.
    const policy = { ...(await this.policy(workload)), stopped: false };
    const judged = judge("rollback", { does: "write_config", path: await realOf(path) }, policy);
    if (policy.killSwitch)
      throw new Refused("kill_switch", "the kill switch is on: nothing is changed until a person takes it back");
    if (!judged.allowed) throw new Refused(judged.rule, judged.because);
  }

  /** What holds now for a step about this workload. */
  async policy(workload: string): Promise<AuthorityPolicy> {
    const resolved = await this.#resolve();
    const none = { configFiles: [], data: [], artifacts: [] };
    const stopped = workload !== "" && this.#around.stand(workload).is === "stopped";
    return { ...resolved, ...(resolved.of.get(workload) ?? none), killSwitch: this.#around.killSwitch(), stopped };
  }

  async #resolve(): Promise<Resolved> {
    const { clock, dataDir, disposable, guarded, specs } = this.#around;
    const atMs = clock.monotonicMs();
    if (this.#resolved && atMs < this.#resolved.atMs + freshMs) return this.#resolved;
    const all = (paths: readonly string[]) => Promise.all(paths.map(realOf));
    const of = new Map<string, Pick<AuthorityPolicy, "configFiles" | "data" | "artifacts">>();
    for (const { name, data, artifacts } of specs) {
      const configFiles = await all(this.#configFiles(name));
      of.set(name, { configFiles, data: await all(data?.paths ?? []), artifacts: await all(artifacts) });
    }
    const production = [...of.values()].flatMap((one) => [...one.configFiles, ...one.data]);
    const [own = dataDir] = await all([dataDir]);
    this.#resolved = {
      atMs,
      dataDir: own,
      disposable: await all(disposable),
      guarded: await all(guarded),
      production,
      of,
    };
    return this.#resolved;
  }
}
