import { type OutputOptions, printOne, printRows, rowStream } from "@blueflame/shared/cli/print.ts";
import { type Column, layOut, tableLines } from "@blueflame/shared/cli/table.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import {
  AuditRecordSchema,
  DecisionRecordSchema,
  type Incident,
  IncidentState,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { WorkloadStatusSchema } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import type { Node } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import {
  auditColumns,
  decisionColumns,
  incidentColumns,
  incidentDetails,
  incidentJson,
  nodeColumns,
  nodeDetails,
  nodeJson,
  placedColumns,
  protojson,
  readingColumns,
  timelineColumns,
  workloadColumns,
} from "./columns.ts";
import type { HubClient } from "./hub-client.ts";

const auditJson = protojson(AuditRecordSchema);
const workloadJson = protojson(WorkloadStatusSchema);
const decisionJson = protojson(DecisionRecordSchema);

export interface NodesOptions extends OutputOptions {
  readonly watch?: boolean;
}

/** `blueflame nodes [ID] [--watch]`. */
export async function nodes(hub: HubClient, id: string | undefined, options: NodesOptions): Promise<void> {
  const print = { ...options, json: nodeJson };
  if (options.watch) {
    const watched = hub.watch((client, signal) => client.watchNodes({ id: id ?? "" }, { signal }));
    // A beat every few seconds is no news in a table; programs get every change.
    const news = options.output === undefined || options.output === "table" ? nodeNews() : () => true;
    return follow(watched, ({ node }) => node, news, rowStream(nodeColumns, print));
  }
  if (id === undefined) {
    const { nodes: all } = await hub.ask((client, signal) => client.listNodes({}, { signal }));
    printRows(all, nodeColumns, print);
    if (all.length === 0) process.stderr.write("No node has reported yet.\n");
    return;
  }
  const { node } = await hub.ask((client, signal) => client.getNode({ id }, { signal }));
  if (node !== undefined)
    printOne(node, nodeDetails, print, [
      ...below(node.workloads, workloadColumns),
      ...below(node.readings, readingColumns),
    ]);
}

/** `blueflame workloads [--node ID]`: worst first. */
export async function workloads(hub: HubClient, options: OutputOptions & { readonly node?: string }): Promise<void> {
  const { nodes: all } = await hub.ask((client, signal) => client.listNodes({}, { signal }));
  if (options.node !== undefined && !all.some(({ id }) => id === options.node))
    throw new Fault("NOT_FOUND", `no node '${options.node}'`);
  const placed = all
    .filter(({ id }) => options.node === undefined || id === options.node)
    .flatMap((node) => node.workloads.map((workload) => ({ node, workload })));
  placed.sort((a, b) => b.workload.health - a.workload.health);
  printRows(placed, placedColumns, {
    ...options,
    json: ({ node, workload }) => ({ nodeId: node.id, ...(workloadJson(workload) as object) }),
  });
  if (placed.length === 0) process.stderr.write("No node has reported a workload yet.\n");
}

/** True when a node shows something else than last time, its age aside. */
function nodeNews(): (node: Node) => boolean {
  const shown = new Map<string, string>();
  return (node) => {
    const cells = nodeColumns.filter(({ title }) => title !== "LAST BEAT").map((column) => column.value(node));
    const line = JSON.stringify(cells);
    if (shown.get(node.id) === line) return false;
    shown.set(node.id, line);
    return true;
  };
}

export interface IncidentsOptions extends OutputOptions {
  readonly watch?: boolean;
  readonly open?: boolean;
  readonly node?: string;
  readonly limit: number;
}

/** `blueflame incidents [ID] [--open] [--node ID] [--watch]`. */
export async function incidents(hub: HubClient, id: string | undefined, options: IncidentsOptions): Promise<void> {
  const print = { ...options, json: incidentJson };
  const nodeId = options.node ?? "";
  if (options.watch) {
    const watched = hub.watch((client, signal) => client.watchIncidents({ nodeId }, { signal }));
    const wanted = (one: Incident) =>
      (id === undefined || one.id.startsWith(id)) && (!options.open || one.state !== IncidentState.CLOSED);
    return follow(watched, ({ incident }) => incident, wanted, rowStream(incidentColumns, print));
  }
  if (id === undefined) {
    const request = { nodeId, openOnly: options.open ?? false, limit: options.limit };
    const { incidents: all } = await hub.ask((client, signal) => client.listIncidents(request, { signal }));
    printRows(all, incidentColumns, print);
    return bounded(all.length, options.limit);
  }
  const incident = id === "last" ? await newest(hub, nodeId, options.open ?? false) : await one(hub, id);
  if (incident !== undefined) printOne(incident, incidentDetails, print, below(incident.timeline, timelineColumns));
}

async function one(hub: HubClient, id: string): Promise<Incident | undefined> {
  return (await hub.ask((client, signal) => client.getIncident({ id }, { signal }))).incident;
}

/** NOT_FOUND when there has been none. */
async function newest(hub: HubClient, nodeId: string, openOnly: boolean): Promise<Incident> {
  const request = { nodeId, openOnly, limit: 1 };
  const { incidents: found } = await hub.ask((client, signal) => client.listIncidents(request, { signal }));
  if (found[0] === undefined) throw new Fault("NOT_FOUND", "there is no incident");
  return found[0];
}

export interface RecordsOptions extends OutputOptions {
  readonly node?: string;
  readonly limit: number;
}

/** `blueflame audit [--node ID] [--limit N]`. */
export async function audit(hub: HubClient, options: RecordsOptions): Promise<void> {
  const request = { nodeId: options.node ?? "", limit: options.limit };
  const { records } = await hub.ask((client, signal) => client.listAudit(request, { signal }));
  printRows(records, auditColumns, { ...options, json: auditJson });
  bounded(records.length, options.limit);
}

/** `blueflame decisions [--node ID] [--limit N]`. */
export async function decisions(hub: HubClient, options: RecordsOptions): Promise<void> {
  const request = { nodeId: options.node ?? "", limit: options.limit };
  const { records } = await hub.ask((client, signal) => client.listDecisions(request, { signal }));
  printRows(records, decisionColumns, { ...options, json: decisionJson });
  bounded(records.length, options.limit);
}

/** A list that ends at its bound says so, on stderr. */
function bounded(count: number, limit: number): void {
  if (count >= limit) process.stderr.write(`The newest ${count} are shown; there may be more: --limit.\n`);
}

/** A table below the details of one thing. */
function below<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string[] {
  if (rows.length === 0) return [];
  return ["", ...tableLines(rows, columns, layOut(rows, columns), { headers: true })];
}

const batchMs = 100;

/** Prints what comes, in batches so that the first screenful lines up. */
async function follow<Message, Row>(
  messages: AsyncIterable<Message>,
  rowOf: (message: Message) => Row | undefined,
  wanted: (row: Row) => boolean,
  push: (rows: readonly Row[]) => void,
): Promise<void> {
  let waiting: Row[] = [];
  let timer: NodeJS.Timeout | undefined;
  const flush = () => {
    timer = undefined;
    const rows = waiting;
    waiting = [];
    push(rows);
  };
  try {
    for await (const message of messages) {
      const row = rowOf(message);
      if (row === undefined || !wanted(row)) continue;
      waiting.push(row);
      timer ??= setTimeout(flush, batchMs);
    }
  } finally {
    if (timer !== undefined) {
      clearTimeout(timer);
      flush();
    }
  }
}
