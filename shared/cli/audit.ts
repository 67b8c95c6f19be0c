import { once } from "node:events";
import { createReadStream, readFileSync, statSync } from "node:fs";
import { createInterface } from "node:readline";
import { ChainCheck, type ChainHeader, type Finding, type SignedHead, type Verdict } from "../audit/check.ts";
import { headerLine, readHeader, readRecord, recordLine } from "../audit/lines.ts";
import { ChainOrder } from "../audit/order.ts";
import { wrongSignatures } from "../audit/signature.driver.ts";
import { Fault } from "../errors/fault.ts";
import type { AuditRecord } from "../gen/blueflame/link/v1/incident_pb.ts";
import { type OutputOptions, printOne } from "./print.ts";
import { type Column, layOut, tableLines } from "./table.ts";

/** An audit from wherever it is: how its chains stand, and its records, oldest first. */
export interface AuditSource {
  readonly header: ChainHeader;
  readonly records: AsyncIterable<AuditRecord>;
}

/** A page as both sides answer it. */
interface Page {
  readonly chainJson: string;
  readonly records: readonly AuditRecord[];
  readonly next: string;
}

export interface VerifyOptions extends OutputOptions {
  /** A file with the hub's CA certificate: instead of the key that the audit itself brings along. */
  readonly ca?: string;
}

/** Reads page by page; `ask` gives the one behind `after`. */
export async function pagedAudit(ask: (after: string) => Promise<Page>): Promise<AuditSource> {
  const first = await ask("");
  async function* records() {
    for (let page = first; ; page = await ask(page.next)) {
      yield* page.records;
      if (page.next === "") return;
    }
  }
  return { header: readHeader(first.chainJson), records: records() };
}

/** Reads an export, line by line. Rejects with NOT_FOUND, BAD_REQUEST, STORE_NEWER, the latter two also while it is read. */
export async function auditFile(path: string): Promise<AuditSource> {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory())
    throw new Fault("NOT_FOUND", `'${path}' cannot be read: it is a directory, and an export is a file`);
  const input = createReadStream(path);
  await once(input, "open").catch((cause: unknown) => {
    throw new Fault("NOT_FOUND", `'${path}' cannot be read`, { cause });
  });
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })[Symbol.asyncIterator]();
  const first = await lines.next();
  const header = readHeader(first.done ? "" : first.value);
  async function* records() {
    let line = 1;
    for (let next = await lines.next(); !next.done; next = await lines.next()) {
      line += 1;
      if (next.value !== "") yield readRecord(next.value, line);
    }
  }
  return { header, records: records() };
}

/** Writes it to stdout as JSON lines, as fast as whoever reads takes them. */
export async function exportAudit({ header, records }: AuditSource): Promise<void> {
  const write = async (line: string) => {
    if (!process.stdout.write(`${line}\n`)) await once(process.stdout, "drain");
  };
  await write(headerLine(header));
  for await (const record of inOrder(header, records)) await write(recordLine(record));
}

/** Checks it and prints what was found. Rejects with AUDIT_BROKEN when anything is wrong, CERT_UNUSABLE, and what reading rejects with. */
export async function verifyAudit({ header, records }: AuditSource, options: VerifyOptions): Promise<void> {
  const check = new ChainCheck(header);
  const ca = options.ca === undefined ? undefined : caText(options.ca);
  const wrong = wrongSignatures(header, ca ?? header.hubKey);
  for await (const record of inOrder(header, records)) check.take(record);
  const verdict = check.end();
  const findings = [...(wrong ?? []), ...verdict.findings];
  const signatures =
    wrong === undefined ? "not checked" : ca === undefined ? "by the key brought along" : "by the CA given";
  const row: Verified = { header, signatures, verdict: { ...verdict, findings } };
  const lines =
    findings.length > 0
      ? tableLines(findings, findingColumns, layOut(findings, findingColumns), { headers: true })
      : [];
  printOne(row, verifiedColumns, { ...options, json: verifiedJson }, lines.length > 0 ? ["", ...lines] : []);
  const [first] = findings;
  if (!first) return;
  const where = `record ${first.number} of generation ${first.generation || "-"}: expected ${first.expected}, ${first.saw}`;
  throw new Fault(
    "AUDIT_BROKEN",
    `${findings.length + verdict.more} things are wrong in the audit of ${header.nodeId}; ${where}`,
  );
}

async function* inOrder(header: ChainHeader, records: AsyncIterable<AuditRecord>): AsyncGenerator<AuditRecord> {
  if (header.source === "node") {
    yield* records;
    return;
  }
  const order = new ChainOrder(header);
  for await (const record of records) yield* order.take(record);
  yield* order.rest();
}

function caText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new Fault("NOT_FOUND", `'${path}' cannot be read`, { cause });
  }
}

interface Verified {
  readonly header: ChainHeader;
  /** How the signatures were checked; of no matter when nothing is signed. */
  readonly signatures: "not checked" | "by the key brought along" | "by the CA given";
  readonly verdict: Verdict;
}
const verifiedColumns: Column<Verified>[] = [
  { title: "NODE", value: ({ header }) => header.nodeId },
  { title: "AUDIT", value: ({ verdict }) => wordOf(verdict) },
  { title: "RECORDS", value: ({ verdict }) => String(verdict.records) },
  {
    title: "CHAINS",
    value: ({ header }) =>
      header.chains.map(({ generation, head }) => `${generation} up to ${head?.number ?? 0}`).join(", ") || "-",
  },
  { title: "COUNTERSIGNED", value: ({ header }) => header.signed.map(signedText).join(", ") || "nothing" },
  { title: "SIGNATURES", value: ({ header, signatures }) => (header.signed.length === 0 ? "-" : signatures) },
  {
    title: "KNOWN GAPS",
    value: ({ verdict }) =>
      verdict.knownGaps.map(({ generation, from, to }) => `records ${from} to ${to} of ${generation}`).join(", ") ||
      "-",
  },
  { title: "NOTES", value: ({ verdict }) => verdict.notes.join("; ") || "-" },
];
function wordOf({ findings, knownGaps }: Verdict): string {
  if (findings.length > 0) return "BROKEN";
  return knownGaps.length > 0 ? "whole but for known gaps" : "whole";
}
function signedText({ generation, number, signedAtMs }: SignedHead): string {
  return `record ${number} of ${generation} at ${new Date(signedAtMs).toISOString()}`;
}

const findingColumns: Column<Finding>[] = [
  { title: "WRONG", value: (row) => row.is },
  { title: "RECORD", value: (row) => (row.number === 0 ? "-" : String(row.number)), right: true },
  { title: "MADE", value: (row) => (row.atMs === undefined ? "-" : new Date(row.atMs).toISOString()) },
  { title: "EXPECTED", value: (row) => row.expected },
  { title: "FOUND", value: (row) => row.saw },
];

function verifiedJson({ header, signatures, verdict }: Verified): unknown {
  const { nodeId, source, chains, signed } = header;
  return { nodeId, source, whole: verdict.findings.length === 0, chains, signed, signatures, ...verdict };
}
