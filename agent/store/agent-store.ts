import { hostname } from "node:os";
import { join } from "node:path";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import {
  AuditOutcome,
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
import { compactedText } from "@blueflame/shared/store/level/space.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { Limits } from "../state/risk.ts";
import { AuditTrail, type TrailOwner } from "./audit-trail.ts";
import { Codec, textOf } from "./codec.ts";
import { ConfigVersions } from "./config-versions.ts";
import { type Form, sealedForm, storeFormat } from "./form.ts";
import { countOpen } from "./identity.ts";
import { Incidents } from "./incidents.ts";
import { ringKey } from "./keys/ring-file.ts";
import { makeRing, openRing, StoreKeys, storedRing } from "./keys/store-keys.ts";
import { migratePlain, ownerOfPlain } from "./migrate.ts";
import { DurableOutbox, type OutboxMax } from "./outbox.ts";
import { kindNames } from "./outbox-record.ts";
import { type BadRow, isReading } from "./outbox-rows.ts";
import type { AgentStore, StepWrite, StoredWorkload } from "./ports.ts";
import { unreadable } from "./readable.ts";
import { bytesIn, type Part, pageOf, Rows, writeParts } from "./rows.ts";
import { SealedDatabase } from "./sealed-database.ts";
import { suspect } from "./suspect.ts";
import { type Said, WorkloadSpaces } from "./workload-spaces.ts";

/** How much is kept; the oldest goes first. */
export const keeps = {
  decisions: 2000,
  audit: 20_000,
  closedIncidents: 1000,
  orders: 1000,
  outbox: { records: 50_000, bytes: 64 * 1024 * 1024 },
  /** On the disk; beyond it no readings are kept. Twice what all tables may hold, for what LevelDB has not compacted yet. */
  storeBytes: 512 * 1024 * 1024,
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
  /** So many records of the audit are kept. */
  readonly auditMax?: number;
  /** False: a damaged store is STORE_DAMAGED at once; by default it is repaired in place. */
  readonly repair?: boolean;
  /** The risk limits that the config declares, by workload. */
  readonly riskLimits?: ReadonlyMap<string, Limits>;
  /** False: a store that never was is STORE_MISSING; by default it is made. */
  readonly make?: boolean;
  /** Told what the store does by itself that a person should know. */
  readonly told?: (text: string) => void;
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
 *   !ring                  -> the wrapped data keys (keys/ring.ts)
 *   meta/identity          -> node id, generation, incarnation, session, boot id of the last open, lives in the outbox, as JSON
 *   meta/hub-epoch         -> highest epoch seen
 *   meta/acked             -> highest seq the hub has acknowledged
 *   meta/sent              -> the hub may have seen records up to this seq
 *   workload/<name>        -> the machine's state as JSON: intent, ladder position, budgets, identity of the process
 *   memory/<key>           -> what a machine about the node remembers, as JSON
 *   token/<name>           -> SHA-256 of the workload's token
 *   incident/<id>          -> Incident, its latest revision
 *   open/<id>              -> nothing      exists exactly while the incident is open
 *   closed/<n>             -> id           in the order of closing; the newest 1,000 keep their incident
 *   audit/<n>              -> AuditRecord     newest 20,000, each with the hash of the one before
 *   meta/audit             -> how the chain of the audit stands, as JSON
 *   meta/audit-signed      -> what the hub has countersigned of it, as JSON
 *   decision/<n>           -> DecisionRecord  newest 2,000
 *   order/<n>              -> id of an order  newest 1,000
 *   outbox/<seq kind size> -> Record, with its seq
 *   kv/, name/, log/, entry/, trade/, risk/, request/, space/  -> what workloads keep: see workload-keys.ts
 *   meta/doubt             -> how often, when and why the state was doubted, as JSON
 *   config/<name>          -> versions of the workload's config, as JSON
 *   content/<name>\0<sum>  -> what one of its config files held, by its SHA-256
 *
 * <n> and <seq> are 14 hexadecimal digits: key order is time order. Every value is sealed, and so is what stands behind a
 * NUL in a key (codec.ts). Also throws STORE_KEY_MISSING, STORE_KEY_LOOSE, STORE_KEY_UNREADABLE, STORE_KEY_WRONG.
 */
export async function openAgentStore(dir: string, options: AgentStoreOptions): Promise<OpenedAgentStore> {
  const { clock, random } = options;
  let onSynced = () => {};
  const raw = await openDatabase(join(dir, "store"), {
    clock,
    sizes,
    repair: options.repair ?? true,
    make: options.make ?? true,
    format: storeFormat,
    bytesMax: keeps.storeBytes,
    onSynced: () => onSynced(),
    onCompacted: (done) => options.told?.(compactedText(done)),
  });
  let keys: StoreKeys | undefined;
  try {
    const sealed = await sealedBy(raw, dir, options);
    keys = sealed.keys;
    const { database } = sealed;
    const { identity, lives } = await countOpen(database, {
      nodeId: options.nodeId,
      defaultNodeId: options.defaultNodeId ?? hostname(),
      bootId: options.bootId,
      owner: sealed.owner,
      newId: () => uuid7(clock.wallMs(), random),
      witness: options.witness,
    });
    const newId = () => uuid7(clock.wallMs(), random);
    const { nodeId, owner, generation } = identity;
    const told = ({ record, because }: BadRow) =>
      auditOf(tables, { nodeId, wallMs: () => clock.wallMs(), newId })({
        actor: "agent",
        action: "outbox.damaged",
        target: `node/${nodeId}`,
        because: `record ${record.seq} (${kindNames[record.kind]}) of the outbox was given up, the hub is told so: ${because}`,
        outcome: AuditOutcome.FAILURE,
      });
    const outbox = new DurableOutbox(database, clock, options.outboxMax ?? keeps.outbox, { lives, told });
    onSynced = () => outbox.synced();
    const tables: Tables = {
      audit: new AuditTrail(
        database,
        {
          nodeId,
          owner,
          generation,
          wallMs: () => clock.wallMs(),
          newId,
          told: (record) => auditParts(tables, tables.audit.bytesOf(record)),
        },
        options.auditMax ?? keeps.audit,
      ),
      decisions: new Rows(database, "decision", keeps.decisions),
      incidents: new Incidents(database, keeps.closedIncidents),
      orders: new Rows(database, "order", keeps.orders),
      outbox,
    };
    for (const table of Object.values(tables)) await table.load();
    const spaces = await openSpaces(database, identity, tables, options);
    keys.watch(database);
    const opened = { raw, database, keys, form: sealedForm(sealed.codec), dataDir: dir };
    return await assemble(opened, identity, { ...tables, spaces });
  } catch (error) {
    await keys?.close();
    await raw.close();
    throw error;
  }
}

/** The store as its tables see it, with its keys; a plain one is sealed first. */
async function sealedBy(raw: Database, dataDir: string, { clock, random }: AgentStoreOptions) {
  const found = storedRing(await raw.get(ringKey), dataDir);
  const wallMs = clock.wallMs();
  const owner = (await ownerOfPlain(raw)) ?? uuid7(wallMs, random);
  if (!found && raw.format === storeFormat && (await raw.keys({ ...wholeRange, limit: 1 })).length > 0) {
    throw new Fault("STORE_DAMAGED", "the keys of the store are gone, and its values with them");
  }
  const { ring, kek } = found ? openRing(found, dataDir) : makeRing(dataDir, owner, wallMs);
  const codec = new Codec(ring);
  const database = new SealedDatabase(raw, codec, (fault) => void suspect(dataDir, fault.message));
  const keys = await StoreKeys.start({ raw, codec, kek, dataDir, clock });
  if (raw.format < storeFormat) await migratePlain({ raw, codec, ring: keys.stored(), dataDir, wallMs });
  return { database, codec, keys, owner: ring.owner };
}

interface Opened {
  readonly raw: Database;
  readonly database: SealedDatabase;
  readonly keys: StoreKeys;
  readonly form: Form;
  readonly dataDir: string;
}

interface Tables {
  readonly audit: AuditTrail;
  readonly decisions: Rows;
  readonly incidents: Incidents;
  readonly orders: Rows;
  readonly outbox: DurableOutbox;
}

/** How a table puts a record into the audit, as a part of its own batch. */
function auditOf(tables: Tables, { nodeId, wallMs, newId }: Pick<TrailOwner, "nodeId" | "wallMs" | "newId">) {
  return (said: Said & { readonly outcome?: AuditOutcome }): readonly Part[] => {
    const at = timestampFromMs(Math.floor(wallMs()));
    const facts = { outcome: AuditOutcome.SUCCESS, ...said, id: newId(), at, nodeId };
    return auditParts(tables, tables.audit.bytesOf(create(AuditRecordSchema, facts)));
  };
}

async function openSpaces(
  database: SealedDatabase,
  identity: AgentStore["identity"],
  tables: Tables,
  { clock, random, riskLimits }: AgentStoreOptions,
): Promise<WorkloadSpaces> {
  const { nodeId, generation, owner } = identity;
  const wallMs = () => clock.wallMs();
  const spaces = new WorkloadSpaces(database, {
    wallMs,
    generation,
    nodeId,
    // The owner is the generation of the node's first store.
    heir: generation !== owner,
    audit: auditOf(tables, { nodeId, wallMs, newId: () => uuid7(wallMs(), random) }),
    limits: riskLimits,
  });
  await spaces.load();
  return spaces;
}

async function assemble(
  { raw, database, keys: storeKeys, form, dataDir }: Opened,
  identity: AgentStore["identity"],
  tables: Tables & { readonly spaces: WorkloadSpaces },
): Promise<OpenedAgentStore> {
  const { audit, decisions, incidents, orders, outbox, spaces } = tables;
  const appendAudit = async (records: readonly AuditRecord[]): Promise<void> => {
    const rows = records.map((record) => audit.bytesOf(record));
    await writeParts(database, true, () => rows.flatMap((bytes) => auditParts(tables, bytes)), bytesIn(rows));
  };
  const configs = new ConfigVersions(database);
  const epoch = await database.get(epochKey);
  let hubEpoch = epoch ? BigInt(textOf(epoch)) : 0n;
  const seen = new Set((await orders.all()).map(({ value }) => Buffer.from(value).toString()));
  return {
    identity,
    outbox,
    notes: [...raw.notes, ...storeKeys.notes],
    workloads: () => workloads(database),
    saveStep: (write, durability) => saveStep(database, tables, write, durability === "synced"),
    async forgetWorkload(name) {
      const rows = [`workload/${name}`, `token/${name}`, ...(await configs.keysOf(name))];
      const gone = rows.map((key) => ({ type: "del", key }) as const);
      await database.submit({ build: () => gone }, true);
    },
    async memory(key) {
      const found = await database.get(`memory/${key}`);
      return found && JSON.parse(textOf(found));
    },
    async appendReadings(readings) {
      const bytes = toBinary(ReadingBatchSchema, create(ReadingBatchSchema, { readings: [...readings] }));
      await writeParts(database, "spare", () => [outbox.stage({ kind: "r", bytes })], bytes.byteLength);
    },
    appendAudit,
    incidents: (page, openOnly) => incidents.newest(pageOf(page), openOnly),
    incidentsOpened: () => incidents.opened(),
    openIncidents: (limit) => incidents.openNow(limit),
    audit: (page) => audit.newest(pageOf(page)),
    auditHead: () => audit.head(),
    readAudit: (after) => audit.page(after),
    countersigned: (head, hubKey) =>
      audit.countersigned(head, hubKey, (record) => auditParts(tables, audit.bytesOf(record))),
    decisions: async (page) =>
      (await decisions.newest(pageOf(page))).map((bytes) => fromBinary(DecisionRecordSchema, bytes)),
    async get(workload, key) {
      const found = await spaces.of(workload).get(key);
      return found && { value: found.value, revision: BigInt(found.revision) };
    },
    async put(workload, key, value, expected) {
      const put = { is: "put", key, value, expected: expected === undefined ? undefined : Number(expected) } as const;
      const request = { id: "", digest: "", operations: [put], onlyWhileOpen: false };
      return BigInt((await spaces.of(workload).commit(request)).results[0]?.revision ?? 0);
    },
    space: (workload) => spaces.of(workload),
    spaces: () => spaces.names(),
    forgetSpace: (workload, person, reason) => spaces.forget(workload, person, reason),
    doubt: (because) => spaces.doubt(because),
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
    copyTo: (each) => raw.scan(wholeRange, (key, sealed) => (isReading(key) ? undefined : each(key, sealed))),
    ring: () => storeKeys.stored(),
    onRewrapped: (wake) => storeKeys.onRewrapped(wake),
    problem: (place, sealed) => unreadable(form, place, sealed),
    async rotateKey(which) {
      if (which === "kek") return (await storeKeys.rotateKek()).id;
      await storeKeys.rotate(database);
      return String(storeKeys.current);
    },
    entrust: (pem) => storeKeys.entrust(pem),
    rolledBack: (because) => suspect(dataDir, because, "rolledBack"),
    storeEpoch: (when) => BigInt(when === "opened" ? raw.openedEpoch : raw.epoch),
    trouble: () => database.trouble(),
    async close() {
      await outbox.settled();
      await audit.settled();
      await storeKeys.close();
      await raw.close();
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
  return { writes: [{ type: "put", key, value: Buffer.from(text) }] };
}

/** Everything is serialized before the batch is asked for: what the caller changes afterwards is not written. */
async function saveStep(database: SealedDatabase, tables: Tables, write: StepWrite, synced: boolean): Promise<void> {
  const { incident, decision, workload, others = [] } = write;
  const state = write.state === undefined ? undefined : putText(`workload/${workload}`, JSON.stringify(write.state));
  const { memory } = write;
  const remembered = memory && putText(`memory/${memory.key}`, JSON.stringify(memory.value));
  const untold = write.untold === undefined ? undefined : putText("memory/alerts", JSON.stringify(write.untold));
  const decisionBytes = decision && toBinary(DecisionRecordSchema, decision);
  const told = incident ? [...others, incident] : others;
  const revisions = told.map((one) => ({ one, bytes: toBinary(IncidentSchema, one) }));
  const audit = (write.audit ?? []).map((record) => tables.audit.bytesOf(record));
  const rows = [state, remembered, untold].flatMap((one) => one ?? []);
  const make = () => {
    const parts: Part[] = [...rows];
    if (decisionBytes) {
      parts.push(tables.decisions.append(decisionBytes), tables.outbox.stage({ kind: "d", bytes: decisionBytes }));
    }
    for (const { one, bytes } of revisions) {
      if (one !== incident && tables.incidents.has(one)) continue;
      parts.push(...tables.incidents.stage(one, bytes), ...tables.outbox.stageIncident(one.id, bytes));
    }
    for (const bytes of audit) parts.push(...auditParts(tables, bytes));
    return parts;
  };
  const held = [...rows, decisionBytes, ...revisions.map(({ bytes }) => bytes), ...audit];
  await writeParts(database, synced, make, bytesIn(held));
}
function auditParts(tables: Tables, bytes: Uint8Array): Part[] {
  const { chained, part } = tables.audit.append(bytes);
  return [part, ...chained.map((one) => tables.outbox.stage({ kind: "a", bytes: one }))];
}

async function workloads(database: SealedDatabase): Promise<StoredWorkload[]> {
  const found = await database.entries({ gte: "workload/", lt: "workload0" });
  return found.map(([key, value]) => {
    const state: unknown = JSON.parse(textOf(value));
    return { name: key.slice("workload/".length), state };
  });
}
async function tokenHashes(database: SealedDatabase): Promise<Map<string, string>> {
  const found = await database.entries({ gte: "token/", lt: "token0" });
  return new Map(found.map(([key, value]) => [textOf(value), key.slice("token/".length)]));
}
