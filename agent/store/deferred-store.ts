/**
 * An agent that starts while its disk is full or read-only guards all the same: from memory, loudly, until the store opens.
 *
 *   start ── opens ───────────────────────────────────▶ durable
 *     └── the disk refuses, a mirror is there ─▶ deferred ── opens (tried every second) ─▶ durable but for the node's memory
 *     └── the disk refuses, nothing was ever here ─▶ refused
 *
 * While deferred every write and every read of what is in the store rejects with the fault: nothing is acknowledged, nothing
 * is said to be absent. What must not be undone or doubled comes from the mirror: who stays down, and whose families are ours.
 * What the node remembers cannot be read then, and is not written by this process any more: it has to be started again.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { SignedHead } from "@blueflame/shared/audit/check.ts";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { takeLock } from "@blueflame/shared/store/level/lock.ts";
import { placeOf } from "@blueflame/shared/store/level/opening.ts";
import { type Cancel, nextRound } from "@blueflame/shared/time/clock.ts";
import type { Outbox } from "../uplink/ports.ts";
import type { AgentStoreOptions, OpenedAgentStore } from "./agent-store.ts";
import { holdAlone } from "./deferred-alone.ts";
import { tellOfLateOpening } from "./deferred-late.ts";
import { untoldIn, withoutMemory } from "./deferred-memory.ts";
import { type Mirror, type MirroredStore, mirrored, type Rests, readMirror } from "./deferred-mirror.ts";
import { keksIn, storedRing } from "./keys/store-keys.ts";
import { openMended } from "./open-mended.ts";
import type { MemoryKey, StepWrite, StoreIdentity } from "./ports.ts";
import type { Page } from "./rows.ts";

/** Between two tries to open the store, and to bring a mirror up to date. */
const retryMs = 1000;
/** A try that reads a large store takes seconds: between two of them passes so much more time, up to a minute. */
const [restFactor, restMaxMs] = [20, 60_000];
/** What an outbox that cannot be read says of its last seq: none that the hub may have is behind it. */
const lastSeqUnknown = BigInt(Number.MAX_SAFE_INTEGER);

/** What a start needs beside the store's own options. */
export interface StartOptions extends AgentStoreOptions, Rests {
  /**
   * Called once when a deferred store has opened, before anybody else hears of it; `newLife` when its identity is another one than
   * the mirror's. The process should be started again soon: what the node remembers is read by the next one only.
   */
  readonly onOpened: (newLife: boolean, notes: readonly string[]) => void;
}

/** The agent's store, open or not yet. */
export interface StartedStore extends OpenedAgentStore {
  /** True while the agent guards from memory. */
  readonly deferred: boolean;
}

/**
 * Opens the store as `openAgentStore` does, keeps the mirror beside it, and holds the data directory for this process alone.
 * Where the disk refuses and a mirror is there, resolves with a store that is deferred. Rejects as `openAgentStore` does.
 */
export async function startStore(dataDir: string, options: StartOptions): Promise<StartedStore> {
  try {
    return await openDurable(dataDir, options);
  } catch (error) {
    const mirror = isFault(error) && mayComeBack(error) ? readMirror(dataDir) : undefined;
    if (!isFault(error) || !mirror) throw error;
    if (options.nodeId !== undefined && options.nodeId !== mirror.nodeId) {
      const saw = `the store belongs to '${mirror.nodeId}', this node is '${options.nodeId}'`;
      throw new Fault("DATA_DIR_OF_ANOTHER", saw, { cause: error });
    }
    const release = await holdAlone(dataDir, mirror.owner);
    return new DeferredStore({ dataDir, options, mirror, release }, error);
  }
}

/** To whoever writes, a directory that takes nothing is a store that takes nothing. */
function storeFault(error: unknown): Fault {
  if (isFault(error) && error.code !== "DATA_DIR_UNUSABLE") return error;
  const saw = isFault(error) ? error.saw : error instanceof Error ? error.message : String(error);
  return new Fault("STORE_WRITE_FAILED", saw, { cause: error });
}

/** What may end while the agent guards from memory: a disk that refuses, a key that is not there or not the right one. */
function mayComeBack({ code }: Fault): boolean {
  return code === "STORE_WRITE_FAILED" || code === "DATA_DIR_UNUSABLE" || code.startsWith("STORE_KEY_");
}

/** Asked every second, so it reads no store: is the key there, does the disk take a file? Throws what stands in the way. */
function checkWay(dataDir: string): void {
  if (storedRing(undefined, dataDir)) keksIn(dataDir);
  takeLock(placeOf(join(dataDir, "store")).lock).release();
}

async function openDurable(dataDir: string, options: StartOptions): Promise<StartedStore> {
  const opened = await openMended(dataDir, options);
  try {
    const release = await holdAlone(dataDir, opened.identity.owner);
    const store = await mirrored(opened, dataDir, options);
    const cancel = { now: () => {} };
    keepUp(store, options, cancel);
    return {
      ...store,
      deferred: false,
      async close() {
        cancel.now();
        await store.close();
        release();
      },
    };
  } catch (error) {
    await opened.close();
    throw error;
  }
}

function keepUp(store: MirroredStore, options: StartOptions, cancel: { now: Cancel }): void {
  cancel.now = options.clock.wakeAt(nextRound(options.clock.monotonicMs(), retryMs), () => {
    store.catchUp();
    keepUp(store, options, cancel);
  });
}

interface Parts {
  readonly dataDir: string;
  readonly options: StartOptions;
  readonly mirror: Mirror;
  readonly release: () => void;
}

class DeferredStore implements StartedStore {
  readonly #parts: Parts;
  readonly #sinceWallMs: number;
  readonly #identity: StoreIdentity;
  /** How to subscribe at the store once it is open, each with what ends that. */
  readonly #late = new Map<(store: MirroredStore) => () => void, () => void>();
  readonly notes: readonly string[];
  #fault: Fault;
  #store: MirroredStore | undefined;
  #trying: Promise<void> | undefined;
  #cancel = { now: (() => undefined) as Cancel };
  #closed = false;
  /** What people have yet to be told: by the earlier agent's list, and by this one's newest. */
  #left: readonly unknown[] = [];
  #untold: readonly unknown[] | undefined;

  constructor(parts: Parts, fault: Fault) {
    this.#parts = parts;
    this.#fault = storeFault(fault);
    const { clock, bootId } = parts.options;
    const { nodeId, generation, owner, incarnation, session } = parts.mirror;
    this.#sinceWallMs = clock.wallMs();
    this.notes = [`the workloads are guarded from memory until the store opens: ${this.#fault.message}`];
    // The session that the store will count when it opens; a second deferred start in a row repeats it, which no one sees:
    // the newest stream of a node wins whatever its number is.
    this.#identity = {
      nodeId,
      generation,
      owner,
      incarnation: BigInt(incarnation),
      session: BigInt(session) + 1n,
      previousBootId: bootId,
    };
    this.#tryLater();
  }

  get deferred(): boolean {
    return this.#store === undefined;
  }
  get identity(): StoreIdentity {
    return this.#store?.identity ?? this.#identity;
  }
  trouble(): string | undefined {
    return this.#store ? this.#store.trouble() : this.#fault.message;
  }

  readonly outbox: Outbox = {
    // Nothing yet: whoever reads is woken when the store has opened.
    read: async (after, limit, maxBytes) => this.#store?.outbox.read(after, limit, maxBytes) ?? [],
    acknowledge: async (through) => this.#opened().outbox.acknowledge(through),
    append: async (record) => this.#opened().outbox.append(record),
    lastSeq: () => this.#store?.outbox.lastSeq() ?? lastSeqUnknown,
    depth: () => this.#store?.outbox.depth() ?? 0n,
    onAppend: (wake) => {
      if (this.#store) return this.#store.outbox.onAppend(wake);
      return this.#whenOpen((store) => {
        wake();
        return store.outbox.onAppend(wake);
      });
    },
  };

  async workloads() {
    if (this.#store) return this.#store.workloads();
    return Object.entries(this.#parts.mirror.resting).map(([name, state]) => ({ name, state }));
  }
  async saveStep(write: StepWrite, durability: "synced" | "batched"): Promise<void> {
    this.#untold = untoldIn(write) ?? this.#untold;
    const store = this.#opened();
    const may = withoutMemory(write, this.#left);
    if (!may)
      throw new Fault("STORE_WRITE_FAILED", "what the node remembers is not known to this agent, only to its next");
    await store.saveStep(may, durability);
  }
  async forgetWorkload(name: string): Promise<void> {
    await this.#opened().forgetWorkload(name);
  }
  /** Nothing, also once it is open: half of a memory would be worse than none. */
  async memory(_key: MemoryKey): Promise<unknown> {
    return undefined;
  }
  async appendReadings(readings: Parameters<OpenedAgentStore["appendReadings"]>[0]): Promise<void> {
    await this.#opened().appendReadings(readings);
  }
  async appendAudit(records: Parameters<OpenedAgentStore["appendAudit"]>[0]): Promise<void> {
    await this.#opened().appendAudit(records);
  }
  async incidents(page: number | Page, openOnly: boolean) {
    return this.#opened().incidents(page, openOnly);
  }
  incidentsOpened() {
    return this.#store?.incidentsOpened() ?? 0;
  }
  openIncidents(limit: number) {
    return this.#store?.openIncidents(limit) ?? [];
  }
  async audit(page: number | Page) {
    return this.#opened().audit(page);
  }
  auditHead() {
    return this.#store?.auditHead();
  }
  async readAudit(after: string) {
    return this.#opened().readAudit(after);
  }
  async countersigned(head: SignedHead, hubKey: string): Promise<void> {
    await this.#opened().countersigned(head, hubKey);
  }
  async decisions(page: number | Page) {
    return this.#opened().decisions(page);
  }
  async get(workload: string, key: string) {
    return this.#opened().get(workload, key);
  }
  async put(workload: string, key: string, value: Uint8Array, expected: bigint | undefined): Promise<bigint> {
    return this.#opened().put(workload, key, value, expected);
  }
  /** Throws while deferred: nobody is told that there is nothing. */
  space(workload: string) {
    return this.#opened().space(workload);
  }
  spaces(): string[] {
    return this.#opened().spaces();
  }
  async forgetSpace(workload: string, person: string, reason: string) {
    return this.#opened().forgetSpace(workload, person, reason);
  }
  async doubt(because: string): Promise<void> {
    await this.#opened().doubt(because);
  }
  async saveTokenHash(workload: string, hash: string): Promise<void> {
    await this.#opened().saveTokenHash(workload, hash);
  }
  /** None are known while deferred: whoever started this asks the living processes. */
  async tokenHashes(): Promise<Map<string, string>> {
    return this.#store ? this.#store.tokenHashes() : new Map();
  }
  async configVersions(workload: string) {
    return this.#opened().configVersions(workload);
  }
  async configContents(workload: string, sums: readonly string[]) {
    return this.#opened().configContents(workload, sums);
  }
  async saveConfigVersions(workload: string, write: Parameters<OpenedAgentStore["saveConfigVersions"]>[1]) {
    await this.#opened().saveConfigVersions(workload, write);
  }
  hubEpoch(): bigint {
    return this.#store?.hubEpoch() ?? 0n;
  }
  async setHubEpoch(epoch: bigint): Promise<void> {
    await this.#opened().setHubEpoch(epoch);
  }
  async orderSeen(id: string): Promise<boolean> {
    return this.#opened().orderSeen(id);
  }
  async rememberOrder(id: string): Promise<void> {
    await this.#opened().rememberOrder(id);
  }
  problem(key: string, sealed: Uint8Array): string | undefined {
    return this.#opened().problem(key, sealed);
  }
  ring() {
    return this.#opened().ring();
  }
  onRewrapped(wake: () => void): () => void {
    return this.#whenOpen((store) => store.onRewrapped(wake));
  }
  async rotateKey(which: "data" | "kek"): Promise<string> {
    return this.#opened().rotateKey(which);
  }
  async entrust(pem: string): Promise<string> {
    return this.#opened().entrust(pem);
  }
  rolledBack(because: string): boolean {
    return this.#store?.rolledBack(because) ?? false;
  }
  storeEpoch(when: "opened" | "now"): bigint {
    return this.#store?.storeEpoch(when) ?? 0n;
  }
  async copyTo(each: Parameters<OpenedAgentStore["copyTo"]>[0]): Promise<void> {
    await this.#opened().copyTo(each);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancel.now();
    await this.#trying;
    this.#cancel.now();
    await this.#store?.close();
    this.#parts.release();
  }

  #opened(): MirroredStore {
    if (!this.#store) throw this.#fault;
    return this.#store;
  }

  #whenOpen(subscribe: (store: MirroredStore) => () => void): () => void {
    if (this.#store) return subscribe(this.#store);
    this.#late.set(subscribe, () => undefined);
    return () => {
      this.#late.get(subscribe)?.();
      this.#late.delete(subscribe);
    };
  }

  #tryLater(tookMs = 0): void {
    const { clock } = this.#parts.options;
    const restMs = Math.min(restMaxMs, Math.max(retryMs, restFactor * tookMs));
    this.#cancel.now = clock.wakeAt(clock.monotonicMs() + restMs, () => {
      this.#trying = this.#try();
    });
  }

  /** Never rejects. A fault that waiting does not mend stays as the trouble, and is not tried again. */
  async #try(): Promise<void> {
    const { options } = this.#parts;
    const { clock } = options;
    const beganMs = clock.monotonicMs();
    try {
      this.#store = await this.#openLate();
    } catch (error) {
      this.#fault = storeFault(error);
      if (!this.#closed && this.#fault.retry === "later") this.#tryLater(clock.monotonicMs() - beganMs);
      return;
    }
    keepUp(this.#store, options, this.#cancel);
    // First of all: whoever is woken may tell the hub an epoch, and it has to hear that of the opening before.
    const { identity, notes } = this.#store;
    if (!this.#closed) options.onOpened(identity.generation !== this.#identity.generation, notes);
    for (const subscribe of this.#late.keys()) this.#late.set(subscribe, subscribe(this.#store));
    // What could not be told is the next agent's to tell; a disk that refuses it again says so itself.
    if (this.#untold) await this.saveStep({ workload: "", untold: this.#untold }, "batched").catch(() => undefined);
  }

  async #openLate(): Promise<MirroredStore> {
    const { dataDir, options, mirror } = this.#parts;
    checkWay(dataDir);
    // A mirror is of a store that was: none is made in its place, and one that knows less than the mirror is another life.
    const make = existsSync(join(dataDir, "store", "CURRENT"));
    const { nodeId } = this.#identity;
    const opened = await openMended(dataDir, { ...options, nodeId, make, mirror });
    try {
      // One that cannot be read is mended by the next agent.
      const left = await opened.memory("alerts").catch(() => undefined);
      this.#left = Array.isArray(left) ? left : [];
      await tellOfLateOpening(opened, { wallMs: this.#sinceWallMs, because: this.#fault.saw }, options);
      return await mirrored(opened, dataDir, options);
    } catch (error) {
      await opened.close();
      throw error;
    }
  }
}
