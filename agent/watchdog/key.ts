import { linkSync, lstatSync, readFileSync, realpathSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { places } from "../constants.ts";
import { crypto } from "./lazily.ts";
import type { GuardKey } from "./wire.ts";

const format = 1;

interface Kept extends GuardKey {
  readonly format: number;
  /** Where it was made: a copied folder is another node's, and needs names of its own. */
  readonly dir: string;
}

/** The key of this data directory; undefined when there is none, or none that nobody else could have read. Never throws. */
export function readKey(dataDir: string): GuardKey | undefined {
  const path = join(dataDir, places.guardKey);
  try {
    if ((lstatSync(path).mode & 0o077) !== 0) return undefined;
    const { format: of, dir, name, secret } = JSON.parse(readFileSync(path, "utf8")) as Partial<Kept>;
    if (of !== format || dir !== truePath(dataDir) || !name || !secret) return undefined;
    return { name, secret };
  } catch {
    return undefined;
  }
}

/**
 * The key of this data directory, made now when there is none, or when the one that is there is `spoilt`; undefined where the
 * disk takes none. Never throws.
 */
export function keyFor(dataDir: string, spoilt?: GuardKey): GuardKey | undefined {
  const there = readKey(dataDir);
  if (there && there.name !== spoilt?.name) return there;
  const path = join(dataDir, places.guardKey);
  const draft = `${path}.${process.pid}`;
  try {
    const kept: Kept = { format, dir: truePath(dataDir), name: `blueflame-${random(12)}`, secret: random(32) };
    writeFileSync(draft, `${JSON.stringify(kept)}\n`, { mode: 0o600, flush: true });
    rmSync(path, { force: true }); // unusable or spoilt, as we have seen
    linkSync(draft, path); // whole or not at all, and the first of two wins
  } catch {
    // Another one was faster, or the disk refuses.
  } finally {
    try {
      unlinkSync(draft);
    } catch {
      // It was never written.
    }
  }
  return readKey(dataDir);
}

/** Hexadecimal of so many random bytes. */
export function random(bytes: number): string {
  return crypto().randomBytes(bytes).toString("hex");
}

function truePath(dataDir: string): string {
  try {
    return realpathSync(dataDir);
  } catch {
    return resolve(dataDir);
  }
}
