import { Fault } from "@blueflame/shared/errors/fault.ts";
import * as grpc from "@grpc/grpc-js";
import type { IssuedCertificate } from "./authority.driver.ts";
import { type Identity, identityOf } from "./identity.ts";

/** A handshake that takes longer than this is an attack or a dead line; Node's own limit is two minutes. */
const handshakeTimeoutMs = 10_000;

/**
 * Mutual TLS 1.3 for a gRPC server, with a certificate that can be renewed while it runs. grpc-js's own `createSsl` offers
 * neither a least version nor a limit for the handshake.
 */
export class HubCredentials extends grpc.ServerCredentials {
  constructor(issued: IssuedCertificate) {
    super(
      { requestCert: true, rejectUnauthorized: true, minVersion: "TLSv1.3", handshakeTimeout: handshakeTimeoutMs },
      contextOf(issued),
    );
  }
  /** New connections get the new certificate; open ones go on. */
  renew(issued: IssuedCertificate): void {
    this.updateSecureContextOptions(contextOf(issued));
  }
  override _equals(other: grpc.ServerCredentials): boolean {
    return this === other;
  }
}

function contextOf(issued: IssuedCertificate) {
  return { ca: Buffer.from(issued.ca), cert: Buffer.from(issued.cert), key: Buffer.from(issued.key) };
}

/** The part of a call that says who is at its other end; reading it costs, so it is read once a stream. */
export interface PeerCall {
  getAuthContext(): {
    readonly sslPeerCertificate?: { readonly subjectaltname?: string | undefined; readonly fingerprint256?: string };
  };
}

/** Who calls, by the certificate that TLS has verified; throws CERT_REFUSED when it carries no identity of ours. */
export function caller(call: PeerCall): { readonly identity: Identity; readonly fingerprint: string } {
  const certificate = call.getAuthContext().sslPeerCertificate;
  const identity = certificate && identityOf(certificate);
  if (!identity) throw new Fault("CERT_REFUSED", "the client's certificate names neither a node nor an operator");
  return { identity, fingerprint: certificate.fingerprint256 ?? "" };
}
