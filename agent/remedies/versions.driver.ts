/**
 * Keeps the versions of every workload's config: looks at its config files now and then, remembers what they held while it was
 * healthy, and writes that back. What was rolled back and comes again is taken back again, at a start of the agent too.
 */
import { createHash } from "node:crypto";
import type { Cancel } from "@blueflame/shared/time/clock.ts";
import type { Facts } from "../diagnosis/facts.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import type { Around } from "./around.ts";
import { ConfigLooks } from "./config-looks.driver.ts";
import { writeBack } from "./files.driver.ts";
import { inTime, wordsOf } from "./patience.driver.ts";
import {
  type ConfigHistory,
  type ConfigVersion,
  changedAgoMs,
  changesTo,
  contentsOf,
  current,
  healthyBefore,
  isBad,
  isBehind,
  isProved,
  noHistory,
  noticed,
  pinFor,
  proved,
  rolledBack,
  started,
  type VersionMoment,
  versionOf,
  withRunPart,
} from "./versions.ts";

/** Files are looked at this often (DOL-10). */
const everyMs = 5000;
/** A round goes on to the next workload after this long: a write to a disk that hangs may last. */
const turnMs = 3000;

/** What a rollback has done. */
export interface RolledBack {
  readonly ok: boolean;
  readonly because: string;
  readonly from?: string;
  readonly to?: string;
}

interface Kept {
  readonly configured: WorkloadSpec;
  spec: WorkloadSpec;
  history: ConfigHistory;
  /** The store has been read: what it holds may be replaced. */
  loaded: boolean;
  /** The history is newer than the store. */
  dirty: boolean;
  readonly looks: ConfigLooks;
  /** One thing at a time. */
  turn: Promise<unknown>;
  warning: string | undefined;
}

/** May this file of this workload be written back? Answers why not. */
export type MayWrite = (workload: string, path: string) => Promise<string | undefined>;

/** The versions of all workloads. Made by {@link openVersions}; whoever made it closes it. */
export class Versions {
  readonly #around: Around;
  readonly #mayWrite: MayWrite;
  readonly #kept = new Map<string, Kept>();
  /** Those that a round waits for, or has given up to wait for. */
  readonly #looking = new Set<string>();
  #cancel: Cancel | undefined;
  #closed = false;

  constructor(around: Around, mayWrite: MayWrite) {
    this.#around = around;
    this.#mayWrite = mayWrite;
    for (const configured of around.specs) {
      this.#kept.set(configured.name, {
        configured,
        spec: configured,
        history: noHistory,
        loaded: false,
        dirty: false,
        looks: new ConfigLooks(configured.name),
        turn: Promise.resolve(),
        warning: undefined,
      });
    }
  }

  /** Looks at everything once, and takes back what is known to be bad. Bounded; never rejects. */
  async begin(): Promise<void> {
    await Promise.all([...this.#kept.keys()].map((name) => this.observe(name)));
    this.#again();
  }
  close(): void {
    this.#closed = true;
    this.#cancel?.();
  }

  specInUse(workload: string): WorkloadSpec | undefined {
    return this.#kept.get(workload)?.spec;
  }
  /** Its config files, of the spec in use and of the versions that a rollback may go back to. */
  configFiles(workload: string): readonly string[] {
    const kept = this.#kept.get(workload);
    if (!kept) return [];
    const older = kept.history.versions.flatMap(({ files }) => Object.keys(files));
    return [...new Set([...kept.configured.configFiles, ...kept.spec.configFiles, ...older])];
  }
  /** What people must know: a config that is not used because it was rolled back. */
  warnings(): string[] {
    return [...this.#kept.values()].flatMap(({ warning }) => warning ?? []);
  }
  /** A process of it has just been started. */
  started(workload: string): void {
    const kept = this.#kept.get(workload);
    if (!kept) return;
    // What it reads now is what is on the disk now.
    void this.observe(workload).then(() =>
      this.#inTurn(kept, async () => {
        this.#change(kept, started(kept.history));
        await this.#save(kept);
      }),
    );
  }
  /** What runs has proved itself. May be called as often as somebody looks: what is known to be good is written down once an hour. */
  async healthy(workload: string): Promise<void> {
    const kept = this.#kept.get(workload);
    if (!kept || isProved(kept.history, this.#around.clock.wallMs())) return;
    await this.observe(workload);
    this.#change(kept, proved(kept.history, this.#around.clock.wallMs()));
    await this.#save(kept);
  }
  /** For the diagnosis. */
  facts(workload: string): Facts["config"] {
    const kept = this.#kept.get(workload);
    if (!kept) return { version: "" };
    const agoMs = changedAgoMs(kept.history, this.#moment());
    const healthy = healthyBefore(kept.history)?.id;
    const now = current(kept.history);
    return {
      version: now?.id ?? "",
      ...(now?.healthyWallMs !== undefined && { wasHealthy: true as const }),
      ...(agoMs !== undefined && { changedAgoMs: agoMs }),
      ...(healthy !== undefined && { healthyVersion: healthy }),
    };
  }

  /** The version in use, and whether it is an older one because a newer one was rolled back. */
  inUse(workload: string): { readonly version: string; readonly rolledBack: boolean } {
    const history = this.#kept.get(workload)?.history ?? noHistory;
    return { version: current(history)?.id ?? "", rolledBack: isBehind(history) };
  }

  /** Looks at the workload's files now. Never rejects; a disk that does not answer changes nothing. */
  async observe(workload: string): Promise<void> {
    const kept = this.#kept.get(workload);
    if (!kept) return;
    await this.#inTurn(kept, async () => {
      await this.#load(kept);
      const files = await kept.looks.look(kept.spec.configFiles);
      if (!files) return;
      const isAsBefore = kept.looks.isAsBefore(files, kept.spec);
      if (isAsBefore && kept.loaded && !kept.dirty) return;
      const seen = versionOf(kept.spec, files, this.#around.clock.wallMs());
      if (isBad(kept.history, seen)) await this.#takeBack(kept, seen);
      else this.#change(kept, noticed(kept.history, seen, this.#moment()));
      await this.#save(kept);
    });
  }

  /** Which version a rollback would leave and which it would take; undefined when there is none to go back to. */
  async target(workload: string): Promise<{ from: string; to: string } | undefined> {
    await this.observe(workload);
    const history = this.#kept.get(workload)?.history ?? noHistory;
    const from = current(history);
    const to = healthyBefore(history);
    return from && to && { from: from.id, to: to.id };
  }

  /**
   * Goes back from one version to another, as `target` has named them: writes the files back, uses the older spec, and marks what
   * was left as bad. Asked again with the same two it goes on, or answers that it is done.
   */
  rollBack(workload: string, from: string, to: string, because: string, tells = true): Promise<RolledBack> {
    const kept = this.#kept.get(workload);
    if (!kept) return Promise.resolve({ ok: false, because: `there is no workload '${workload}'` });
    return this.#inTurn(kept, async () => {
      await this.#load(kept);
      const target = kept.history.versions.find(({ id }) => id === to);
      const left = kept.history.versions.find(({ id }) => id === from);
      if (!target) return { ok: false, because: `the version ${to} is not kept any more` };
      const problem = await this.#write(kept, target, from);
      if (problem) return { ok: false, because: problem, from, to };
      if (left && current(kept.history)?.id !== to) {
        this.#change(kept, rolledBack(kept.history, left, target, because, this.#moment()));
        this.#adopt(kept);
        this.#tell(kept, from, to, because, tells);
      }
      await this.#save(kept);
      const words = `config ${from} was rolled back to ${to}, which had been healthy${unused(kept)}`;
      return { ok: true, because: words, from, to };
    });
  }

  // ── looking ────────────────────────────────────────────────────────────────────────────────────────────────────────

  #again(): void {
    const { clock } = this.#around;
    this.#cancel = clock.wakeAt(clock.monotonicMs() + everyMs, () => {
      void this.#round().finally(() => {
        if (!this.#closed) this.#again();
      });
    });
  }

  /** One workload after the other: a round of many files is no burst. */
  async #round(): Promise<void> {
    for (const [name, kept] of this.#kept) {
      if (this.#closed) return;
      const isIdle = kept.configured.configFiles.length === 0 && !kept.dirty && kept.loaded;
      if (isIdle || this.#looking.has(name)) continue;
      this.#looking.add(name);
      const looked = this.observe(name).finally(() => this.#looking.delete(name));
      await inTime(this.#around.clock, turnMs, looked);
    }
  }

  // ── taking back ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** What was rolled back lies there again. Where a healthy version is known, it is put back at once. */
  async #takeBack(kept: Kept, seen: ConfigVersion): Promise<void> {
    const { name } = kept.configured;
    const last = current(kept.history);
    const target = last && !isBad(kept.history, last) ? last : healthyBefore(kept.history);
    if (!target) {
      kept.warning = `the config of '${name}' was rolled back before, and there is no healthy one to use instead`;
      return;
    }
    const problem = await this.#write(kept, target, seen.id);
    if (problem) {
      kept.warning = `a config of '${name}' that was rolled back is there again, and cannot be replaced: ${problem}`;
      kept.looks.forget(); // tried again at the next look
      return;
    }
    this.#change(kept, noticed(kept.history, target, this.#moment()));
    this.#adopt(kept);
    this.#tell(kept, seen.id, target.id, "it was rolled back before, and its content has not changed since", true);
  }

  /** Writes the files of `target` back where the disk differs. Answers why it could not. */
  async #write(kept: Kept, target: ConfigVersion, leaving: string): Promise<string | undefined> {
    const { name } = kept.configured;
    const files = await kept.looks.look([...new Set([...Object.keys(target.files), ...kept.spec.configFiles])]);
    if (!files) return "the disk of its config files does not answer";
    const changes = changesTo(target, { ...target, files });
    const sums = [...changes.values()].flatMap((file) => (file.is === "file" ? [file.sha256] : []));
    try {
      const contents = await this.#contents(kept, sums);
      for (const [path, file] of changes) {
        const bytes = file.is === "file" ? contents.get(file.sha256) : undefined;
        if (file.is === "unkept" || (file.is === "file" && !bytes)) return `what ${path} held is not kept`;
        const refused = await this.#mayWrite(name, path);
        if (refused) return refused;
      }
      for (const [path, file] of changes) {
        await writeBack(path, file.is === "file" ? contents.get(file.sha256) : undefined, leaving);
      }
      return undefined;
    } catch (error) {
      return wordsOf(error);
    }
  }

  /** Contents by checksum, each checked: what a disk has bent is not written into a config. */
  async #contents(kept: Kept, sums: readonly string[]): Promise<Map<string, Uint8Array>> {
    const asked = sums.filter((sum) => !kept.looks.fresh.has(sum));
    const stored = asked.length > 0 ? await this.#around.store.configContents(kept.configured.name, asked) : new Map();
    const all = new Map<string, Uint8Array>([...stored, ...kept.looks.fresh]);
    for (const [sum, bytes] of all) {
      if (createHash("sha256").update(bytes).digest("hex") !== sum) all.delete(sum);
    }
    return all;
  }

  #tell(kept: Kept, from: string, to: string, because: string, alerts: boolean): void {
    const { name: workload } = kept.configured;
    const instead = unused(kept);
    const message = `config ${from} of '${workload}' was replaced by ${to}, which had been healthy: ${because}${instead}`;
    if (instead) kept.warning = message;
    if (alerts) this.#around.alert({ severity: "high", workload, incidentId: "", what: "config_rolled_back", message });
    this.#around.audit({
      action: "config.rollback",
      actor: "agent",
      workload,
      because,
      outcome: "success",
      tookMs: 0,
      incidentId: "",
      before: { version: from },
      after: { version: to },
    });
  }

  // ── remembering ────────────────────────────────────────────────────────────────────────────────────────────────────

  async #load(kept: Kept): Promise<void> {
    if (kept.loaded) return;
    const { name } = kept.configured;
    try {
      const found = (await this.#around.store.configVersions(name)) as ConfigHistory | undefined;
      kept.loaded = true;
      if (found) {
        for (const sum of contentsOf(found).keys()) kept.looks.stored.add(sum);
        // Seen before the store could be opened: newer than everything in it.
        const since = kept.history.versions;
        kept.history = since.reduce((history, version) => noticed(history, version, this.#moment()), found);
      }
      this.#adopt(kept);
    } catch {
      // A store that is not open yet (a full disk at the start): the next round asks again.
    }
  }

  /** Chooses the spec: the config's, or that of a healthy version while the config's is bad. */
  #adopt(kept: Kept): void {
    const pin = pinFor(kept.history, kept.configured);
    kept.spec = pin ? withRunPart(kept.configured, pin.spec) : kept.configured;
    kept.warning = pin
      ? `the section of '${kept.configured.name}' in the agent's config was rolled back: version ${pin.id} is used until it changes`
      : undefined;
  }

  #change(kept: Kept, history: ConfigHistory): void {
    if (history === kept.history) return;
    kept.history = history;
    kept.dirty = true;
  }

  async #save(kept: Kept): Promise<void> {
    if (!kept.dirty || !kept.loaded) return;
    const { history } = kept;
    const { fresh, stored } = kept.looks;
    const needed = contentsOf(history);
    for (const sum of fresh.keys()) if (!needed.has(sum)) fresh.delete(sum);
    const drop = [...stored].filter((sum) => !needed.has(sum));
    const add = new Map(fresh);
    try {
      await this.#around.store.saveConfigVersions(kept.configured.name, { history, add, drop });
      for (const sum of drop) stored.delete(sum);
      for (const sum of add.keys()) {
        stored.add(sum);
        fresh.delete(sum);
      }
      kept.dirty = kept.history !== history;
    } catch {
      // The store says itself that it is in trouble; the next round writes it.
    }
  }

  #inTurn<T>(kept: Kept, work: () => Promise<T>): Promise<T> {
    const mine = kept.turn.then(work);
    kept.turn = mine.catch(() => undefined);
    return mine;
  }

  #moment(): VersionMoment {
    const { clock, bootId } = this.#around;
    return { bootId, bootMs: clock.bootMs(), wallMs: clock.wallMs() };
  }
}

/** What a person has to know beside the versions: which config is not read any more. */
function unused({ spec, configured }: Kept): string {
  return spec === configured ? "" : "; its section of the agent's config is not used until it changes";
}
