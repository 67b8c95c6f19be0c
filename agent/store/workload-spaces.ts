import { Fault } from "@blueflame/shared/errors/fault.ts";
import { stateMax } from "../state/bounds.ts";
import { type Answer, type Context, carried, commit, type Request, releaseRisk, riskOf } from "../state/commit.ts";
import type { Limits, Lock } from "../state/risk.ts";
import { apply, type Booked, type Change, type Entry, type KeptRisk, Space } from "../state/space.ts";
import { textOf } from "./codec.ts";
import { bytesIn, fitting, type Part, writeParts } from "./rows.ts";
import type { SealedDatabase } from "./sealed-database.ts";
import {
  changeOf,
  contentTables,
  entryRow,
  indexOf,
  readEntry,
  readTrade,
  readValue,
  rowsOf,
  tradeRow,
  valueRow,
  writesOf,
} from "./workload-keys.ts";
import { keepCounted, recount } from "./workload-recount.ts";
import { trimsIn } from "./workload-trims.ts";

/** What one workload keeps. Every write is on the disk before it resolves; every answer is from the disk's state. */
export interface WorkloadSpace {
  /** A key's value; undefined when it is not there. */
  get(key: string): Promise<{ value: Uint8Array; revision: number } | undefined>;
  /**
   * All operations or none. A request id that was done before is answered again. Rejects with BAD_REQUEST, STATE_CONFLICT,
   * LIMIT_REACHED, RISK_LOCKED; with STORE_WRITE_FAILED when the disk refuses, and then a repetition with the same id is safe.
   */
  commit(request: Request): Promise<Answer>;
  /** Keys, logs, and the revision; to be read only, and not kept: it changes. */
  contents(): Readonly<Pick<Space, "keys" | "logs" | "revision" | "horizon" | "live" | "bytes">>;
  risk(): KeptRisk;
  /** Entries after an index, oldest first: at most `limit` and `stateMax.pageBytes`, but one at least. */
  readLog(log: string, after: number, limit: number): Promise<(Entry & { readonly index: number })[]>;
  /** Trades after an index, oldest first: at most `limit` and `stateMax.pageBytes`, but one at least. */
  readTrades(after: number, limit: number): Promise<Booked[]>;
  /** Wakes after each commit that changed something, until the returned function is called. */
  onChange(wake: () => void): () => void;
  /**
   * A person opens the lock; the audit says who, why and what, in the same batch. Resolves with every cause, empty when there was
   * no lock. Rejects with CONDITION_FALSE when there are more than the person has seen.
   */
  release(person: string, reason: string, causesSeen?: number): Promise<readonly Lock[]>;
}

/** What a space needs of its store. */
export interface SpacesOptions {
  readonly wallMs: () => number;
  /** Which store this is: state of another one is locked. */
  readonly generation: string;
  /** It came from another one, or may have lost something: what is missing is not taken for never written. */
  readonly heir: boolean;
  /** An audit record as a part of the batch that it is about. */
  readonly audit: (said: Said) => readonly Part[];
  readonly nodeId: string;
  /** What the config declares, by workload. */
  readonly limits?: ReadonlyMap<string, Limits> | undefined;
}

/** What the audit is told. */
export interface Said {
  readonly actor: string;
  readonly action: string;
  readonly target: string;
  readonly because: string;
}

/** A store that came from another one gives no revision again that the other may have given since: it had fewer commits than this. */
const forgottenMax = 2 ** 20;
const nothing = () => undefined;
const doubtRow = "meta/doubt";

type Decided = { readonly changes: readonly Change[]; readonly undo: () => void; readonly audit: readonly Part[] };

/** What was given up. */
export interface Forgotten {
  readonly keys: number;
  readonly bytes: number;
  readonly trades: number;
}

/** How often, when last and why the store's state was doubted. */
interface Doubt {
  readonly count: number;
  readonly wallMs: number;
  readonly because: string;
}

/** The spaces of all workloads that ever had one. */
export class WorkloadSpaces {
  readonly #database: SealedDatabase;
  readonly #options: SpacesOptions;
  readonly #spaces = new Map<string, OwnSpace>();
  readonly #openedWallMs: number;
  #doubt: Doubt | undefined;
  /** In this opening of the store; kept, or on its way. */
  #doubting = false;

  constructor(database: SealedDatabase, options: SpacesOptions) {
    this.#database = database;
    this.#options = options;
    this.#openedWallMs = options.wallMs();
  }

  /** Reads the tables of contents; a store that became another one is counted anew from what it has. */
  async load(): Promise<void> {
    const doubt = await this.#database.get(doubtRow);
    if (doubt) this.#doubt = JSON.parse(textOf(doubt)) as Doubt;
    const { generation, heir, limits } = this.#options;
    const counted = await recount(this.#database, generation);
    for (const table of contentTables) {
      for (const [row, bytes] of await this.#database.entries({ gte: `${table}/`, lt: `${table}0` })) {
        const { workload, change } = changeOf(row, bytes);
        this.of(workload).know(change);
      }
    }
    if (counted && heir) for (const space of this.#spaces.values()) await space.beginAnew();
    if (counted) await keepCounted(this.#database, generation);
    // A config that is rolled back later must not loosen what this one has tightened, also when nothing was traded meanwhile.
    for (const [workload, declared] of limits ?? []) await this.of(workload).keepLimits(declared);
  }
  of(workload: string): OwnSpace {
    const known = this.#spaces.get(workload);
    if (known) return known;
    const others = () => this.#others(workload);
    const made = new OwnSpace(this.#database, workload, this.#options, () => this.#standing(), others);
    this.#spaces.set(workload, made);
    return made;
  }
  /** Of workloads that keep something, by name. */
  names(): string[] {
    return [...this.#spaces]
      .filter(([, space]) => space.contents().revision > 0)
      .map(([name]) => name)
      .sort();
  }
  /**
   * A person gives up all that a workload keeps that is gone. Rejects with NOT_FOUND, and with RISK_LOCKED while its risk is locked:
   * that is answered for first, by itself.
   */
  async forget(workload: string, person: string, reason: string): Promise<Forgotten> {
    const space = this.#spaces.get(workload);
    if (!space || space.contents().revision === 0)
      throw new Fault("NOT_FOUND", `no workload '${workload}' keeps anything here`);
    // When it is on the disk, also where nobody could be told so: under its name it begins anew.
    return space.forget(person, reason, () => this.#spaces.delete(workload));
  }
  /** What all but one keep. */
  #others(workload: string): NonNullable<Context["others"]> {
    const kept = [...this.#spaces].filter(([name, space]) => name !== workload && space.contents().revision > 0);
    return { bytes: kept.reduce((sum, [, space]) => sum + space.contents().bytes, 0), spaces: kept.length };
  }
  /**
   * Every risk state counts as locked from now on, also should the disk refuse to keep that; told again, it is tried again. Once it
   * is kept, more of the same changes nothing: what a person has released since stays released.
   */
  async doubt(because: string): Promise<void> {
    if (this.#doubting) return;
    this.#doubting = true;
    await this.#keepDoubt(because).catch((error: unknown) => {
      this.#doubting = false;
      throw error;
    });
  }
  async #keepDoubt(because: string): Promise<void> {
    const { wallMs, audit, nodeId } = this.#options;
    const next: Doubt = { count: (this.#doubt?.count ?? 0) + 1, wallMs: Math.floor(wallMs()), because };
    this.#doubt = next;
    const said = { actor: "agent", action: "risk.lock", target: `node/${nodeId}`, because };
    await writeParts(this.#database, true, () => [
      { writes: [{ type: "put", key: doubtRow, value: Buffer.from(JSON.stringify(next)) }] },
      ...audit(said),
    ]);
  }

  #standing() {
    const { generation, heir } = this.#options;
    const count = this.#doubt?.count ?? 0;
    return {
      mark: `${generation}#${count}`,
      doubtful: heir || count > 0,
      markedWallMs: this.#doubt?.wallMs ?? this.#openedWallMs,
    };
  }
}

class OwnSpace implements WorkloadSpace {
  readonly #database: SealedDatabase;
  readonly #workload: string;
  readonly #options: SpacesOptions;
  readonly #standing: () => Pick<Context, "mark" | "doubtful" | "markedWallMs">;
  /** With what is on its way to the disk; decisions are made on it. */
  readonly #staged = new Space();
  /** What is on the disk; answers are given from it. */
  readonly #landed = new Space();
  readonly #others: () => NonNullable<Context["others"]>;
  readonly #wakes = new Set<() => void>();
  #forgotten = false;

  constructor(
    database: SealedDatabase,
    workload: string,
    options: SpacesOptions,
    standing: () => Pick<Context, "mark" | "doubtful" | "markedWallMs">,
    others: () => NonNullable<Context["others"]>,
  ) {
    this.#others = others;
    this.#database = database;
    this.#workload = workload;
    this.#options = options;
    this.#standing = standing;
  }

  /** A change that is on the disk already. */
  know(change: Change): void {
    apply(this.#staged, change);
    apply(this.#landed, change);
  }

  /** Whoever watched the store that this one came from must list again: it may have been told of what is gone. */
  async beginAnew(): Promise<void> {
    const { revision, keys } = this.#landed;
    let floor = this.#landed.floor;
    for (const meta of keys.values()) floor = Math.max(floor, meta.revision);
    const changes: Change[] = [{ is: "horizon", revision: revision + forgottenMax, floor: floor + forgottenMax }];
    await this.#write(() => ({
      changes,
      undo: changes.map((one) => apply(this.#staged, one))[0] ?? nothing,
      audit: [],
    }));
  }
  /** Writes the limits of the config down where they are tighter than those that hold. */
  async keepLimits(limits: Limits): Promise<void> {
    if (this.risk() === this.#landed.risk) return;
    const operations = [{ is: "limits", limits }] as const;
    await this.commit({ id: "", digest: "", operations, onlyWhileOpen: false });
  }

  contents() {
    return this.#landed;
  }
  risk(): KeptRisk {
    return riskOf(this.#landed, this.#context());
  }
  onChange(wake: () => void): () => void {
    this.#wakes.add(wake);
    return () => this.#wakes.delete(wake);
  }

  async get(key: string) {
    const row = valueRow(this.#workload, key);
    const found = await this.#database.get(row);
    return found && readValue(found);
  }

  async readLog(log: string, after: number, limit: number) {
    const meta = this.#landed.logs.get(log);
    if (!meta) throw new Fault("NOT_FOUND", `'${this.#workload}' has no log '${log}'`);
    const from = Math.max(after + 1, meta.first);
    const range = { gte: entryRow(this.#workload, log, from), lt: entryRow(this.#workload, log, meta.last + 1), limit };
    const found = await this.#database.entriesWhile(range, fitting(stateMax.pageBytes));
    return found.map(([row, value]) => ({ index: indexOf(row), ...readEntry(value) }));
  }

  async readTrades(after: number, limit: number): Promise<Booked[]> {
    const last = this.#landed.risk?.risk.trades ?? 0;
    const range = { gte: tradeRow(this.#workload, after + 1), lt: tradeRow(this.#workload, last + 1), limit };
    const found = await this.#database.entriesWhile(range, fitting(stateMax.pageBytes));
    return found.map(([, value]) => readTrade(value));
  }

  async commit(request: Request): Promise<Answer> {
    const { operations, through } = await trimsIn(this.#database, this.#workload, this.#landed.logs, request);
    let answer: Answer | undefined;
    const decide = () => {
      const context = { ...this.#context(), through, others: this.#others() };
      const made = commit(this.#staged, { ...request, operations }, context);
      answer = made.answer;
      const audit =
        made.locked === undefined ? [] : this.#audit("risk.lock", `workload:${this.#workload}`, made.locked);
      return { ...made, audit };
    };
    await this.#write(decide, bytesIn(operations.flatMap(carried)));
    if (!answer) throw new Error("a batch that landed was built");
    return answer;
  }

  async release(person: string, reason: string, causesSeen?: number): Promise<readonly Lock[]> {
    let opened: readonly Lock[] = [];
    await this.#write(() => {
      const made = releaseRisk(this.#staged, this.#context(), causesSeen);
      opened = made.opened;
      const causes = opened.map(({ because }) => because).join("; and ");
      const before = opened.length > 0 ? `opened: ${causes}` : "there was no lock";
      return { ...made, audit: this.#audit("risk.release", `person:${person}`, `${reason} (${before})`) };
    });
    return opened;
  }

  /** All in one batch, once its logs are short; in between each cut of a log is a whole commit. */
  async forget(person: string, reason: string, landed: () => void): Promise<Forgotten> {
    this.#checkUnlocked();
    for (let log = this.#long(); log !== undefined; log = this.#long()) {
      const through = log.meta.first + stateMax.trimmed - 1;
      const operations = [{ is: "trim", log: log.name, through }] as const;
      await this.commit({ id: "", digest: "", operations, onlyWhileOpen: false });
    }
    let gone: Forgotten = { keys: 0, bytes: 0, trades: 0 };
    const build = (): Part[] => {
      const { trades } = this.#checkUnlocked();
      gone = { keys: this.#staged.live, bytes: this.#staged.bytes, trades };
      const writes = [...rowsOf(this.#workload, this.#staged)].map((key) => ({ type: "del", key }) as const);
      const what = `${gone.keys} keys, ${gone.bytes} bytes, ${trades} trades`;
      const undo = () => {
        this.#forgotten = false;
      };
      this.#forgotten = true; // whoever holds it still begins nothing in it
      return [{ writes, undo, landed }, ...this.#audit("state.forget", `person:${person}`, `${reason} (${what})`)];
    };
    await writeParts(this.#database, true, build);
    return gone;
  }
  #checkUnlocked(): KeptRisk["risk"] {
    const { risk } = riskOf(this.#staged, this.#context());
    if (!risk.lock) return risk;
    throw new Fault(
      "RISK_LOCKED",
      `the risk of '${this.#workload}' is locked, and a lock is not forgotten: open it first`,
    );
  }
  #long() {
    const [found] = [...this.#landed.logs].filter(([, { first, last }]) => last - first >= stateMax.trimmed);
    return found && { name: found[0], meta: found[1] };
  }

  #audit(action: string, actor: string, because: string): readonly Part[] {
    return this.#options.audit({ actor, action, target: `workload/${this.#workload}`, because });
  }

  #context(): Omit<Context, "through"> {
    const { wallMs, limits } = this.#options;
    const workload = this.#workload;
    return { workload, wallMs: Math.floor(wallMs()), declared: limits?.get(workload), ...this.#standing() };
  }

  /** Decides when its batch is built, on top of everything before; what was decided is told once it is on the disk. */
  async #write(decide: () => Decided, bytes = 0): Promise<void> {
    const make = () => {
      if (this.#forgotten) throw new Fault("NOT_FOUND", `what '${this.#workload}' kept was forgotten by a person`);
      const { changes, undo, audit } = decide();
      const landed = () => {
        for (const change of changes) apply(this.#landed, change);
        if (changes.length > 0) for (const wake of this.#wakes) wake();
      };
      const writes = changes.flatMap((change) => writesOf(this.#workload, change));
      return [{ writes, undo, landed }, ...audit];
    };
    await writeParts(this.#database, true, make, bytes);
  }
}
