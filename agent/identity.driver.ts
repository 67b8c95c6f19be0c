import { X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { HubTarget } from "./uplink/ports.ts";

/** Paths of the PEM files by which hub and node know each other. */
export interface IdentityFiles {
  readonly caPath: string;
  readonly certPath: string;
  readonly keyPath: string;
}

/** The PEM texts for the uplink. Throws CERT_UNUSABLE when a file is missing, broken or does not fit, or when the key is readable by others. */
export function readTarget(addresses: readonly string[], files: IdentityFiles): HubTarget {
  const ca = readPem(files.caPath, "CA certificate");
  const cert = readPem(files.certPath, "certificate");
  const key = readPem(files.keyPath, "private key");
  const mode = statSync(files.keyPath).mode & 0o077;
  if (mode !== 0)
    throw new Fault(
      "CERT_UNUSABLE",
      `the private key ${files.keyPath} is readable by others (mode ${(mode | 0o600).toString(8)})`,
    );
  return { addresses, ca, cert, key };
}

function readPem(path: string, what: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new Fault("CERT_UNUSABLE", `cannot read the ${what} ${path}`, { cause });
  }
}

/** The node id in a certificate's SAN `spiffe://blueflame/node/ID`; undefined when there is none. */
export function nodeIdOf(cert: string): string | undefined {
  try {
    return /URI:spiffe:\/\/blueflame\/node\/([a-z0-9.-]+)/.exec(new X509Certificate(cert).subjectAltName ?? "")?.[1];
  } catch {
    return undefined;
  }
}

/** The host name, made to fit a node id. */
export function defaultNodeId(): string {
  const name = hostname()
    .toLowerCase()
    .replace(/[^a-z0-9.-]+/g, "-")
    .replace(/^[^a-z0-9]+|[^a-z0-9]+$/g, "");
  return name.slice(0, 63) || "node";
}
