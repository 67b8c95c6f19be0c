/**
 * Who may ask what on the local socket. Pure.
 *
 *   workload   a process of a workload's family: beats, reports and state with its own token; nothing that people ask
 *   helper     what the agent itself has started (a step of a playbook, a probe, a pager, the emergency): looks at how the node is
 *   person     everybody else who may open the socket
 *   unseen     the system does not tell whose process it is: as a person, but a risk lock needs somebody who is known to be one
 *   gone       it has ended before anybody could look at it, so nobody waits for an answer: as a workload, whose token it may have
 */
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { NodeService } from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";

/** The process at the other end of a connection; `pid` is 0 where it is not known. */
export type Peer =
  | { readonly is: "person" | "helper" | "gone"; readonly pid: number }
  /** `workload` is empty where only that it is one is known. */
  | { readonly is: "workload"; readonly pid: number; readonly workload: string }
  /** `instead`: how a person would be seen. */
  | { readonly is: "unseen"; readonly pid: number; readonly because: string; readonly instead: string };

/** A question that was refused, for the audit. */
export interface Refusal {
  readonly actor: string;
  /** `api.` and the method. */
  readonly action: string;
  /** `workload/NAME` of whoever asked, or `node`. */
  readonly target: string;
  readonly because: string;
}

const helperAsks: ReadonlySet<string> = new Set([
  "getStatus",
  "getHealth",
  "listIncidents",
  "listTriggers",
  "listPlaybooks",
]);
/** What a call is judged by. */
export interface Asked {
  readonly service: string;
  /** As the handler is called, `getState`. */
  readonly method: string;
  /** Whose token was sent; undefined for none or one that nobody holds. */
  readonly holder: string | undefined;
}

/** What a person answers for: a risk lock that is opened, a state that is given up. */
const personsOnly: Readonly<Record<string, string>> = {
  unlockRisk: "a risk lock is opened",
  forgetState: "what a workload kept is given up",
};

/** Why the peer may not ask this; undefined when it may. */
export function refusalOf(peer: Peer, { service, method, holder }: Asked): string | undefined {
  if (service !== NodeService.typeName) {
    const another = peer.is === "workload" && peer.workload !== "" && holder !== undefined && holder !== peer.workload;
    return another ? `the token of '${holder}' was sent by ${named(peer)}` : undefined;
  }
  switch (peer.is) {
    case "person":
      return undefined;
    case "unseen":
      return method in personsOnly
        ? `${peer.because}, and ${personsOnly[method]} by a person only: ${peer.instead}`
        : undefined;
    case "workload":
      return `${named(peer)} asks what only people may: a workload has BeatService, ReportService and StateService with its own token; ask from a shell that no workload has started`;
    case "helper":
      if (helperAsks.has(method)) return undefined;
      return `process ${peer.pid} was started by the agent (for a step, a probe or an alert) and may only look at how the node is; ask from a shell of your own`;
    case "gone":
      return `process ${peer.pid}, which has connected, is gone: who asks what only people may lives until it is answered`;
  }
}

/** As the audit says it. */
export function refused(peer: Peer, method: string, because: string): Refusal {
  const workload = peer.is === "workload" ? peer.workload : "";
  const target = workload === "" ? "node" : `workload/${workload}`;
  return { actor: `${peer.is}:${workload || peer.pid}`, action: `api.${method}`, target, because };
}

/** The same is told once in a while, however often it is asked. */
export class Told {
  readonly #atMs = new Map<string, number>();

  /** True when it was not told within the last minute. Remembers 1,000 things; the longest untold is forgotten first. */
  isNew(what: string, nowMs: number): boolean {
    const before = this.#atMs.get(what);
    if (before !== undefined && nowMs - before < toldAgainMs) return false;
    this.#atMs.delete(what);
    this.#atMs.set(what, nowMs);
    const [oldest] = this.#atMs.keys();
    if (this.#atMs.size > toldMax && oldest !== undefined) this.#atMs.delete(oldest);
    return true;
  }
}
const toldAgainMs = 60_000;
const toldMax = 1000;

/** What the services throw. */
export function denied(because: string): Fault {
  return new Fault("DENIED", because);
}

function named(peer: Peer & { is: "workload" }): string {
  // A person who has exported a token to try something out must see why this shell is none of his any more.
  const unnamed = "a workload (BLUEFLAME_TOKEN is in its environment, or in that of who started it)";
  return `process ${peer.pid} of ${peer.workload === "" ? unnamed : `workload '${peer.workload}'`}`;
}
