import type { EventEmitter } from "node:events";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { OperatorService } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import type { Handlers } from "@blueflame/shared/rpc/definition.ts";
import type * as grpc from "@grpc/grpc-js";
import type { Fleet } from "../fleet.ts";
import { identityOf } from "../trust/identity.ts";
import { type Caller, operatorApi } from "./operator.ts";

/** The part of a call that says who is at its other end. */
export interface PeerCall {
  getAuthContext(): { readonly sslPeerCertificate?: { readonly subjectaltname?: string | undefined } };
}

/** Throws DENIED for a node's certificate and for none. */
export function requireOperator(call: PeerCall): undefined {
  const certificate = call.getAuthContext().sslPeerCertificate;
  const identity = certificate === undefined ? undefined : identityOf(certificate);
  if (identity?.role === "operator") return undefined;
  const who = identity === undefined ? "a caller without an identity of this hub" : `the node '${identity.name}'`;
  throw new Fault("DENIED", `${who} asked for what only operators may see`);
}

/** What the handlers may be told otherwise. */
export interface GrpcDoor {
  /**
   * Throws to refuse a call; {@link requireOperator} unless given. A server without TLS has to say who may call. What it
   * returns is called before each message of a stream, and throws to end it.
   */
  readonly authorize?: (call: PeerCall) => (() => void) | undefined;
}

/** OperatorService for `addService` of `shared/rpc/definition.ts`: every method checks the caller's certificate first. */
export function operatorHandlers(fleet: Fleet, door: GrpcDoor = {}): Handlers<typeof OperatorService> {
  const api = operatorApi(fleet);
  const authorize = door.authorize ?? requireOperator;
  const answer =
    <Request, Response>(ask: (request: Request) => Promise<Response> | Response) =>
    (request: Request, call: PeerCall): Promise<Response> | Response => {
      authorize(call);
      return ask(request);
    };
  const stream =
    <Request, Response>(watch: (request: Request, caller: Caller) => AsyncGenerator<Response>) =>
    (call: grpc.ServerWritableStream<Request, Response>): Promise<void> => {
      const still = authorize(call);
      return pump(call, (caller) => watch(call.request, caller), still);
    };
  return {
    listNodes: answer(api.listNodes),
    getNode: answer(api.getNode),
    watchNodes: stream(api.watchNodes),
    listIncidents: answer(api.listIncidents),
    getIncident: answer(api.getIncident),
    watchIncidents: stream(api.watchIncidents),
    listAudit: answer(api.listAudit),
    readAudit: answer(api.readAudit),
    listDecisions: answer(api.listDecisions),
    getHub: answer(api.getHub),
  };
}

/** Writes what the generator yields, one value at a time and only while there is room; ends when the caller leaves. */
async function pump<Request, Response>(
  call: grpc.ServerWritableStream<Request, Response>,
  watch: (caller: Caller) => AsyncGenerator<Response>,
  still: (() => void) | undefined,
): Promise<void> {
  const left = new AbortController();
  const leave = () => left.abort();
  call.on("cancelled", leave);
  call.on("close", leave);
  call.on("error", leave);
  for await (const value of watch({ signal: left.signal })) {
    if (left.signal.aborted) return;
    still?.();
    if (!call.write(value)) await room(call, left.signal);
    if (left.signal.aborted) return;
  }
  call.end();
}

/** After a cancel "drain" never comes: the signal ends the wait then. */
function room(call: Pick<EventEmitter, "on" | "off">, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      call.off("drain", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    call.on("drain", done);
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}
