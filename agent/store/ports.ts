import type { AuditRecord, DecisionRecord, Incident } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { Reading } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import type { Outbox } from "../uplink/ports.ts";
import type { ConfigVersionsWrite } from "./config-versions.ts";

/** What one decision leaves behind, written as one batch: all of it or nothing. */
export interface StepWrite {
  readonly workload: string;
  /** The machine's state as JSON-able data; replaces the earlier one. Absent: unchanged. */
  readonly state?: unknown;
  readonly decision?: DecisionRecord;
  /** The incident's new revision. */
  readonly incident?: Incident;
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
  /** What was remembered under the key; undefined when nothing was. */
  memory(key: MemoryKey): Promise<unknown>;

  /** Into the history for the hub; batched. */
  appendReadings(readings: readonly Reading[]): Promise<void>;
  /** Into the audit and the outbox; synced. */
  appendAudit(records: readonly AuditRecord[]): Promise<void>;

  /** Newest first. */
  incidents(limit: number, openOnly: boolean): Promise<Incident[]>;
  audit(limit: number): Promise<AuditRecord[]>;
  decisions(limit: number): Promise<DecisionRecord[]>;

  /** The workload's own keys. */
  get(workload: string, key: string): Promise<{ value: Uint8Array; revision: bigint } | undefined>;
  /** Synced. Rejects with STATE_CONFLICT when `expected` is given and is not the key's revision (0n: must not exist). */
  put(workload: string, key: string, value: Uint8Array, expected: bigint | undefined): Promise<bigint>;
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

  /** Undefined while writes work; else the error line that `status` and `doctor` show. */
  trouble(): string | undefined;
  close(): Promise<void>;
}
