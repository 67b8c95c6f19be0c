/** Who is behind a certificate: one node, or one person or tool. */
export interface Identity {
  readonly role: "node" | "operator";
  readonly name: string;
}

const prefix = "spiffe://blueflame/";
/** The same as in the agent's config: lower case, so that no two identities differ by case only. */
const namePattern = /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/;
/** What `isIdentityName` accepts, in words. */
export const identityNameMeans = "1 to 63 of a-z, 0-9, dot and dash, starting and ending with a letter or digit";

/** True for a name that a certificate may be issued for. */
export function isIdentityName(name: string): boolean {
  return namePattern.test(name);
}

/** The subject alternative name that carries the identity: `spiffe://blueflame/node/ID`. */
export function identityUri(identity: Identity): string {
  return `${prefix}${identity.role}/${identity.name}`;
}

/**
 * The identity in a peer certificate that TLS has already verified against our CA; undefined when it carries none.
 * Exactly one name of the form that we issue is accepted, nothing beside it: our CA signs no other, so anything else was
 * not made by us, and Node joins several names with ", ", which a second name could be hidden in.
 */
export function identityOf(certificate: { readonly subjectaltname?: string | undefined }): Identity | undefined {
  const match = /^URI:spiffe:\/\/blueflame\/(node|operator)\/([a-z0-9.-]{1,63})$/.exec(
    certificate.subjectaltname ?? "",
  );
  const [, role, name] = match ?? [];
  if (name === undefined || !isIdentityName(name)) return undefined;
  return { role: role === "node" ? "node" : "operator", name };
}
