import {
  existsSync,
  linkSync,
  lstatSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
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
  return keyAt(join(dataDir, places.guardKey), dataDir);
}

function keyAt(path: string, dataDir: string): GuardKey | undefined {
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
  const isGood = (key: GuardKey | undefined) => key !== undefined && key.name !== spoilt?.name;
  const there = readKey(dataDir);
  if (isGood(there)) return there;
  const path = join(dataDir, places.guardKey);
  const [draft, aside] = [`${path}.${process.pid}`, `${path}.${process.pid}.old`];
  try {
    const kept: Kept = { format, dir: truePath(dataDir), name: `blueflame-${random(12)}`, secret: random(32) };
    writeFileSync(draft, `${JSON.stringify(kept)}\n`, { mode: 0o600, flush: true });
    // Another one may have made it since we looked: taken aside, it would be missing for a moment.
    if (existsSync(path) && !isGood(readKey(dataDir))) {
      renameSync(path, aside);
      // Somebody may have made a good one since we looked.
      if (isGood(keyAt(aside, dataDir))) linkSync(aside, path);
    }
    linkSync(draft, path); // whole or not at all, and the first of many wins
  } catch {
    // Another one was faster, or the disk refuses.
  }
  for (const left of [draft, aside]) remove(left);
  return readKey(dataDir);
}

function remove(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // A disk that refuses: the file is nobody's any more.
  }
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
