import { setTimeout as pause } from "node:timers/promises";
import { type OutputOptions, printRows } from "@blueflame/shared/cli/print.ts";
import { interruption } from "@blueflame/shared/cli/run.ts";
import { formatDuration } from "@blueflame/shared/cli/text.ts";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { IncidentState } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { FleetState, Level, type Node } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { incidentColumns, incidentJson, nodeColumns, nodeJson } from "./columns.ts";
import type { HubClient } from "./hub-client.ts";

/** What `wait --for` may name. */
export const conditions = ["green", "healthy", "incident-closed"] as const;
export type Condition = (typeof conditions)[number];

export interface WaitOptions extends OutputOptions {
  readonly for: Condition;
  /** Milliseconds; 0 looks once. */
  readonly timeout: number;
}

/** Whether it holds now, and if not, what is in its way. */
type Verdict =
  | { readonly holds: true; readonly print: (options: OutputOptions) => void }
  | { readonly holds: false; readonly because: string };

const lookMs = 500;

/**
 * Returns when the condition holds for every id given: nodes for green and healthy, incidents for incident-closed. Without
 * ids it means every node (at least one), or every incident. TIMED_OUT when it does not come true; with a timeout of 0
 * CONDITION_FALSE. A node that nobody knows yet is waited for; an incident that nobody knows is NOT_FOUND.
 */
export async function wait(hub: HubClient, ids: readonly string[], options: WaitOptions): Promise<void> {
  const endMs = performance.now() + options.timeout;
  let reached = false;
  for (;;) {
    const verdict = await look(hub, ids, options.for).catch((error: unknown): Verdict => {
      // Once it was there it may come back: a hub that restarts is waited for like anything else.
      if (reached && isFault(error, "HUB_UNREACHABLE")) return { holds: false, because: error.saw };
      throw error;
    });
    reached = true;
    if (verdict.holds) {
      // Silence is the answer unless a format was asked for.
      if (options.output !== undefined) verdict.print(options);
      return;
    }
    if (options.timeout === 0) throw new Fault("CONDITION_FALSE", verdict.because);
    const leftMs = endMs - performance.now();
    if (leftMs <= 0) throw new Fault("TIMED_OUT", `${verdict.because}, after ${formatDuration(options.timeout)}`);
    const signal = interruption();
    await pause(Math.min(lookMs, leftMs), undefined, { signal }).catch((error: unknown) => {
      throw signal.aborted ? signal.reason : error;
    });
  }
}

function look(hub: HubClient, ids: readonly string[], condition: Condition): Promise<Verdict> {
  return condition === "incident-closed" ? incidentsClosed(hub, ids) : nodesAre(hub, ids, condition);
}

async function nodesAre(hub: HubClient, ids: readonly string[], condition: "green" | "healthy"): Promise<Verdict> {
  const { nodes } = await hub.ask((client, signal) => client.listNodes({}, { signal }));
  const unknown = ids.find((id) => !nodes.some((node) => node.id === id));
  if (unknown !== undefined) return { holds: false, because: `node '${unknown}' is not known to the hub` };
  const meant = ids.length === 0 ? nodes : nodes.filter((node) => ids.includes(node.id));
  if (meant.length === 0) return { holds: false, because: "no node is known to the hub" };
  const not = meant.filter((node) => !is(node, condition));
  const [first] = not;
  if (first === undefined) {
    return { holds: true, print: (options) => printRows(meant, nodeColumns, { ...options, json: nodeJson }) };
  }
  const others = not.length > 1 ? ` (and ${not.length - 1} more)` : "";
  return { holds: false, because: `node '${first.id}'${others} is not ${condition}: ${first.because}` };
}

function is(node: Node, condition: "green" | "healthy"): boolean {
  if (condition === "green") return node.level === Level.GREEN;
  return node.level === Level.GREEN && node.state === FleetState.HEALTHY;
}

async function incidentsClosed(hub: HubClient, ids: readonly string[]): Promise<Verdict> {
  const open = { nodeId: "", openOnly: true, limit: 500 };
  const all =
    ids.length === 0
      ? (await hub.ask((client, signal) => client.listIncidents(open, { signal }))).incidents
      : await Promise.all(
          ids.map(async (id) => (await hub.ask((client, signal) => client.getIncident({ id }, { signal }))).incident),
        );
  const still = all.filter((one) => one !== undefined && one.state !== IncidentState.CLOSED);
  const [first] = still;
  if (first === undefined) {
    const closed = all.filter((one) => one !== undefined);
    return { holds: true, print: (options) => printRows(closed, incidentColumns, { ...options, json: incidentJson }) };
  }
  const others = still.length > 1 ? ` and ${still.length - 1} more are` : " is";
  return { holds: false, because: `incident ${first.id}${others} not closed: ${first.summary || first.symptom}` };
}
