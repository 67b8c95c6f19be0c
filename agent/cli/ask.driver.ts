import { lstatSync } from "node:fs";
import { interruption } from "@blueflame/shared/cli/run.ts";
import { nearest } from "@blueflame/shared/config/problems.ts";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { type GetStatusResponse, NodeService } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { type Client, client, clientOptions, faultFrom } from "@blueflame/shared/rpc/definition.ts";
import * as grpc from "@grpc/grpc-js";
import { holderOf } from "../watchdog/door.ts";
import { readKey } from "../watchdog/key.ts";
import { lookAt } from "../watchdog/process.ts";
import { socketOf } from "./place.ts";

/** The agent's NodeService. */
export type Desk = Client<typeof NodeService>;

/** Asks the agent of this data directory; its line is closed afterwards. Rejects with the agent's Fault, or AGENT_UNREACHABLE. */
export async function ask<T>(dataDir: string, question: (desk: Desk) => Promise<T>): Promise<T> {
  const socket = socketOf(dataDir);
  // The kernel would cut a longer path and look somewhere else.
  if (Buffer.byteLength(socket) > 107) throw new Fault("SOCKET_PATH_TOO_LONG", `'${socket}' is longer`);
  const desk = client(NodeService, `unix:${socket}`, grpc.credentials.createInsecure(), clientOptions);
  try {
    return await question(desk);
  } catch (error) {
    const fault = faultFrom(error, "AGENT_UNREACHABLE");
    if (isFault(fault, "AGENT_UNREACHABLE")) throw unreachable(socket, fault);
    const pid = isFault(fault, "TIMED_OUT") ? stoppedAgent(dataDir) : undefined;
    if (pid !== undefined) throw new Fault("TIMED_OUT", stoppedSaw(pid), { cause: error });
    throw fault;
  } finally {
    desk.close();
  }
}

/** Ends with what waits when a person presses Ctrl-C: rejects with the interruption. */
export function whilePatient<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const leaving = interruption();
  return call(leaving).catch((error: unknown) => {
    throw leaving.aborted ? leaving.reason : error;
  });
}

/** The name to act on: what was given, else the only workload. Rejects with USAGE or WORKLOAD_UNKNOWN, with a suggestion. */
export function pickWorkload(given: string | undefined, names: readonly string[]): string {
  if (given !== undefined) {
    if (names.includes(given)) return given;
    const near = nearest(given, names);
    throw new Fault("WORKLOAD_UNKNOWN", `there is no workload '${given}'${near ? `; did you mean '${near}'?` : ""}`);
  }
  const [only, ...others] = names;
  if (only === undefined) throw new Fault("WORKLOAD_UNKNOWN", "this node has no workloads");
  if (others.length > 0) throw new Fault("USAGE", `name one of the ${names.length} workloads: ${list(names)}`);
  return only;
}

/** The workloads' names in the agent's order. */
export function namesOf(status: GetStatusResponse): string[] {
  return status.workloads.map((workload) => workload.name);
}

/** The agent of this data directory, if it was stopped by a signal: it lives, and answers nobody. */
export function stoppedAgent(dataDir: string): number | undefined {
  const key = readKey(dataDir);
  const holder = key && holderOf(`${key.name}-agent`);
  return holder && lookAt(holder).sight === "stopped" ? holder.pid : undefined;
}

function stoppedSaw(pid: number): string {
  return `the agent (process ${pid}) was stopped by a signal and answers nobody; \`blueflame-agent emergency\` brings the node back`;
}

/** Whose it is, or that nobody is let in. */
function barredBecause(socket: string): string {
  const mode = (lstatSync(socket, { throwIfNoEntry: false })?.mode ?? 0o700) & 0o777;
  if ((mode & 0o200) !== 0) return "it belongs to another user";
  return `it may not be opened (mode ${mode.toString(8).padStart(3, "0")}); \`blueflame-agent emergency\` mends that`;
}

function unreachable(socket: string, fault: Fault): Fault {
  const why = /ENOENT/.test(fault.saw)
    ? "no agent has run there yet, or it has ended"
    : /ECONNREFUSED/.test(fault.saw)
      ? "the agent that listened there is gone"
      : /EACCES/.test(fault.saw)
        ? barredBecause(socket)
        : fault.saw;
  return new Fault("AGENT_UNREACHABLE", `no agent answers on '${socket}': ${why}`, { cause: fault });
}

function list(names: readonly string[]): string {
  const shown = names.slice(0, 10).join(", ");
  return names.length > 10 ? `${shown} and ${names.length - 10} more` : shown;
}
