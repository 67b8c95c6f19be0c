import { type Incident, IncidentSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { type Inventory, InventorySchema } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { fromBinary, fromJson, type JsonObject, toBinary, toJson } from "@bufbuild/protobuf";

/** What the registry remembers of a node, from its last Hello; the time of the last beat is written on transitions and every few hours. */
export interface NodeRow {
  readonly id: string;
  readonly site: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly incarnation: bigint;
  readonly session: bigint;
  readonly bootId: string;
  readonly version: string;
  readonly inventory: Inventory | undefined;
  /** The generation of its store, and the highest epoch told of it; "" and 0 of a node that never said. */
  readonly storeGeneration: string;
  readonly storeEpoch: bigint;
  /** Wall milliseconds; 0 when it has never beaten. */
  readonly seenWallMs: number;
  /** Since when the node is at its level, wall milliseconds. */
  readonly levelSinceWallMs: number;
  readonly levelBecause: string;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
/** The format of every JSON row; a reader that meets another one must know how to bring it up. */
const rowVersion = 1;

/** A JSON row with its format version. */
export function rowBytes(row: JsonObject): Uint8Array {
  return encoder.encode(JSON.stringify({ v: rowVersion, ...row }));
}

/** The row behind the bytes, as unchecked JSON; undefined when it is not of our format. */
export function rowOf(bytes: Uint8Array): JsonObject | undefined {
  const parsed: unknown = JSON.parse(decoder.decode(bytes));
  if (typeof parsed !== "object" || parsed === null || !("v" in parsed) || parsed.v !== rowVersion) return undefined;
  return parsed as JsonObject;
}

export function nodeBytes(row: NodeRow): Uint8Array {
  return rowBytes({
    ...row,
    labels: { ...row.labels },
    incarnation: `${row.incarnation}`,
    session: `${row.session}`,
    storeEpoch: `${row.storeEpoch}`,
    inventory: row.inventory ? toJson(InventorySchema, row.inventory) : null,
  });
}

export function nodeOf(id: string, bytes: Uint8Array): NodeRow | undefined {
  const row = rowOf(bytes);
  if (!row) return undefined;
  const labels = Object.entries((row.labels ?? {}) as JsonObject).map(([key, value]) => [key, String(value)] as const);
  return {
    id,
    site: text(row.site),
    labels: Object.fromEntries(labels),
    incarnation: BigInt(text(row.incarnation) || 0),
    session: BigInt(text(row.session) || 0),
    bootId: text(row.bootId),
    storeGeneration: text(row.storeGeneration),
    storeEpoch: BigInt(text(row.storeEpoch) || 0),
    version: text(row.version),
    inventory: row.inventory ? fromJson(InventorySchema, row.inventory, { ignoreUnknownFields: true }) : undefined,
    seenWallMs: Number(row.seenWallMs ?? 0),
    levelSinceWallMs: Number(row.levelSinceWallMs ?? 0),
    levelBecause: text(row.levelBecause),
  };
}

/** Incidents are kept as on the wire: fields of newer agents survive. */
export function incidentBytes(incident: Incident): Uint8Array {
  return toBinary(IncidentSchema, incident);
}
export function incidentOf(bytes: Uint8Array): Incident {
  return fromBinary(IncidentSchema, bytes);
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
