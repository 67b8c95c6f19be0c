import {
  type AuditRecord,
  AuditRecordSchema,
  type DecisionRecord,
  DecisionRecordSchema,
  type Incident,
  IncidentSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { type ReadingBatch, ReadingBatchSchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import type { Item, Log } from "@blueflame/shared/store/log.ts";
import { type DescMessage, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import { streams } from "./keys.ts";

/** Which part of a history is asked for. */
export interface Asked {
  readonly nodeId?: string | undefined;
  readonly limit: number;
  /** Only what is older, wall milliseconds. */
  readonly beforeMs?: number | undefined;
}

/** What grows only, newest first. With a node, at most the newest 100,000 items of all nodes are looked through. */
export interface History {
  audit(asked: Asked): Promise<AuditRecord[]>;
  decisions(asked: Asked): Promise<DecisionRecord[]>;
  closedIncidents(asked: Asked): Promise<Incident[]>;
  readings(nodeId: string, limit: number): Promise<ReadingBatch[]>;
  /** Chained records of a node's audit by their time, oldest first; a page may be empty and have a next one all the same. */
  chained(nodeId: string, after: string): Promise<{ readonly records: AuditRecord[]; readonly next: string }>;
}

const pageSize = 1_000;
/** A page of a chain has at most so many records, and looks through at most so many pages of all nodes for them. */
const chainedPage = 500;
const pagesOfChained = 20;
const pagesMax = 100;

export function history(log: Log): History {
  const read = async <D extends DescMessage>(stream: string, schema: D, asked: Asked): Promise<MessageShape<D>[]> =>
    (await newest(log, stream, asked)).map((item) => fromBinary(schema, item.data));
  return {
    audit: (asked) => read(streams.audit, AuditRecordSchema, asked),
    decisions: (asked) => read(streams.decisions, DecisionRecordSchema, asked),
    closedIncidents: (asked) => read(streams.incidents, IncidentSchema, asked),
    readings: (nodeId, limit) => read(streams.readings(nodeId), ReadingBatchSchema, { limit }),
    async chained(nodeId, after) {
      const records: AuditRecord[] = [];
      let next = after;
      for (let page = 0; page < pagesOfChained && records.length === 0; page++) {
        const items = await log.range(streams.audit, { limit: chainedPage, ...(next !== "" && { after: next }) });
        const own = items
          .filter(({ id }) => id.startsWith(`${nodeId}/`))
          .map(({ id, data }) => ({ id, record: fromBinary(AuditRecordSchema, data) }))
          // What a later life sent once more of an earlier one stands under that life's name.
          .filter(({ id, record }) => record.number > 0n && id.startsWith(`${nodeId}/${record.generation}/`))
          .map(({ record }) => record);
        records.push(...own);
        next = items.length < chainedPage ? "" : (items.at(-1)?.id ?? "");
        if (next === "") break;
      }
      return { records, next };
    },
  };
}

// Items carry their node in front of their id, so that looking through many decodes none of them.
async function newest(log: Log, stream: string, { nodeId, limit, beforeMs }: Asked): Promise<Item[]> {
  const found: Item[] = [];
  let after: string | undefined;
  for (let page = 0; page < pagesMax && found.length < limit; page++) {
    const items = await log.range(stream, {
      limit: nodeId === undefined ? limit : pageSize,
      reverse: true,
      ...(beforeMs === undefined ? {} : { to: beforeMs }),
      ...(after === undefined ? {} : { after }),
    });
    found.push(...(nodeId === undefined ? items : items.filter(({ id }) => id.startsWith(`${nodeId}/`))));
    const last = items.at(-1);
    if (!last || nodeId === undefined || items.length < pageSize) break;
    after = last.id;
  }
  return found.slice(0, limit);
}
