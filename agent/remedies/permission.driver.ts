/**
 * Asks the authority with what holds on this machine now: real paths, the kill switch, a person's stop. Where a path really lies
 * is looked up for what is judged by it, and for nothing else: the disk of one workload may be dead, and the playbooks of all
 * others go on (DOL-7, DOL-9).
 *
 *   handle_process, ask                            nothing
 *   run                                            what belongs to the agent, by its name too
 *   write_own, remove of its own                   the path, the agent's folder
 *   write_config, read_data                        the path, what belongs to the agent, what the workload declares
 *   replace_data                                   and what every other workload calls its data
 *   move_artifact, remove of what is disposable    and what every workload calls its data or its config
 *
 * A path that does not answer grants nothing. Where it would forbid, it may lie anywhere: what it could forbid is refused; but
 * a restore goes on beside another workload's dead disk, which is known by its name.
 */
import { basename, dirname, join } from "node:path";
import type { Action } from "../playbooks/playbook.ts";
import type { Around } from "./around.ts";
import { type AuthorityPolicy, type Deed, judge, judgeStep } from "./authority.ts";
import { realInTime } from "./desk.driver.ts";
import { Refused } from "./performer.ts";

/** Paths of the config are resolved again after this long: somebody may have moved a link. */
const freshMs = 10_000;

/** The list by which a deed with a path is allowed. */
const grantedBy = {
  remove: "disposable",
  write_config: "configFiles",
  replace_data: "data",
  read_data: "data",
  move_artifact: "artifacts",
} as const;

/** Where paths really lie; `silent` are those of which nobody knows, for their disk does not answer. */
interface Found {
  readonly real: readonly string[];
  readonly silent: readonly string[];
}

type Guards = Pick<AuthorityPolicy, "dataDir" | "guarded">;

/** Asks the authority for one agent. */
export class Permission {
  readonly #around: Around;
  /** The config files of versions that a rollback may go back to are declared as well. */
  readonly #configFiles: (workload: string) => readonly string[];
  /** By what the paths are; a look that is under way is one of them, and no second one is begun. */
  readonly #found = new Map<string, { readonly atMs: number; readonly found: Promise<Found> }>();

  constructor(around: Around, configFiles: (workload: string) => readonly string[]) {
    this.#around = around;
    this.#configFiles = configFiles;
  }

  /** May a step of this kind run now? Throws {@link Refused}. */
  step(kind: Action["do"], workload: string): void {
    const judged = judgeStep(kind, this.#persons(workload));
    if (!judged.allowed) throw new Refused(judged.rule, judged.because);
  }

  /** May it do this? Paths are made real first, within seconds. Rejects with {@link Refused}. */
  async deed(kind: Action["do"], workload: string, deed: Deed): Promise<void> {
    this.step(kind, workload);
    const judged = judge(kind, await realDeed(deed), await this.#policy(kind, workload, deed));
    if (!judged.allowed) throw new Refused(judged.rule, judged.because);
    // A person may have said no while a disk was waited for.
    this.step(kind, workload);
  }

  /** May a config file of a workload be written back, while nobody asked for it just now? Rejects with {@link Refused}. */
  async write(workload: string, path: string): Promise<void> {
    const deed = { does: "write_config", path } as const;
    // Its intent is not asked: a bad file is taken back for a workload that is down too, and nothing is started by it.
    const judged = judge("rollback", await realDeed(deed), await this.#policy("rollback", workload, deed));
    if (this.#around.killSwitch())
      throw new Refused("kill_switch", "the kill switch is on: nothing is changed until a person takes it back");
    if (!judged.allowed) throw new Refused(judged.rule, judged.because);
  }

  /** What belongs to the agent itself, by its real paths. Rejects with {@link Refused} while a disk of it does not answer. */
  async guards(): Promise<Guards> {
    const [dataDir, guarded] = [await this.#dataDir(), await this.#guarded()];
    refuseSilent([guarded], "belongs to the agent itself");
    return { dataDir, guarded: guarded.real };
  }

  // ── what a deed is judged by ───────────────────────────────────────────────────────────────────────────────────────

  async #policy(kind: Action["do"], workload: string, deed: Deed): Promise<AuthorityPolicy> {
    const named = { ...this.#named(workload), ...this.#persons(workload) };
    if (deed.does === "handle_process" || deed.does === "ask") return named;
    if (deed.does === "run") return { ...named, ...(await this.#commandGuards()) };
    if (deed.does === "write_own" || (deed.does === "remove" && kind !== "clean_disposable"))
      return { ...named, dataDir: await this.#dataDir() };
    const grants = grantedBy[deed.does];
    const realWay = deed.does === "move_artifact" ? realEntry : realInTime;
    const { real } = await this.#find(`${grants} of ${workload}`, () => named[grants], realWay);
    const isNobodys = deed.does === "remove" || deed.does === "move_artifact";
    const production = isNobodys ? await this.#production() : named.production;
    const neighbours = deed.does === "replace_data" ? await this.#neighbours(workload) : [];
    return { ...named, ...(await this.guards()), [grants]: real, production, neighbours };
  }

  #persons(workload: string): Pick<AuthorityPolicy, "killSwitch" | "stopped"> {
    const stopped = workload !== "" && this.#around.stand(workload).is === "stopped";
    return { killSwitch: this.#around.killSwitch(), stopped };
  }

  /** By the names that the config uses. */
  #named(workload: string): Omit<AuthorityPolicy, "killSwitch" | "stopped"> {
    const { dataDir, disposable, guarded, specs } = this.#around;
    const spec = specs.find(({ name }) => name === workload);
    const configFiles = spec ? this.#configFiles(workload) : [];
    const data = spec?.data?.paths ?? [];
    return {
      dataDir,
      disposable,
      guarded,
      production: [...configFiles, ...data],
      configFiles,
      data,
      artifacts: spec?.artifacts ?? [],
    };
  }

  async #dataDir(): Promise<string> {
    const { dataDir } = this.#around;
    const found = await this.#find("data directory", () => [dataDir]);
    refuseSilent([found], "belongs to the agent itself");
    return found.real[0] ?? dataDir;
  }
  #guarded(): Promise<Found> {
    return this.#find("guarded", () => this.#around.guarded);
  }

  /** A command is never kept from running by a disk: what does not answer is known by its name. */
  async #commandGuards(): Promise<Guards> {
    const { dataDir, guarded } = this.#around;
    const [own, others] = [await this.#find("data directory", () => [dataDir]), await this.#guarded()];
    return { dataDir: own.real[0] ?? dataDir, guarded: [...new Set([...guarded, ...others.real])] };
  }

  /** Of all workloads. Rejects with {@link Refused} while one of these paths does not answer. */
  async #production(): Promise<readonly string[]> {
    const found = await Promise.all(
      this.#around.specs.flatMap(({ name, data }) => [
        this.#find(`configFiles of ${name}`, () => this.#configFiles(name)),
        this.#find(`data of ${name}`, () => data?.paths ?? []),
      ]),
    );
    refuseSilent(found, "is data or config of a workload");
    return found.flatMap(({ real }) => real);
  }

  /** The data of all other workloads. */
  async #neighbours(workload: string): Promise<NonNullable<AuthorityPolicy["neighbours"]>> {
    const others = this.#around.specs.filter(({ name }) => name !== workload);
    const found = await Promise.all(
      others.map(async ({ name, data }) => {
        const { real, silent } = await this.#find(`data of ${name}`, () => data?.paths ?? []);
        return [...real, ...silent].map((path) => ({ workload: name, path }));
      }),
    );
    return found.flat();
  }

  /** Within seconds; never rejects. */
  #find(what: string, paths: () => readonly string[], realWay = realInTime): Promise<Found> {
    const nowMs = this.#around.clock.monotonicMs();
    const known = this.#found.get(what);
    if (known && nowMs < known.atMs + freshMs) return known.found;
    const found = findAll(paths(), realWay);
    this.#found.set(what, { atMs: nowMs, found });
    return found;
  }
}

async function findAll(paths: readonly string[], realWay: typeof realInTime): Promise<Found> {
  const all = await Promise.all(paths.map(async (path) => ({ path, real: await realWay(path) })));
  return {
    real: all.flatMap(({ real }) => real ?? []),
    silent: all.flatMap(({ path, real }) => (real === undefined ? [path] : [])),
  };
}

/** Nobody knows where a path leads that does not answer. */
function refuseSilent(found: readonly Found[], is: string): void {
  const path = found.flatMap(({ silent }) => silent)[0];
  if (path !== undefined)
    throw new Refused("unanswered", `the disk of ${path} does not answer: nobody knows what ${is}`);
}

async function realDeed(deed: Deed): Promise<Deed> {
  if (!("path" in deed)) return deed;
  const isEntry = deed.does === "remove" || deed.does === "move_artifact";
  const path = await (isEntry ? realEntry : realInTime)(deed.path);
  if (path === undefined) throw new Refused("unanswered", `the disk of ${deed.path} does not answer`);
  return { ...deed, path };
}

/** What goes or is moved is a name in a folder: where it leads, if it is a link, stays. */
async function realEntry(path: string): Promise<string | undefined> {
  const folder = await realInTime(dirname(path));
  return folder && join(folder, basename(path));
}
