import * as grpc from "@grpc/grpc-js";
import { catalogue, Fault, type FaultCode } from "../errors/fault.ts";

/** The metadata key that carries a Fault's code. */
export const codeKey = "blueflame-code";

/** Faults that a caller can tell apart by status alone; every other one is FAILED_PRECONDITION (never) or UNAVAILABLE (later). */
const statusOf: Partial<Record<FaultCode, grpc.status>> = {
  CONFIG_INVALID: grpc.status.INVALID_ARGUMENT,
  CONFIG_NOT_FOUND: grpc.status.NOT_FOUND,
  USAGE: grpc.status.INVALID_ARGUMENT,
  BAD_REQUEST: grpc.status.INVALID_ARGUMENT,
  WORKLOAD_UNKNOWN: grpc.status.NOT_FOUND,
  NOT_FOUND: grpc.status.NOT_FOUND,
  WORKLOAD_STOPPED: grpc.status.FAILED_PRECONDITION,
  CONDITION_FALSE: grpc.status.FAILED_PRECONDITION,
  DENIED: grpc.status.PERMISSION_DENIED,
  CERT_REFUSED: grpc.status.UNAUTHENTICATED,
  CERT_EXPIRED: grpc.status.UNAUTHENTICATED,
  HUB_UNTRUSTED: grpc.status.UNAUTHENTICATED,
  HUB_MISNAMED: grpc.status.UNAUTHENTICATED,
  NODE_ID_MISMATCH: grpc.status.PERMISSION_DENIED,
  NODE_ID_TAKEN: grpc.status.ALREADY_EXISTS,
  INCARNATION_OLD: grpc.status.PERMISSION_DENIED,
  LINK_PROTOCOL: grpc.status.INTERNAL,
  TIMED_OUT: grpc.status.DEADLINE_EXCEEDED,
  LIMIT_REACHED: grpc.status.RESOURCE_EXHAUSTED,
  STATE_CONFLICT: grpc.status.ABORTED,
};

/** Details travel in one HTTP/2 header, and peers bound those. */
const detailsMax = 2000;

/** An error with a status, as a server hands it to grpc-js. */
export interface StatusError extends Error {
  readonly code: grpc.status;
  readonly details: string;
  readonly metadata: grpc.Metadata;
}

/**
 * Any error as a gRPC status: a Fault by its code, with its whole text as message and its code in metadata
 * `blueflame-code`; an error that has a status already keeps it; anything else is INTERNAL. Never throws.
 */
export function toStatus(error: unknown): StatusError {
  const metadata = new grpc.Metadata();
  if (error instanceof Fault) {
    metadata.set(codeKey, error.code);
    const otherwise = error.retry === "later" ? grpc.status.UNAVAILABLE : grpc.status.FAILED_PRECONDITION;
    return statusError(error, statusOf[error.code] ?? otherwise, error.message, metadata);
  }
  if (isServiceError(error)) {
    return statusError(error, error.code, error.details, error.metadata ?? metadata);
  }
  const message = error instanceof Error ? error.message : String(error);
  return statusError(error, grpc.status.INTERNAL, `unexpected: ${message}`, metadata);
}

function statusError(cause: unknown, code: grpc.status, details: string, metadata: grpc.Metadata): StatusError {
  const cut = details.length > detailsMax ? `${details.slice(0, detailsMax)}…` : details;
  return Object.assign(new Error(cut, { cause }), { code, details: cut, metadata });
}

function isServiceError(error: unknown): error is grpc.ServiceError {
  return error instanceof Error && "code" in error && typeof error.code === "number" && "details" in error;
}

const faultOf: Partial<Record<grpc.status, FaultCode>> = {
  [grpc.status.INVALID_ARGUMENT]: "BAD_REQUEST",
  [grpc.status.DEADLINE_EXCEEDED]: "TIMED_OUT",
  [grpc.status.NOT_FOUND]: "NOT_FOUND",
  [grpc.status.PERMISSION_DENIED]: "DENIED",
  [grpc.status.UNAUTHENTICATED]: "DENIED",
  [grpc.status.RESOURCE_EXHAUSTED]: "LIMIT_REACHED",
  [grpc.status.FAILED_PRECONDITION]: "CONDITION_FALSE",
  [grpc.status.ABORTED]: "STATE_CONFLICT",
};

/**
 * The Fault behind what a call failed with: the peer's own one when it sent a code we know, else by the status.
 * UNAVAILABLE without a code becomes `unreachable`, since only the caller knows whom it called. A Fault passes as it is.
 */
export function faultFrom(
  error: unknown,
  unreachable: "HUB_UNREACHABLE" | "AGENT_UNREACHABLE" = "HUB_UNREACHABLE",
): Fault {
  if (error instanceof Fault) return error;
  if (!isServiceError(error)) return new Fault("LINK_PROTOCOL", messageOf(error), { cause: error });
  const sent = error.metadata?.get(codeKey)[0];
  if (typeof sent === "string" && Object.hasOwn(catalogue, sent)) {
    const code = sent as FaultCode;
    return new Fault(code, sawOf(code, error.details), { cause: error });
  }
  const code = error.code === grpc.status.UNAVAILABLE ? unreachable : (faultOf[error.code] ?? "LINK_PROTOCOL");
  // The library tells of its own doings, which nobody outside it can use.
  const saw =
    code === "TIMED_OUT"
      ? "the peer did not answer in time"
      : `the peer answered ${grpc.status[error.code]}: ${error.details.replace(/\.? Resolution note: .*$/s, "")}`;
  return new Fault(code, saw, { cause: error });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Takes code and remedy off a Fault's text again; a peer of another version may word its remedy differently. */
function sawOf(code: FaultCode, details: string): string {
  const bare = details.startsWith(`[${code}] `) ? details.slice(code.length + 3) : details;
  const remedy = `. ${catalogue[code].remedy}`;
  return bare.endsWith(remedy) ? bare.slice(0, -remedy.length) : bare;
}
