import { type OutputOptions, printOne, printRows } from "@blueflame/shared/cli/print.ts";
import type { Column } from "@blueflame/shared/cli/table.ts";
import { clean } from "@blueflame/shared/cli/text.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import {
  AuditRecordSchema,
  DecisionRecordSchema,
  type Incident,
  IncidentSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { type DescMessage, type MessageShape, toJson } from "@bufbuild/protobuf";
import { ask } from "./ask.driver.ts";
import { limitMax } from "./flags.ts";
import { auditColumns, decisionColumns, incidentColumns, incidentFacts, timelineLines } from "./rows.ts";

/** The flags of what lists. */
export interface RecordsOptions extends OutputOptions {
  readonly dataDir: string;
  readonly limit: number;
}

/** Prints incidents, newest first; or, given an id (its beginning or end is enough, or `last`), one with its timeline. */
export async function incidents(
  which: string | undefined,
  options: RecordsOptions & { readonly open: boolean },
): Promise<void> {
  const limit = which === undefined ? options.limit : limitMax;
  const found = await ask(options.dataDir, (desk) =>
    gathered(limit, async (page) => (await desk.listIncidents({ ...page, openOnly: options.open })).incidents),
  );
  const nowMs = Date.now();
  if (which === undefined) return print(IncidentSchema, found, incidentColumns(nowMs), options);
  const one = pickIncident(found, which);
  const json = (row: Incident) => toJson(IncidentSchema, row);
  printOne(one, incidentFacts(one, nowMs), { ...options, json }, [
    "",
    ...timelineLines(one, process.stdout.isTTY ? process.stdout.columns : undefined),
  ]);
}

/** Prints the audit, newest first. */
export async function audit(options: RecordsOptions): Promise<void> {
  const records = await ask(options.dataDir, (desk) =>
    gathered(options.limit, async (page) => (await desk.listAudit(page)).records),
  );
  print(AuditRecordSchema, records, auditColumns(Date.now()), options);
}

/** Prints the decision records, newest first. */
export async function decisions(options: RecordsOptions): Promise<void> {
  const records = await ask(options.dataDir, (desk) =>
    gathered(options.limit, async (page) => (await desk.listDecisions(page)).records),
  );
  print(DecisionRecordSchema, records, decisionColumns(Date.now()), options);
}

/** The newest `limit`, page by page; what comes twice is there once. Ends at a page with nothing new. */
async function gathered<T extends { readonly id: string }>(
  limit: number,
  ask: (page: { readonly limit: number; readonly skip: number }) => Promise<readonly T[]>,
): Promise<T[]> {
  const found = new Map<string, T>();
  for (let skip = 0, before = -1; found.size < limit && found.size > before; ) {
    before = found.size;
    const page = await ask({ limit: limit - found.size, skip });
    skip += page.length;
    for (const one of page) found.set(one.id, one);
  }
  return [...found.values()];
}

function print<S extends DescMessage>(
  schema: S,
  rows: readonly MessageShape<S>[],
  columns: readonly Column<MessageShape<S>>[],
  options: OutputOptions,
): void {
  printRows(rows, columns, { ...options, json: (row) => toJson(schema, row) });
  // Of the newest `limit`; a person who sees only titles should know that this is the whole answer.
  if (rows.length === 0 && (options.output ?? "table") === "table") process.stderr.write("none\n");
}

function pickIncident(all: readonly Incident[], which: string): Incident {
  const found = which === "last" ? all.slice(0, 1) : all.filter(({ id }) => id.startsWith(which) || id.endsWith(which));
  const [one, another] = found;
  if (one === undefined) throw new Fault("NOT_FOUND", `no incident '${clean(which)}' among the newest ${limitMax}`);
  if (another !== undefined)
    throw new Fault("USAGE", `'${clean(which)}' fits ${found.length} incidents; give more of the id`);
  return one;
}
