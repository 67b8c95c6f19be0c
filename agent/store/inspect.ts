import { existsSync } from "node:fs";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { type Examined, examine, type FileDamage } from "@blueflame/shared/store/level/files/examine.ts";
import { type Handle, type Place, reopenHandle } from "@blueflame/shared/store/level/opening.ts";
import { checkKnown, damagedCopies } from "@blueflame/shared/store/level/remake.ts";
import { type Mirror, readMirror } from "./deferred-mirror.ts";
import { identityKey, type Stored, storedIdentity } from "./identity.ts";
import type { StoreFindings } from "./mend-choice.ts";
import { unreadable } from "./readable.ts";
import { snapshotNumbers, snapshotsIn } from "./snapshot-file.ts";

/** A store at rest, looked at from all sides. */
export interface Inspected extends StoreFindings {
  readonly damage: readonly FileDamage[];
  readonly mirror: Mirror | undefined;
  /** What a person should know: the first few things of each kind. */
  readonly notes: readonly string[];
  readonly bytes: number;
}

const notesMax = 5;

/**
 * Looks at the store of a data directory whose lock is held and which nobody has open. A store whose files are sound is opened
 * and read to its end, as the agent would do; a damaged one is not touched. Throws STORE_NEWER, DATA_DIR_UNUSABLE for files
 * that this user may not read, and the disk's own error.
 */
export async function inspect(dataDir: string, place: Place): Promise<Inspected> {
  const found = readFiles(place.path);
  const mirror = readMirror(dataDir);
  const snapshots = snapshotNumbers(snapshotsIn(dataDir)).length;
  const copies = damagedCopies(place).length;
  const parts = [...new Set(found.damage.map(({ part }) => part))].sort();
  const values =
    found.is === "sound" ? await readValues(place, mirror) : { opens: true, unreadable: 0, behind: false, notes: [] };
  return {
    ...values,
    files: found.is,
    parts,
    existed: existsSync(place.marker) || mirror !== undefined || snapshots + copies > 0,
    snapshots,
    copies,
    damage: found.damage,
    mirror,
    notes: [
      ...found.damage.slice(0, notesMax).map(({ file, is, saw }) => `${file} is ${is}: ${saw}`),
      ...found.notes,
      ...values.notes,
    ],
    bytes: found.bytes,
  };
}

function readFiles(path: string): Examined {
  try {
    const found = examine(path);
    const refused = found.damage.find(({ is, saw }) => is === "unreadable" && /EACCES|EPERM/.test(saw));
    if (!refused) return found;
    throw new Fault("DATA_DIR_UNUSABLE", `'${path}/${refused.file}' may not be read: ${refused.saw}`);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (isFault(error) || !["EACCES", "EPERM", "ENOTDIR"].includes(code ?? "")) throw error;
    throw new Fault("DATA_DIR_UNUSABLE", `'${path}' cannot be read: ${code}`, { cause: error });
  }
}

async function readValues(place: Place, mirror: Mirror | undefined) {
  let handle: Handle;
  try {
    handle = await reopenHandle(place, {});
  } catch (error) {
    if (!isFault(error, "STORE_DAMAGED")) throw error;
    return { opens: false, unreadable: 0, behind: false, notes: [error.saw] };
  }
  try {
    await checkKnown(place, handle);
    const problems = await unreadableIn(handle);
    const notes = problems.slice(0, notesMax).map(({ saw }) => saw);
    const sealed = await handle.get(identityKey);
    const identity = sealed && problems.every(({ key }) => key !== identityKey) ? storedIdentity(sealed) : undefined;
    // A store that was made and says of nobody that it is his lost its first write; without a mirror that may be a first run that died.
    const behind = mirror !== undefined && (!identity || isBehind(identity, mirror));
    return { opens: true, unreadable: problems.length, behind, notes };
  } catch (error) {
    if (isFault(error)) throw error;
    return { opens: false, unreadable: 0, behind: false, notes: [(error as Error).message] };
  } finally {
    await handle.close();
  }
}

/** Every value that cannot be what was written under its key. */
export async function unreadableIn(handle: Handle): Promise<{ key: string; saw: string }[]> {
  const problems: { key: string; saw: string }[] = [];
  for await (const [key, sealed] of handle.iterator({ gte: "a" })) {
    const saw = unreadable(key, sealed);
    if (saw !== undefined) problems.push({ key, saw });
  }
  return problems;
}

function isBehind(identity: Stored, mirror: Mirror): boolean {
  if (BigInt(identity.incarnation) < BigInt(mirror.incarnation)) return true;
  return identity.generation === mirror.generation && BigInt(identity.session) < BigInt(mirror.session);
}
