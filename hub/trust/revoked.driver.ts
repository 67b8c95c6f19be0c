import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { Identity } from "./identity.ts";

/** The identities and certificates that were taken back: `<dir>/revoked.txt`, one a line, `#` starts a comment. */
export interface RevokedList {
  /** Grows whenever the file changed: whoever remembers an answer asks again then. */
  version(): number;
  /** True when `role/name` or the certificate's SHA-256 fingerprint is in the list. */
  has(identity: Identity, fingerprint: string): boolean;
  /** Looks at the file again; cheap when it is unchanged. Throws CERT_UNUSABLE when it cannot be read; what was known stays. */
  refresh(): void;
}

/** Opens the list; no file means that nothing was taken back. */
export function openRevokedList(dir: string): RevokedList {
  const path = join(dir, "revoked.txt");
  let entries = new Set<string>();
  let seen = "";
  let version = 0;
  const refresh = () => {
    const stat = statSync(path, { throwIfNoEntry: false });
    const now = stat ? `${stat.ino}/${stat.mtimeMs}/${stat.size}` : "";
    if (now === seen) return;
    try {
      entries = new Set(stat ? parseRevoked(readFileSync(path, "utf8")) : []);
    } catch (cause) {
      throw new Fault("CERT_UNUSABLE", `cannot read the list of revoked certificates '${path}'`, { cause });
    }
    seen = now;
    version += 1;
  };
  refresh();
  return {
    version: () => version,
    has: (identity, fingerprint) =>
      entries.has(`${identity.role}/${identity.name}`) || entries.has(plainFingerprint(fingerprint)),
    refresh,
  };
}

function parseRevoked(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.replace(/#.*/, "").trim())
    .filter((line) => line !== "")
    .map((line) => (line.includes("/") ? line : plainFingerprint(line)));
}

/** Tools print fingerprints with and without colons, in either case. */
function plainFingerprint(text: string): string {
  return text.replaceAll(":", "").toLowerCase();
}
