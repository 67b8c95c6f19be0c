import { createPublicKey, type KeyObject, verify, X509Certificate } from "node:crypto";
import { Fault } from "../errors/fault.ts";
import { headText } from "./chain.ts";
import type { ChainHeader, Finding, SignedHead } from "./check.ts";

/** True when the hub whose key this is has signed the head of this node. */
export function isSignedBy(key: KeyObject, nodeId: string, head: SignedHead): boolean {
  const signature = Buffer.from(head.signature, "base64");
  return verify("sha256", headText(nodeId, head, head.signedAtMs), { key, dsaEncoding: "ieee-p1363" }, signature);
}

/** The public key of a CA certificate, or of a key as PEM. Throws CERT_UNUSABLE. */
export function hubKeyOf(pem: string): KeyObject {
  try {
    return pem.includes("CERTIFICATE") ? new X509Certificate(pem).publicKey : createPublicKey(pem);
  } catch (cause) {
    throw new Fault("CERT_UNUSABLE", "the hub's CA certificate or key cannot be read", { cause });
  }
}
export function hubKeyPem(key: KeyObject): string {
  return key.export({ type: "spki", format: "pem" }).toString();
}

/** Heads whose signature is not the hub's; undefined when there is no key to check them by. Throws CERT_UNUSABLE. */
export function wrongSignatures(header: ChainHeader, pem: string | undefined): Finding[] | undefined {
  if (pem === undefined) return undefined;
  const key = hubKeyOf(pem);
  return header.signed
    .filter((head) => !isSignedBy(key, header.nodeId, head))
    .map(({ generation, number, signedAtMs }) => ({
      is: "signature",
      number,
      generation,
      atMs: signedAtMs,
      expected: `the hub's countersignature under record ${number}`,
      saw: "another signature",
    }));
}
