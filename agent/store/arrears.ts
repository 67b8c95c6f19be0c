/**
 * What the disk owes. Whoever acts, and writes down what it did, writes through here: a disk that refuses, or is silent, holds
 * nobody up, and once it takes writes again it gets what it has not got:
 *
 *   – of what only the newest counts (a workload's state, what the node remembers, what people have yet to be told, an incident's
 *     revision) the newest, in one batch for each workload: what was closed meanwhile is closed in the store and at the hub;
 *   – of what is history (decisions, audit records) how much is missing: one audit record with since, until and how many, in the
 *     first batch that is taken, so that nothing stands behind a hole without a name.
 *
 * Both go along with the next write, and are tried every second. A store writes in the order in which it was asked, so what was
 * given last is the newest, and nothing older is given after it.
 */
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import {
  AuditOutcome,
  type AuditRecord,
  AuditRecordSchema,
  type Incident,
  IncidentState,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { uuid7 } from "@blueflame/shared/ids/uuid7.ts";
import type { Random } from "@blueflame/shared/random/random.ts";
import type { Cancel, Clock } from "@blueflame/shared/time/clock.ts";
import { create } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Unmirrored } from "./deferred-mirror.ts";
import { Newest } from "./newest.ts";
import type { AgentStore, MemoryKey, StepWrite } from "./ports.ts";

/** What the disk owes is tried again this often. */
const retryMs = 1000;
/** Writes of one workload that a silent disk may hold; beyond it they are refused, and the newest is owed. */
const pendingMax = 50;
/** Audit records beside steps that a silent disk may hold; beyond it they are missing. */
const auditsMax = 1000;
/** Incidents that began and ended while the disk took nothing; beyond it the oldest are missing, and counted as the history is. */
const endedMax = 200;
/** More than can be open: one for each workload, and one for each case of the node. */
const openMax = 1000;

/** What it is made of. */
export interface ArrearsParts {
  readonly nodeId: string;
  readonly store: Pick<AgentStore, "saveStep"> & Partial<Pick<AgentStore, "openIncidents">>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: (level: "warn" | "error", fields: Readonly<Record<string, unknown>>, message: string) => void;
}

/** What of the history is missing. */
interface Hole {
  readonly sinceWallMs: number;
  readonly because: string;
  readonly decisions: number;
  readonly audit: number;
  readonly incidents: number;
}

/** One incident whose newest revision is on its way, or owed. */
interface Case {
  readonly workload: string;
  readonly newest: Newest<Incident>;
  readonly ended: boolean;
}

/** A write with what was owed, and the hole that it names. */
interface Sent {
  readonly write: StepWrite;
  readonly own: StepWrite;
  readonly askedWallMs: number;
  readonly hole: Hole | undefined;
}

type Missed = Pick<Hole, "decisions" | "audit" | "incidents">;

/** Writes for one agent, and owes for it. Whoever made it closes it, before the store. */
export class Arrears {
  readonly #parts: ArrearsParts;
  readonly #states = new Map<string, Newest<unknown>>();
  readonly #memories = new Map<MemoryKey, Newest<unknown>>();
  readonly #untold = new Newest<unknown>();
  /** By id, in the order in which they were given first. */
  readonly #incidents = new Map<string, Case>();
  /** Ids of those that are open in the store. */
  readonly #open: Set<string>;
  readonly #pending = new Map<string, number>();
  #audits = 0;
  #telling = false;
  /** Something was refused without asking the disk, which has not answered since. */
  #silent = false;
  #hole: Hole | undefined;
  /** Told, and not over. */
  #refused = false;
  #retrying = false;
  #cancel: Cancel = () => undefined;
  #closed = false;

  constructor(parts: ArrearsParts) {
    this.#parts = parts;
    this.#open = new Set(parts.store.openIncidents?.(openMax).map(({ id }) => id));
  }

  /** As the store's own. What it rejects is owed from then on, or counted as missing. */
  async saveStep(write: StepWrite, durability: "synced" | "batched"): Promise<void> {
    const { workload } = write;
    const waiting = this.#pending.get(workload) ?? 0;
    if (waiting >= pendingMax) {
      this.#give(write);
      this.#silent = true;
      const fault = new Fault("STORE_WRITE_FAILED", `${pendingMax} writes of '${workload}' wait for the disk`);
      throw this.#lost({ write, own: write, askedWallMs: this.#parts.clock.wallMs(), hole: undefined }, fault);
    }
    this.#pending.set(workload, waiting + 1);
    await this.#send(write, durability).finally(() => {
      this.#pending.set(workload, (this.#pending.get(workload) ?? 1) - 1);
    });
  }

  /** One more record for the audit, synced. Never rejects: what the disk refuses is counted as missing. */
  async audit(record: AuditRecord): Promise<void> {
    if (this.#audits >= auditsMax) {
      const because = `${auditsMax} audit records wait for the disk`;
      this.#silent = true;
      return this.#miss({ decisions: 0, audit: 1, incidents: 0 }, this.#parts.clock.wallMs(), because);
    }
    this.#audits += 1;
    await this.#send({ workload: "", audit: [record] }, "synced")
      .catch(() => undefined)
      .finally(() => {
        this.#audits -= 1;
      });
  }

  /** What people have yet to be told, from now on: one write at a time, of the newest. Never rejects. */
  async untold(untold: unknown): Promise<void> {
    this.#untold.owe(untold);
    if (this.#telling) return;
    this.#telling = true;
    try {
      while (this.#untold.isOwed) await this.#send({ workload: "" }, "batched");
    } catch {
      // It is owed.
    } finally {
      this.#telling = false;
    }
  }

  /** One last try, which the store takes before it is closed. */
  close(): void {
    this.#cancel();
    if (!this.#closed) void this.#try();
    this.#closed = true;
  }

  async #send(own: StepWrite, durability: "synced" | "batched"): Promise<void> {
    this.#give(own);
    const sent = this.#withOwed(own);
    try {
      await this.#parts.store.saveStep(sent.write, durability).finally(() => {
        this.#silent = false;
      });
    } catch (error) {
      throw this.#lost(sent, error);
    }
    this.#settle(sent.write, true);
    this.#tellOfEnd(sent.hole);
  }

  /** From now on these are the newest. */
  #give({ workload, state, memory, untold, incident, others = [] }: StepWrite): void {
    if (state !== undefined) of(this.#states, workload).give(state);
    if (memory) of(this.#memories, memory.key).give(memory.value);
    if (untold !== undefined) this.#untold.give(untold);
    for (const one of incident ? [...others, incident] : others) {
      const newest = this.#incidents.get(one.id)?.newest ?? new Newest<Incident>();
      newest.give(one);
      this.#incidents.set(one.id, { workload, newest, ended: isEnded(one) });
    }
  }

  #withOwed(own: StepWrite): Sent {
    const { workload, others = [] } = own;
    const state = own.state ?? this.#states.get(workload)?.take();
    const [memory, untold] =
      workload === "" ? [own.memory ?? this.#owedMemory(), own.untold ?? this.#untold.take()] : [];
    const owed = [...this.#incidents.values()].flatMap((one) =>
      one.workload === workload ? (one.newest.take() ?? []) : [],
    );
    // While the disk is silent the hole grows: it is named by the first write after that.
    const hole = this.#silent ? undefined : this.#hole;
    if (hole) this.#hole = undefined;
    const write: StepWrite = {
      ...own,
      ...(state !== undefined && { state }),
      ...(memory && { memory }),
      ...(untold !== undefined && { untold }),
      ...(owed.length > 0 && { others: [...others, ...owed] }),
      ...(hole && { audit: [this.#recordOf(hole), ...(own.audit ?? [])] }),
    };
    return { write, own, askedWallMs: this.#parts.clock.wallMs(), hole };
  }

  #owedMemory(): StepWrite["memory"] {
    for (const [key, newest] of this.#memories) {
      const value = newest.take();
      if (value !== undefined) return { key, value };
    }
    return undefined;
  }

  /** Answers with the error, for whoever asked. */
  #lost({ write, own, askedWallMs, hole }: Sent, error: unknown): unknown {
    // All of it is in the store, and what lies beside it is written with the state.
    const inStore = error instanceof Unmirrored;
    this.#settle(write, inStore);
    const newest = of(this.#states, write.workload);
    if (inStore && write.state !== undefined && newest.isKept) newest.owe(write.state);
    const because = isFault(error) ? error.saw : String(error);
    if (!this.#refused) {
      this.#refused = true;
      const code = isFault(error) ? error.code : "";
      this.#parts.log("error", { workload: own.workload, code }, error instanceof Error ? error.message : because);
    }
    if (!inStore) {
      if (hole) this.#hole = joined(hole, this.#hole);
      const missed = { decisions: own.decision ? 1 : 0, audit: own.audit?.length ?? 0, incidents: this.#giveUp() };
      this.#miss(missed, askedWallMs, because);
    }
    this.#tryLater();
    return error;
  }

  #settle({ workload, state, memory, untold, incident, others = [] }: StepWrite, landed: boolean): void {
    if (state !== undefined) this.#states.get(workload)?.settle(state, landed);
    if (memory) this.#memories.get(memory.key)?.settle(memory.value, landed);
    if (untold !== undefined) this.#untold.settle(untold, landed);
    for (const one of incident ? [incident, ...others] : others) {
      const newest = this.#incidents.get(one.id)?.newest;
      newest?.settle(one, landed);
      if (newest?.isKept) this.#incidents.delete(one.id);
      if (landed && isEnded(one)) this.#open.delete(one.id);
      else if (landed) this.#open.add(one.id);
    }
  }

  /** How many incidents nobody will hear of: none that stands open in the store is among them. */
  #giveUp(): number {
    const ended = [...this.#incidents].filter(([id, one]) => one.ended && one.newest.isOwed && !this.#open.has(id));
    const gone = ended.slice(0, Math.max(0, ended.length - endedMax));
    for (const [id] of gone) this.#incidents.delete(id);
    return gone.length;
  }

  #miss(missed: Missed, sinceWallMs: number, because: string): void {
    if (missed.decisions + missed.audit + missed.incidents === 0) return;
    const now = { ...missed, because, sinceWallMs };
    this.#hole = this.#hole ? joined(this.#hole, now) : now;
    this.#tryLater();
  }

  /** One try at a time, however many writes have failed. */
  #tryLater(): void {
    if (this.#retrying || this.#closed) return;
    this.#retrying = true;
    const { clock } = this.#parts;
    this.#cancel = clock.wakeAt(clock.monotonicMs() + retryMs, () => {
      void this.#try().finally(() => {
        this.#retrying = false;
        if (this.#owing().length > 0) this.#tryLater();
      });
    });
  }

  async #try(): Promise<void> {
    await Promise.allSettled(this.#owing().map((workload) => this.saveStep({ workload }, "synced")));
  }

  /** The workloads that are owed something; of the node as a whole the empty name. */
  #owing(): string[] {
    const states = [...this.#states].flatMap(([name, { isOwed }]) => (isOwed ? [name] : []));
    const incidents = [...this.#incidents.values()].flatMap(({ workload, newest }) =>
      newest.isOwed ? [workload] : [],
    );
    const node = this.#untold.isOwed || [...this.#memories.values()].some(({ isOwed }) => isOwed);
    const owing = new Set([...states, ...incidents, ...(node ? [""] : [])]);
    return owing.size === 0 && this.#hole ? [""] : [...owing];
  }

  #tellOfEnd(hole: Hole | undefined): void {
    if (hole) this.#parts.log("warn", {}, words(hole, this.#parts.clock.wallMs()));
    if (this.#refused && this.#owing().length === 0) this.#refused = false;
  }

  #recordOf(hole: Hole): AuditRecord {
    const { nodeId, clock, random } = this.#parts;
    const { sinceWallMs, decisions, audit, incidents } = hole;
    const wallMs = clock.wallMs();
    return create(AuditRecordSchema, {
      id: uuid7(wallMs, random),
      at: timestampFromMs(Math.round(wallMs)),
      actor: "agent",
      action: "store.writes_again",
      target: `node/${nodeId}`,
      because: words(hole, wallMs),
      outcome: AuditOutcome.SUCCESS,
      took: durationFromMs(Math.max(0, Math.round(wallMs - sinceWallMs))),
      beforeJson: JSON.stringify({ recording: false }),
      afterJson: JSON.stringify({ recording: true, missing: { decisions, audit, incidents } }),
      nodeId,
    });
  }
}

function words({ sinceWallMs, because, decisions, audit, incidents }: Hole, untilWallMs: number): string {
  const [since, until] = [sinceWallMs, untilWallMs].map((wallMs) => new Date(wallMs).toISOString());
  const missing = `${decisions} decisions, ${audit} audit records and ${incidents} incidents that began and ended meanwhile`;
  return `since ${since} until ${until} the disk refused or was silent, and has not acknowledged ${missing}: ${because}`;
}

/** The earlier one's reason is the reason. */
function joined(earlier: Hole, later: Hole | undefined): Hole {
  if (!later) return earlier;
  return {
    sinceWallMs: Math.min(earlier.sinceWallMs, later.sinceWallMs),
    because: earlier.because,
    decisions: earlier.decisions + later.decisions,
    audit: earlier.audit + later.audit,
    incidents: earlier.incidents + later.incidents,
  };
}

function isEnded({ state }: Incident): boolean {
  return state === IncidentState.CLOSED;
}

function of<Key>(all: Map<Key, Newest<unknown>>, key: Key): Newest<unknown> {
  const newest = all.get(key) ?? new Newest<unknown>();
  all.set(key, newest);
  return newest;
}
