import { hostname } from "node:os";
import { join } from "node:path";
import {
  type AuditRecord,
  AuditRecordSchema,
  DecisionRecordSchema,
  IncidentSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { ReadingBatchSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { uuid7 } from "@blueflame/shared/ids/uuid7.ts";
import type { Random } from "@blueflame/shared/random/random.ts";
import type { Database } from "@blueflame/shared/store/level/database.ts";
import { openDatabase } from "@blueflame/shared/store/level/open-database.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { sealText, unsealText } from "./codec.ts";
import { ConfigVersions } from "./config-versions.ts";
import { countOpen } from "./identity.ts";
import { Incidents } from "./incidents.ts";
import { DurableOutbox, isReading, type OutboxMax } from "./outbox.ts";
import type { AgentStore, StepWrite, StoredWorkload } from "./ports.ts";
import { type Part, Rows, writeParts } from "./rows.ts";
import { WorkloadKeys } from "./workload-keys.ts";

/** How much is kept; the oldest goes first. */
export const keeps = {
  decisions: 2000,
  audit: 20_000,
  closedIncidents: 1000,
  orders: 1000,
  outbox: { records: 50_000, bytes: 64 * 1024 * 1024 },
} as const;

/** A small node's memory: the agent writes a few kilobytes a second at most. */
const sizes = { cacheBytes: 1024 * 1024, writeBufferBytes: 2 * 1024 * 1024 };

export interface AgentStoreOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Undefined: whoever the store belongs to; a new one belongs to `defaultNodeId`, else to the host's name. */
  readonly nodeId: string | undefined;
  readonly defaultNodeId?: string;
  readonly bootId: string;
  readonly outboxMax?: OutboxMax;
  /** False: a damaged store is STORE_DAMAGED at once; by default it is repaired in place. */
  readonly repair?: boolean;
  /** What is known of the last open from outside the store. */
  readonly witness?: { readonly generation: string; readonly session: string } | undefined;
}

/** The agent's store, and what only its opener needs. */
export interface OpenedAgentStore extends AgentStore {
  /** What a person should know of the opening; empty when all was well. */
  readonly notes: readonly string[];
}

/**
 * Opens the agent's memory in `dir/store`, for this process alone; makes it on the first run. The caller closes. Throws
 * STORE_LOCKED, STORE_MISSING, STORE_DAMAGED, STORE_NEWER, STORE_WRITE_FAILED, DATA_DIR_UNUSABLE, DATA_DIR_OF_ANOTHER.
 *
 *   meta/identity          -> node id, generation, incarnation, session, boot id of the last open, as JSON
 *   meta/hub-epoch         -> highest epoch seen
 *   meta/acked             -> highest seq the hub has acknowledged
 *   workload/<name>        -> the machine's state as JSON: intent, ladder position, budgets, identity of the process
 *   memory/<key>           -> what a machine about the node remembers, as JSON
 *   token/<name>           -> SHA-256 of the workload's token
 *   incident/<id>          -> Incident, its latest revision
 *   open/<id>              -> nothing      exists exactly while the incident is open
 *   closed/<n>             -> id           in the order of closing; the newest 1,000 keep their incident
 *   audit/<n>              -> AuditRecord     newest 20,000
 *   decision/<n>           -> DecisionRecord  newest 2,000
 *   order/<n>              -> id of an order  newest 1,000
 *   outbox/<seq kind size> -> Record, with its seq
 *   kv/<name>\0<key>       -> revision:8 value
 *   config/<name>          -> versions of the workload's config, as JSON
 *   content/<name>\0<sum>  -> what one of its config files held, by its SHA-256
 *
 * <n> and <seq> are 14 hexadecimal digits: key order is time order. Every value passes the codec.
 */
export async function openAgentStore(dir: string, options: AgentStoreOptions): Promise<OpenedAgentStore> {
  const { clock, random } = options;
  let onSynced = () => {};
  const { repair = true } = options;
  const database = await openDatabase(join(dir, "store"), { clock, sizes, repair, onSynced: () => onSynced() });
  try {
    const identity = await countOpen(database, {
      nodeId: options.nodeId,
      defaultNodeId: options.defaultNodeId ?? hostname(),
      bootId: options.bootId,
      newId: () => uuid7(clock.wallMs(), random),
      witness: options.witness,
    });
    const outbox = new DurableOutbox(database, clock, options.outboxMax ?? keeps.outbox);
    onSynced = () => outbox.synced();
    const tables: Tables = {
      audit: new Rows(database, "audit", keeps.audit),
      decisions: new Rows(database, "decision", keeps.decisions),
      incidents: new Incidents(database, keeps.closedIncidents),
      keys: new WorkloadKeys(database),
      orders: new Rows(database, "order", keeps.orders),
      outbox,
    };
    for (const table of Object.values(tables)) await table.load();
    return await assemble(database, identity, tables);
  } catch (error) {
    await database.close();
    throw error;
  }
}

interface Tables {
  readonly audit: Rows;
  readonly decisions: Rows;
  readonly incidents: Incidents;
  readonly keys: WorkloadKeys;
  readonly orders: Rows;
  readonly outbox: DurableOutbox;
}

async function assemble(
  database: Database,
  identity: AgentStore["identity"],
  tables: Tables,
): Promise<OpenedAgentStore> {
  const { audit, decisions, incidents, keys, orders, outbox } = tables;
  const configs = new ConfigVersions(database);
  const epoch = await database.get(epochKey);
  let hubEpoch = epoch ? BigInt(unsealText(epochKey, epoch)) : 0n;
  const seen = new Set((await orders.all()).map(({ value }) => Buffer.from(value).toString()));
  return {
    identity,
    outbox,
    notes: database.notes,
    workloads: () => workloads(database),
    saveStep: (write, durability) => saveStep(database, tables, write, durability === "synced"),
    async forgetWorkload(name) {
      const rows = [`workload/${name}`, `token/${name}`, ...(await configs.keysOf(name))];
      const gone = rows.map((key) => ({ type: "del", key }) as const);
      await database.submit({ build: () => gone }, true);
    },
    async memory(key) {
      const found = await database.get(`memory/${key}`);
      return found && JSON.parse(unsealText(`memory/${key}`, found));
    },
    async appendReadings(readings) {
      const bytes = toBinary(ReadingBatchSchema, create(ReadingBatchSchema, { readings: [...readings] }));
      await writeParts(database, false, () => [outbox.stage({ kind: "r", bytes })]);
    },
    async appendAudit(records) {
      const rows = records.map(auditRow);
      await writeParts(database, true, () => rows.flatMap((bytes) => auditParts(tables, bytes)));
    },
    incidents: (limit, openOnly) => incidents.newest(limit, openOnly),
    audit: async (limit) => (await audit.newest(limit)).map((bytes) => fromBinary(AuditRecordSchema, bytes)),
    decisions: async (limit) => (await decisions.newest(limit)).map((bytes) => fromBinary(DecisionRecordSchema, bytes)),
    get: (workload, key) => keys.get(workload, key),
    put: (workload, key, value, expected) => keys.put(workload, key, value, expected),
    async saveTokenHash(workload, hash) {
      const part = putText(`token/${workload}`, hash);
      await writeParts(database, false, () => [part]);
    },
    tokenHashes: () => tokenHashes(database),
    configVersions: (workload) => configs.load(workload),
    configContents: (workload, sums) => configs.contents(workload, sums),
    saveConfigVersions: (workload, write) => configs.save(workload, write),
    hubEpoch: () => hubEpoch,
    async setHubEpoch(next) {
      const landed = () => {
        hubEpoch = next;
      };
      await writeParts(database, true, () => [{ ...putText(epochKey, String(next)), landed }]);
    },
    orderSeen: async (id) => seen.has(id),
    async rememberOrder(id) {
      await writeParts(database, true, () => [
        { ...orders.append(Buffer.from(id)), landed: () => noteOrder(seen, id) },
      ]);
    },
    copyTo: (each) => database.scan(wholeRange, (key, sealed) => (isReading(key) ? undefined : each(key, sealed))),
    trouble: () => database.trouble(),
    async close() {
      await outbox.settled();
      await database.close();
    },
  };
}

const epochKey = "meta/hub-epoch";
/** Every table; the keys before it are the database's own. */
const wholeRange = { gte: "a", lt: "\x7f" };

/** Sets keep the order of adding: the first is the oldest. */
function noteOrder(seen: Set<string>, id: string): void {
  seen.add(id);
  for (const oldest of seen) {
    if (seen.size <= keeps.orders) return;
    seen.delete(oldest);
  }
}
function putText(key: string, text: string): Part {
  return { writes: [{ type: "put", key, value: sealText(key, text) }] };
}

/** Everything is serialized before the batch is asked for: what the caller changes afterwards is not written. */
async function saveStep(database: Database, tables: Tables, write: StepWrite, synced: boolean): Promise<void> {
  const { incident, decision, workload } = write;
  const state = write.state === undefined ? undefined : putText(`workload/${workload}`, JSON.stringify(write.state));
  const { memory } = write;
  const remembered = memory && putText(`memory/${memory.key}`, JSON.stringify(memory.value));
  const untold = write.untold === undefined ? undefined : putText("memory/alerts", JSON.stringify(write.untold));
  const decisionBytes = decision && toBinary(DecisionRecordSchema, decision);
  const incidentBytes = incident && toBinary(IncidentSchema, incident);
  const audit = (write.audit ?? []).map(auditRow);
  await writeParts(database, synced, () => {
    const parts: Part[] = [];
    if (state) parts.push(state);
    if (remembered) parts.push(remembered);
    if (untold) parts.push(untold);
    if (decisionBytes) {
      parts.push(tables.decisions.append(decisionBytes), tables.outbox.stage({ kind: "d", bytes: decisionBytes }));
    }
    if (incident && incidentBytes) {
      parts.push(...tables.incidents.stage(incident, incidentBytes));
      parts.push(tables.outbox.stage({ kind: "i", bytes: incidentBytes }));
    }
    for (const bytes of audit) parts.push(...auditParts(tables, bytes));
    return parts;
  });
}
function auditRow(record: AuditRecord): Uint8Array {
  return toBinary(AuditRecordSchema, record);
}
function auditParts(tables: Tables, bytes: Uint8Array): Part[] {
  return [tables.audit.append(bytes), tables.outbox.stage({ kind: "a", bytes })];
}

async function workloads(database: Database): Promise<StoredWorkload[]> {
  const found = await database.entries({ gte: "workload/", lt: "workload0" });
  return found.map(([key, value]) => {
    const state: unknown = JSON.parse(unsealText(key, value));
    return { name: key.slice("workload/".length), state };
  });
}
async function tokenHashes(database: Database): Promise<Map<string, string>> {
  const found = await database.entries({ gte: "token/", lt: "token0" });
  return new Map(found.map(([key, value]) => [unsealText(key, value), key.slice("token/".length)]));
}
