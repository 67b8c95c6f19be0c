import type { FaultCode } from "@blueflame/shared/errors/fault.ts";

/** How a stream ended, as the gRPC library tells it. */
export interface Ended {
  /** The code that the hub sent with its status, if it sent one. */
  readonly sent: FaultCode | undefined;
  /** gRPC status by name. */
  readonly status: string;
  readonly details: string;
}

/** When our own certificate holds, in wall milliseconds. */
export interface Validity {
  readonly fromMs: number;
  readonly toMs: number;
}

/** A named cause; `guess` when another one would look the same. */
export interface Cause {
  readonly code: FaultCode;
  readonly saw: string;
  readonly guess?: true;
}

/**
 * Why a stream ended or never came about, under the name that a person can act on. Pure. The texts of TLS failures are
 * Node 24's and OpenSSL 3's; the test of this file's driver sees each of them for real, so that a change of wording shows.
 *
 * A Node hub that rejects our certificate says nothing: the handshake succeeds and the connection is gone before its first
 * HTTP/2 frame ("Failed to connect"). A hub that is just being killed can look the same once, hence the guess.
 */
export function causeOf(ended: Ended, own: Validity, wallMs: number): Cause {
  const saw = brief(ended.details);
  if (ended.sent) return { code: ended.sent, saw };
  const is = (pattern: RegExp) => pattern.test(ended.details);

  const refusedOurs = is(/alert (certificate|bad certificate|unknown ca|access denied|unsupported certificate)/);
  // A hub that rejects our certificate may close so fast that our side sees a reset; with a certificate that cannot be good now
  // that is the likelier cause, with a good one it is a hub that is just ending.
  const reset =
    is(/Last error: (Error: )?(read|write) (ECONNRESET|EPIPE)/) && (wallMs < own.fromMs || wallMs > own.toMs);
  if (refusedOurs || reset || is(/Last error: Failed to connect/)) {
    if (wallMs < own.fromMs)
      return { code: "CLOCK_WRONG", saw: `our certificate starts at ${day(own.fromMs)}, ${now(wallMs)}` };
    if (wallMs > own.toMs)
      return { code: "CERT_EXPIRED", saw: `our certificate ended at ${day(own.toMs)}, ${now(wallMs)}` };
    // The hub found it expired and we do not: one of the two clocks is wrong, and ours is the one we can speak of.
    if (is(/alert certificate expired/))
      return { code: "CLOCK_WRONG", saw: `the hub says that our certificate has expired, ${now(wallMs)}` };
    if (refusedOurs) return { code: "CERT_REFUSED", saw };
    const silent =
      "the hub closed the connection after the TLS handshake, as it does for a certificate that it rejects";
    return { code: "CERT_REFUSED", saw: silent, guess: true };
  }
  if (is(/certificate is not yet valid/))
    return { code: "CLOCK_WRONG", saw: `the hub's certificate is not valid yet, ${now(wallMs)}` };
  if (is(/certificate has expired/))
    return { code: "CERT_EXPIRED", saw: `the hub's certificate has expired, ${now(wallMs)}` };
  if (is(/does not match certificate's altnames|ERR_TLS_CERT_ALTNAME/)) return { code: "HUB_MISNAMED", saw };
  if (is(/self-signed certificate|unable to (verify|get)[^.]*certificate|ERR_TLS_CERT/))
    return { code: "HUB_UNTRUSTED", saw };
  switch (ended.status) {
    case "UNAUTHENTICATED":
    case "PERMISSION_DENIED":
      return { code: "CERT_REFUSED", saw: `the hub answered ${ended.status}: ${saw}` };
    // A hub that stops, dies or drains ends its streams with these; so do middle boxes.
    case "OK":
    case "CANCELLED":
    case "UNAVAILABLE":
    case "UNKNOWN":
      return { code: "HUB_UNREACHABLE", saw: saw === "" ? "the hub ended the stream" : saw };
    case "INTERNAL":
      return { code: is(/RST_STREAM|ECONNRESET|socket|EPIPE/) ? "HUB_UNREACHABLE" : "LINK_PROTOCOL", saw };
    default:
      return { code: "LINK_PROTOCOL", saw: `the hub answered ${ended.status}: ${saw}` };
  }
}

/** The library's sentence without its frame, bounded. */
function brief(details: string): string {
  return details
    .replace(/^No connection established\. Last error: (Error: )?/, "")
    .replace(/\.? Resolution note: .*$/s, "")
    .replace(/; if the root CA is installed locally.*?--use-system-ca/, "")
    .replace(/\s*\(\d{4}-\d\d-\d\dT[^)]*\)/g, "")
    .replace(/\s+/g, " ")
    .trim()
    .slice(0, 300);
}

function day(ms: number): string {
  return new Date(ms).toISOString();
}
function now(wallMs: number): string {
  return `and this machine's clock says ${day(wallMs)}`;
}
