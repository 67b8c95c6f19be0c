import { Fault } from "@blueflame/shared/errors/fault.ts";
import { type AuditRecord, AuditRecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import type { ChainHeader, ChainStand, SignedHead } from "./check.ts";

/**
 * An export of an audit is JSON lines: how the chain stands, then one record per line, as protobuf's JSON, oldest first.
 *   {"blueflameAudit":1,"nodeId":"edge-1","source":"node","owner":"…","chains":[…],"signed":[…],"hubKey":"…"}
 *   {"id":"…","at":"…","actor":"agent","action":"workload.spawn", … ,"number":"17","previous":"…","generation":"…"}
 */
const format = 1;

export function headerLine(header: ChainHeader): string {
  return JSON.stringify({ blueflameAudit: format, ...header });
}
export function recordLine(record: AuditRecord): string {
  return JSON.stringify(toJson(AuditRecordSchema, record));
}

/** The first line of an export, or what a side says of its chains. Throws BAD_REQUEST, STORE_NEWER. */
export function readHeader(text: string): ChainHeader {
  const found = parsed(text, 1);
  if (found.blueflameAudit !== undefined && Number(found.blueflameAudit) > format) {
    throw new Fault("STORE_NEWER", `the export has format ${found.blueflameAudit}, this version reads ${format}`);
  }
  const { nodeId, source, chains, signed } = found;
  const whole =
    typeof nodeId === "string" &&
    (source === "node" || source === "hub") &&
    areAll(chains, isStand) &&
    areAll(signed, isSigned);
  if (found.blueflameAudit !== format || !whole) {
    throw new Fault("BAD_REQUEST", "line 1 is not the first line of an audit export");
  }
  return found as unknown as ChainHeader;
}

/** A later line of an export, counted from 1. Throws BAD_REQUEST; STORE_NEWER for fields that this version does not know. */
export function readRecord(text: string, line: number): AuditRecord {
  const found = parsed(text, line);
  try {
    return fromJson(AuditRecordSchema, found as JsonValue);
  } catch (error) {
    const saw = error instanceof Error ? error.message : String(error);
    throw new Fault(/unknown/.test(saw) ? "STORE_NEWER" : "BAD_REQUEST", `line ${line} is no audit record: ${saw}`);
  }
}

function parsed(text: string, line: number): Record<string, unknown> {
  try {
    const found: unknown = JSON.parse(text);
    if (typeof found === "object" && found !== null && !Array.isArray(found)) return found as Record<string, unknown>;
  } catch (cause) {
    throw new Fault("BAD_REQUEST", `line ${line} is no JSON`, { cause });
  }
  throw new Fault("BAD_REQUEST", `line ${line} is no JSON object`);
}

function areAll<T>(all: unknown, is: (one: Record<string, unknown>) => one is T & Record<string, unknown>): boolean {
  return Array.isArray(all) && all.every((one) => typeof one === "object" && one !== null && is(one));
}
function isLink(one: unknown): boolean {
  if (typeof one !== "object" || one === null) return false;
  const { generation, number, hash } = one as Record<string, unknown>;
  return typeof generation === "string" && typeof number === "number" && typeof hash === "string";
}
function isStand(one: Record<string, unknown>): one is ChainStand & Record<string, unknown> {
  const { generation, head, anchor, gaps } = one;
  const links = [head, anchor].every((link) => link === undefined || isLink(link));
  return typeof generation === "string" && links && (gaps === undefined || Array.isArray(gaps));
}
function isSigned(one: Record<string, unknown>): one is SignedHead & Record<string, unknown> {
  return isLink(one) && typeof one.signedAtMs === "number" && typeof one.signature === "string";
}
