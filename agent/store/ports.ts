import type { Link } from "@blueflame/shared/audit/chain.ts";
import type { ChainHeader, SignedHead } from "@blueflame/shared/audit/check.ts";
import type { AuditRecord, DecisionRecord, Incident } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { Reading } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import type { Outbox } from "../uplink/ports.ts";
import type { ConfigVersionsWrite } from "./config-versions.ts";
import type { StoredRing } from "./keys/ring.ts";
import type { Page } from "./rows.ts";
import type { Forgotten, WorkloadSpace } from "./workload-spaces.ts";

/** What one decision leaves behind, written as one batch: all of it or nothing. */
export interface StepWrite {
  readonly workload: string;
  /** The machine's state as JSON-able data; replaces the earlier one. Absent: unchanged. */
  readonly state?: unknown;
  readonly decision?: DecisionRecord;
  /** The incident's new revision. */
  readonly incident?: Incident;
  /** Newest revisions of other incidents, some of them for the second time: what is there already is not written again. */
  readonly others?: readonly Incident[];
  readonly audit?: readonly AuditRecord[];
  /** What a machine that is about the node remembers, in the same batch. */
  readonly memory?: { readonly key: MemoryKey; readonly value: unknown };
  /** What people have yet to be told, as JSON-able data; replaces what is remembered as `alerts`. */
  readonly untold?: unknown;
}

/** What is remembered of the node as a whole, each as JSON-able data, at most 1 MiB. */
export type MemoryKey = "node" | "triggers" | "learning" | "slo" | "anomaly" | "guard" | "alerts";

/** What is known of a workload from before. */
export interface StoredWorkload {
  readonly name: string;
  readonly state: unknown;
}

/** Who this store belongs to and how often it was opened. */
export interface StoreIdentity {
  readonly nodeId: string;
  /** UUID of this store; a restored or rebuilt store gets a new one. */
  readonly generation: string;
  /** What this node's processes are marked with: the generation of its first store, kept through repairs and restores. */
  readonly owner: string;
  /** Lives of the node's identity, from 1. */
  readonly incarnation: bigint;
  /** Opens of this store within the incarnation, from 1; durable before open returns. */
  readonly session: bigint;
  /** The boot id at the previous open; empty at the first one. */
  readonly previousBootId: string;
}

/** Records of the audit, oldest first. */
export interface AuditPage {
  /** On the first page only. */
  readonly header?: ChainHeader;
  readonly records: readonly AuditRecord[];
  /** For the next page; empty when this was the last one. */
  readonly next: string;
}

/**
 * The agent's memory: one LevelDB, opened in one place. Writes are `synced` (durable over a power cut before they resolve) or
 * `batched` (durable over the death of the process at once, over a power cut within 100 ms). Every write method rejects with
 * STORE_WRITE_FAILED when the disk refuses; nothing of that write is then acknowledged, and later writes are accepted only
 * after the store was reopened and read back. The opener closes.
 */
export interface AgentStore {
  readonly identity: StoreIdentity;
  readonly outbox: Outbox;

  workloads(): Promise<StoredWorkload[]>;
  /** Also puts decision, incident and audit into the outbox. */
  saveStep(write: StepWrite, durability: "synced" | "batched"): Promise<void>;
  forgetWorkload(name: string): Promise<void>;
  /** What was remembered under the key; undefined when nothing was, and for a process that began while the store did not open. */
  memory(key: MemoryKey): Promise<unknown>;

  /** Into the history for the hub; batched. Rejects with STORE_SPACE_LOW while only what must be kept is. */
  appendReadings(readings: readonly Reading[]): Promise<void>;
  /** Into the audit, each chained to the one before, and the outbox; synced. */
  appendAudit(records: readonly AuditRecord[]): Promise<void>;

  /** Newest first; a number is a page of so many. */
  incidents(page: number | Page, openOnly: boolean): Promise<Incident[]>;
  /** How many were ever opened, also those that are not kept any more. */
  incidentsOpened(): number;
  /** The newest revisions of those that are open, as they are in memory; newest first. */
  openIncidents(limit: number): Incident[];
  audit(page: number | Page): Promise<AuditRecord[]>;
  /** The audit's newest record; undefined while it is not known. */
  auditHead(): Link | undefined;
  /** A page of the audit, oldest first. `after` is empty for the first, which says how the chain stands, else what the page before said. */
  readAudit(after: string): Promise<AuditPage>;
  /** Keeps what the hub has countersigned; the caller has checked it. What differs from the store goes into the audit, once. */
  countersigned(head: SignedHead, hubKey: string): Promise<void>;
  decisions(page: number | Page): Promise<DecisionRecord[]>;

  /** The workload's own keys, in short: as {@link space} has them. */
  get(workload: string, key: string): Promise<{ value: Uint8Array; revision: bigint } | undefined>;
  /** Synced. Rejects with STATE_CONFLICT when `expected` is given and is not the key's revision (0n: must not exist). */
  put(workload: string, key: string, value: Uint8Array, expected: bigint | undefined): Promise<bigint>;
  /** What a workload keeps, itself; of a name that nobody has used it is empty. */
  space(workload: string): WorkloadSpace;
  /** Names of the workloads that keep something. */
  spaces(): string[];
  /** A person gives up all that a workload keeps; see `WorkloadSpaces.forget`. */
  forgetSpace(workload: string, person: string, reason: string): Promise<Forgotten>;
  /**
   * Something outside says that this store has forgotten what it had acknowledged: every risk state counts as locked until a
   * person releases it. Synced, with a record in the audit.
   */
  doubt(because: string): Promise<void>;
  /** SHA-256 of a workload's token → its name, kept over restarts; a token is 256 random bits. */
  saveTokenHash(workload: string, hash: string): Promise<void>;
  tokenHashes(): Promise<Map<string, string>>;

  /** The kept versions of a workload's config, as they were saved; undefined when there are none. */
  configVersions(workload: string): Promise<unknown>;
  /** What its config files held, by SHA-256; what is not kept is left out. */
  configContents(workload: string, sums: readonly string[]): Promise<Map<string, Uint8Array>>;
  /** Synced, all of it or nothing. */
  saveConfigVersions(workload: string, write: ConfigVersionsWrite): Promise<void>;

  hubEpoch(): bigint;
  setHubEpoch(epoch: bigint): Promise<void>;
  orderSeen(id: string): Promise<boolean>;
  rememberOrder(id: string): Promise<void>;

  /**
   * Every row as it was at one moment, in key order and sealed as it is on the disk, without readings that wait for the hub:
   * what a snapshot holds. The store goes on meanwhile. Rejects with what `each` throws, and with STORE_DAMAGED or
   * STORE_WRITE_FAILED when the rows cannot be read to their end.
   */
  copyTo(each: (key: string, sealed: Uint8Array) => Promise<void> | void): Promise<void>;

  /** Why what stands at this key cannot be what was written there; undefined when it can be. */
  problem(key: string, sealed: Uint8Array): string | undefined;
  /** The wrapped keys that a copy of the rows needs beside the key-encryption key; nothing in it is secret. */
  ring(): StoredRing;
  /** Called when the store got other holders of its keys: copies from before need the earlier ones. Returns how to end that. */
  onRewrapped(wake: () => void): () => void;
  /**
   * Another key: `data` seals from now on, and what is there is sealed anew by and by; `kek` opens the data keys from now on.
   * Resolves with the new key's id when that is durable.
   */
  rotateKey(which: "data" | "kek"): Promise<string>;
  /** From now on the holder of the private half of this key (PEM), with `nobody` no one, can open the store too. Resolves with its id; rejects with CONFIG_INVALID. */
  entrust(pem: string): Promise<string>;
  /** Groups of writes on the disk: it only grows within a generation, and a store that was put back has a lower one. */
  storeEpoch(when: "opened" | "now"): bigint;

  /** An older copy of this store was put back: its next opening begins a new life. False when that is known already. */
  rolledBack(because: string): boolean;

  /** Undefined while writes work and no record is damaged; else the error line that `status` and `doctor` show. */
  trouble(): string | undefined;
  close(): Promise<void>;
}
