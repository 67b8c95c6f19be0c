import { invariant } from "@blueflame/shared/errors/fault.ts";
import {
  AuditOutcome,
  AuditRecordSchema,
  DecisionRecordSchema,
  type Incident,
  IncidentState,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import {
  type Record as LinkRecord,
  OrderOutcome,
  type OrderResult,
  ReadingBatchSchema,
  RecordSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { itemLimits } from "@blueflame/shared/store/limits.ts";
import type { Item, Log } from "@blueflame/shared/store/log.ts";
import type { Op } from "@blueflame/shared/store/state.ts";
import { create, toBinary } from "@bufbuild/protobuf";
import { durationFromMs, type Timestamp, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { isGeneration } from "../ingest/session.ts";
import { type Chain, type Chains, chainBytes, followed, isNext } from "./chains.ts";
import type { Commits } from "./commits.ts";
import { chainKey, closedIncidentItem, incidentKey, streams, throughKey } from "./keys.ts";
import { placeBytes } from "./places.ts";
import { incidentBytes } from "./rows.ts";

/** Fresh records of one node's outbox, ascending. */
export interface Batch {
  readonly nodeId: string;
  readonly site: string;
  readonly generation: string;
  readonly records: readonly LinkRecord[];
}

/** What the hub has to hear of a batch, once it is durable. */
export interface Kept {
  /** The newest revision of each incident, oldest record first. */
  readonly incidents: readonly Incident[];
  readonly orderResults: readonly OrderResult[];
  /** Records of kinds that this hub does not know, and incidents beyond the bound: kept as they are. */
  readonly unknown: number;
  /** Why the node's audit does not hang together any more; told once for each generation. */
  readonly brokenAudit: readonly string[];
}

interface Waiting {
  readonly batch: Batch;
  readonly resolve: (kept: Kept) => void;
  readonly reject: (reason: unknown) => void;
}

/** A hundred timeline entries fit well; more would not leave room for anything else in a commit. */
const incidentBytesMax = 256 * 1024;
/** A node with a hundred workloads has at most a hundred; open ones stand in memory, so no node may have them without end. */
export const openIncidentsMax = 1_000;
/** A batch of a window has hardly more than one; the records of any further one count as the session's own. */
const livesPerBatch = 8;
/** The places of outboxes stand in memory: beyond so many of a node, the records of a life that is not known count as the session's own. */
export const livesPerNode = 200;
/** Of so many outboxes it is remembered that a write was cut short; who asks for more gets what the disk says. */
const undecidedMax = 10_000;
/** So much shares one write; beyond it the next write takes it. More records at once would keep beats waiting. */
const batchesPerWrite = 64;
const recordsPerWrite = 2_000;

/** What it works with. */
interface Intake {
  readonly log: Log;
  readonly commits: Commits;
  readonly wallMs: () => number;
  readonly open: OpenIncidents;
  readonly chains: Chains;
  /** The highest durable seq of an outbox. */
  readonly throughOf: (nodeId: string, generation: string) => Promise<bigint>;
  /** Of how many lives of a node's store the outbox has a place here. */
  readonly livesOf: (nodeId: string) => Promise<number>;
}

/**
 * Writes batches of many nodes together, one write after the other. What a record is goes into the logs first, where
 * writing it again is harmless; the node's place in its outbox follows, in one commit with its incidents. A crash at any
 * point in between makes the node send the same records again, and they are found to be there: exactly once.
 */
export function intake({ log, commits, wallMs, open, chains, throughOf, livesOf }: Intake) {
  let waiting: Waiting[] = [];
  let running = false;

  /** Up to where an outbox was known before a write that was cut short: what came of that was told to nobody, whatever is on the disk. */
  const undecided = new Map<string, bigint>();
  const before = async (nodeId: string, life: string) =>
    undecided.get(throughKey(nodeId, life)) ?? (await throughOf(nodeId, life));
  const writeAll = async (batches: readonly Batch[]): Promise<Kept[]> => {
    const fresh = await Promise.all(batches.map((batch) => withoutKnown(batch, { throughOf: before, livesOf })));
    const outboxes = fresh.flatMap(({ nodeId, known }) =>
      [...known].map(([life, through]) => [throughKey(nodeId, life), through] as const),
    );
    for (const [key, through] of outboxes) if (undecided.size < undecidedMax) undecided.set(key, through);
    const kept = await write(fresh);
    for (const [key] of outboxes) undecided.delete(key);
    return kept;
  };
  const write = async (fresh: readonly Fresh[]): Promise<Kept[]> => {
    const sorted = fresh.map((batch) => sortOut(batch, wallMs(), open.get(batch.nodeId), chains));
    const items = new Map<string, Item[]>();
    for (const { logged } of sorted) {
      for (const { stream, item } of logged) {
        const list = items.get(stream);
        // Not a new list for each: 64 full batches are 32,768 items, and the event loop stood still for a second.
        if (list) list.push(item);
        else items.set(stream, [item]);
      }
    }
    await Promise.all([...items].map(([stream, list]) => log.append(stream, list)));
    await commits.write(sorted.flatMap(({ ops }) => ops));
    for (const { kept, nodeId, followed } of sorted) {
      for (const incident of kept.incidents) noteOpen(open, incident);
      for (const chain of followed) chains.set(nodeId, chain);
    }
    return sorted.map(({ kept }) => kept);
  };
  const writeAlone = async (batch: Batch): Promise<Kept> => {
    const [kept] = await writeAll([batch]);
    invariant(kept !== undefined, "one batch is kept as one");
    return kept;
  };
  const run = async (): Promise<void> => {
    running = true;
    while (waiting.length > 0) {
      const part = nextWrite(waiting);
      waiting = waiting.slice(part.length);
      try {
        const kept = await writeAll(part.map(({ batch }) => batch));
        for (const [index, { resolve }] of part.entries()) {
          const one = kept[index];
          if (one) resolve(one);
        }
      } catch (error) {
        // What one node has sent must not keep the others' records out.
        const [only] = part;
        if (part.length === 1 && only) only.reject(error);
        else await Promise.all(part.map(({ batch, resolve, reject }) => writeAlone(batch).then(resolve, reject)));
      }
    }
    running = false;
  };
  return {
    /** Durable on return. The caller bounds what waits: one batch per stream, at most a window of records. */
    keep: (batch: Batch): Promise<Kept> =>
      new Promise((resolve, reject) => {
        waiting.push({ batch, resolve, reject });
        if (!running) void run();
      }),
  };
}

/** The first of those that wait: at least one, and as many as share a write. */
export function nextWrite<W extends { readonly batch: Pick<Batch, "records"> }>(waiting: readonly W[]): W[] {
  let records = 0;
  const over = waiting.slice(0, batchesPerWrite).findIndex(({ batch }, at) => {
    records += batch.records.length;
    return at > 0 && records > recordsPerWrite;
  });
  return waiting.slice(0, over === -1 ? batchesPerWrite : over);
}

/** The ids of each node's open incidents. */
export type OpenIncidents = Map<string, Set<string>>;

/** Takes a revision of an incident into `open`. */
export function noteOpen(open: OpenIncidents, { id, nodeId, state }: Incident): void {
  const ids = open.get(nodeId) ?? new Set<string>();
  if (state === IncidentState.CLOSED) ids.delete(id);
  else ids.add(id);
  if (ids.size === 0) open.delete(nodeId);
  else open.set(nodeId, ids);
}

/** A batch of which every record is news. */
interface Fresh extends Batch {
  /** The seq of the last one that came: all up to it counts as taken in. */
  readonly through: bigint;
  /** The earlier lives whose word for a record's place is taken, each with what was known of it. */
  readonly known: ReadonlyMap<string, bigint>;
}

/**
 * Without what an earlier life of the node's store has sent already: a later one sends again what it got no Ack for. Their own
 * session knows the seqs of its own generation only.
 */
async function withoutKnown(batch: Batch, places: Pick<Intake, "throughOf" | "livesOf">): Promise<Fresh> {
  const claimed = new Set(batch.records.map(({ generation }) => generation));
  const lives = [...claimed].filter((one) => one !== batch.generation && isGeneration(one)).slice(0, livesPerBatch);
  const known = new Map<string, bigint>();
  let more: number | undefined;
  for (const life of lives) {
    const through = await places.throughOf(batch.nodeId, life);
    if (through === 0n) more = (more ?? livesPerNode - (await places.livesOf(batch.nodeId))) - 1;
    if (through > 0n || (more ?? 0) >= 0) known.set(life, through);
  }
  const records = batch.records.filter(({ generation, seq }) => seq > (known.get(generation) ?? -1n));
  return { ...batch, records, through: batch.records.at(-1)?.seq ?? 0n, known };
}
/** Whose seq the record's is. */
function madeIn({ generation, known }: Fresh, record: LinkRecord): string {
  return known.has(record.generation) ? record.generation : generation;
}

interface Sorted {
  readonly nodeId: string;
  /** The chains of the node's audit as they are once this is written. */
  readonly followed: readonly Chain[];
  readonly logged: readonly { readonly stream: string; readonly item: Item }[];
  readonly ops: readonly Op[];
  readonly kept: Kept;
}

function sortOut(whole: Fresh, nowMs: number, open: ReadonlySet<string> = new Set(), chains: Chains): Sorted {
  const audited = new Map<string, Chain>();
  const logged: { stream: string; item: Item }[] = [];
  const incidents = new Map<string, Incident>();
  const orderResults: OrderResult[] = [];
  let unknown = 0;
  const throughs = new Map<string, bigint>();
  for (const record of whole.records) {
    const made = madeIn(whole, record);
    const batch = made === whole.generation ? whole : { ...whole, generation: made };
    throughs.set(batch.generation, record.seq);
    const put = (stream: string, data: Uint8Array, generation = batch.generation) => {
      const fits = data.length <= itemLimits.bytes;
      const because = `a record of ${data.length} bytes for '${stream}' is larger than any may be: it was dropped`;
      // Refused for good, it would come again for ever and hold up all that is behind it.
      const kept = fits
        ? data
        : auditBytes(batch, record, "record.drop", because, AuditOutcome.FAILURE, {
            before: { bytes: data.length },
            after: { bytes: 0 },
          });
      const item = { id: itemId({ ...batch, generation }, record.seq), at: recordedAt(record.at, nowMs), data: kept };
      logged.push({ stream: fits ? stream : streams.audit, item });
    };
    switch (record.kind.case) {
      case "incident": {
        const bytes = toBinary(RecordSchema, record);
        const { id, state } = record.kind.value;
        const more = state !== IncidentState.CLOSED && !open.has(id) && !incidents.has(id);
        const full = more && open.size + incidents.size >= openIncidentsMax;
        if (bytes.length > incidentBytesMax || !/^[\w-]{1,64}$/.test(id) || full) {
          unknown += 1;
          put(streams.unknown, bytes);
          break;
        }
        const incident = { ...record.kind.value, nodeId: batch.nodeId, site: batch.site };
        const earlier = incidents.get(incident.id);
        if (!earlier || earlier.revision < incident.revision) incidents.set(incident.id, incident);
        break;
      }
      case "audit": {
        const audit = { ...record.kind.value, nodeId: batch.nodeId };
        const { generation, number } = audit;
        const known = audited.get(generation) ?? chains.get(batch.nodeId, generation);
        const own = generation === batch.generation;
        const chained = number > 0n && (own || isNext(known, audit));
        put(streams.audit, toBinary(AuditRecordSchema, audit), chained ? generation : batch.generation);
        if (!chained) break;
        // The seqs of another life's outbox say nothing of what came in this one.
        const seq = own ? record.seq : (known?.seq ?? 0n) + 1n;
        audited.set(generation, { ...followed(known, audit, seq, nowMs), ...(!own && known && { seq: known.seq }) });
        break;
      }
      case "decision":
        put(streams.decisions, toBinary(DecisionRecordSchema, record.kind.value));
        break;
      case "readings":
        put(streams.readings(batch.nodeId), toBinary(ReadingBatchSchema, record.kind.value));
        break;
      case "orderResult":
        orderResults.push(record.kind.value);
        put(streams.audit, auditOfResult(batch, record, record.kind.value));
        break;
      case "dropped": {
        const { kind, count, firstSeq, lastSeq, firstAt, lastAt } = record.kind.value;
        const when = firstAt && lastAt ? `, made from ${isoOf(firstAt)} to ${isoOf(lastAt)},` : "";
        const why = record.kind.value.because;
        const because = why
          ? `record ${firstSeq} of kind ${kind} was given up by its node: ${why}`
          : `the outbox was full: ${count} records of kind ${kind} between ${firstSeq} and ${lastSeq}${when} were dropped`;
        const stand = { before: { kind, waiting: Number(count) }, after: { kind, waiting: 0 } };
        put(streams.audit, auditBytes(batch, record, "outbox.drop", because, AuditOutcome.FAILURE, stand));
        break;
      }
      default:
        unknown += 1;
        put(streams.unknown, toBinary(RecordSchema, record));
    }
  }
  const newest = [...incidents.values()];
  for (const incident of newest) {
    if (incident.state === IncidentState.CLOSED)
      logged.push({
        stream: streams.incidents,
        item: {
          ...closedIncidentItem(incident),
          at: recordedAt(incident.detectedAt ?? incident.closedAt, nowMs),
        },
      });
  }
  const ops: Op[] = newest.map((incident) =>
    incident.state === IncidentState.CLOSED
      ? { del: incidentKey(incident) }
      : { put: incidentKey(incident), value: incidentBytes(incident) },
  );
  const brokenAudit: string[] = [];
  for (const [generation, chain] of audited) {
    ops.push({ put: chainKey(whole.nodeId, generation), value: chainBytes(chain) });
    if (chain.broken !== undefined && chains.get(whole.nodeId, generation)?.broken === undefined)
      brokenAudit.push(chain.broken);
  }
  // The places go last, the session's own at the end: what is split over two commits is then sent again as a whole.
  if (whole.through > 0n) {
    throughs.delete(whole.generation);
    throughs.set(whole.generation, whole.through);
  }
  for (const [generation, through] of throughs)
    ops.push({ put: throughKey(whole.nodeId, generation), value: placeBytes(through, nowMs) });
  const kept = { incidents: newest, orderResults, unknown, brokenAudit };
  return { nodeId: whole.nodeId, followed: [...audited.values()], logged, ops, kept };
}

function itemId(batch: Batch, seq: bigint): string {
  return `${batch.nodeId}/${batch.generation}/${seq.toString().padStart(20, "0")}`;
}

const oldestMs = 400 * 86_400_000;

/** The node's own time, unless its clock is plainly wrong: then the log would drop it at once, or keep it for ever. */
function recordedAt(at: Timestamp | undefined, nowMs: number): number {
  const ms = at ? timestampMs(at) : nowMs;
  return ms < nowMs - oldestMs || ms > nowMs ? nowMs : ms;
}

/** A time that nobody can print is none: what comes from a node is not believed. */
function isoOf(at: Timestamp): string {
  const ms = timestampMs(at);
  return Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : "an unknown time";
}

function auditOfResult(batch: Batch, record: LinkRecord, result: OrderResult): Uint8Array {
  const outcome = {
    [OrderOutcome.UNSPECIFIED]: AuditOutcome.UNSPECIFIED,
    [OrderOutcome.DONE]: AuditOutcome.SUCCESS,
    [OrderOutcome.FAILED]: AuditOutcome.FAILURE,
    [OrderOutcome.REFUSED]: AuditOutcome.REFUSED,
  }[result.outcome];
  return auditBytes(
    batch,
    record,
    "order.end",
    `order ${result.orderId}: ${result.because}`,
    outcome ?? AuditOutcome.UNSPECIFIED,
    { before: { order: "sent" }, after: { order: (OrderOutcome[result.outcome] ?? "unknown").toLowerCase() } },
  );
}

function auditBytes(
  batch: Batch,
  record: LinkRecord,
  action: string,
  because: string,
  outcome: AuditOutcome,
  stand: { readonly before: object; readonly after: object },
): Uint8Array {
  return toBinary(
    AuditRecordSchema,
    create(AuditRecordSchema, {
      id: itemId(batch, record.seq),
      at: record.at ?? timestampFromMs(0),
      actor: "agent",
      action,
      target: `node/${batch.nodeId}`,
      because,
      outcome,
      took: durationFromMs(0),
      beforeJson: JSON.stringify(stand.before),
      afterJson: JSON.stringify(stand.after),
      nodeId: batch.nodeId,
    }),
  );
}
