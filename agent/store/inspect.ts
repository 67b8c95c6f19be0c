import { existsSync } from "node:fs";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { type Examined, examine, type FileDamage } from "@blueflame/shared/store/level/files/examine.ts";
import { lostIn } from "@blueflame/shared/store/level/marks.ts";
import { type Handle, type Place, reopenHandle } from "@blueflame/shared/store/level/opening.ts";
import { checkKnown, damagedCopies } from "@blueflame/shared/store/level/remake.ts";
import { shown } from "./codec.ts";
import { type Mirror, readMirror } from "./deferred-mirror.ts";
import { type Form, formOf, storeFormat } from "./form.ts";
import { identityKey, type Stored, storedIdentity } from "./identity.ts";
import type { StoreFindings } from "./mend-choice.ts";
import { unreadable } from "./readable.ts";
import { homeOf, swapped } from "./sealed-database.ts";
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
/** Rows in which the home of a moved record is looked for. */
const searchMax = 20_000;

/**
 * Looks at the store of a data directory whose lock is held and which nobody has open. A store whose files are sound is opened
 * and read to its end, as the agent would do; a damaged one is not touched. Throws STORE_NEWER, DATA_DIR_UNUSABLE for files
 * that this user may not read, the disk's own error, and the faults of a key; with `mayLoseKey` a store has none then. `known` is the
 * mirror where somebody knows better than what lies there.
 */
export async function inspect(dataDir: string, place: Place, mayLoseKey = false, known?: Mirror): Promise<Inspected> {
  const found = readFiles(place.path);
  const mirror = known ?? readMirror(dataDir);
  const snapshots = snapshotNumbers(snapshotsIn(dataDir)).length;
  const copies = damagedCopies(place).length;
  const parts = [...new Set(found.damage.map(({ part }) => part))].sort();
  const values =
    found.is === "sound"
      ? await readValues(dataDir, place, mirror, mayLoseKey)
      : ({ opens: true, keys: "there", unreadable: 0, behind: false, notes: [] } as const);
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

async function readValues(
  dataDir: string,
  place: Place,
  mirror: Mirror | undefined,
  mayLoseKey: boolean,
): Promise<Values> {
  let handle: Handle;
  try {
    handle = await reopenHandle(place, {});
  } catch (error) {
    if (!isFault(error, "STORE_DAMAGED")) throw error;
    return { ...closed, notes: [error.saw] };
  }
  try {
    await checkKnown(place, handle, storeFormat);
    const form = await formOf(handle, dataDir).catch((error: unknown) => {
      if (mayLoseKey && (isFault(error, "STORE_KEY_MISSING") || isFault(error, "STORE_KEY_WRONG"))) return error;
      throw error;
    });
    if (!form || isFault(form)) return await withoutKeys(handle, form?.saw);
    const problems = await unreadableIn(handle, form);
    const lost = await lostIn(place, handle);
    const notes = [...(lost === undefined ? [] : [lost]), ...problems.slice(0, notesMax).map(({ saw }) => saw)];
    const sealed = await handle.get(identityKey);
    const whole = sealed && problems.every(({ key }) => key !== identityKey);
    const identity = whole ? storedIdentity(form.open(identityKey, sealed).value) : undefined;
    // A store that was made and says of nobody that it is his lost its first write; without a mirror that may be a first run that died.
    const behind = lost !== undefined || (mirror !== undefined && (!identity || isBehind(identity, mirror)));
    return { opens: true, keys: "there", unreadable: problems.length, behind, notes };
  } catch (error) {
    if (isFault(error)) throw error;
    return { ...closed, notes: [(error as Error).message] };
  } finally {
    await handle.close();
  }
}

type Values = Pick<Inspected, "opens" | "keys" | "unreadable" | "behind" | "notes">;
const closed = { opens: false, keys: "there", unreadable: 0, behind: false } as const;

/** A store that was made and not written yet needs no keys. */
async function withoutKeys(
  handle: Handle,
  saw = "the wrapped data keys are gone, in the store and beside it",
): Promise<Values> {
  const [any] = await handle.keys({ gte: "a", lt: "\x7f", limit: 1 }).all();
  if (any === undefined) return { opens: true, keys: "there", unreadable: 0, behind: false, notes: [] };
  return { opens: true, keys: "gone", unreadable: 0, behind: false, notes: [saw] };
}

/** With where it comes from, when it was moved from another place of the store. */
async function problemOf(handle: Handle, form: Form, key: string, sealed: Uint8Array): Promise<string | undefined> {
  const saw = unreadable(form, key, sealed);
  if (saw === undefined || !form.codec || !saw.includes("STORE_RECORD_CHANGED")) return saw;
  const places = await handle.keys({ gte: "a", lt: "\x7f", limit: searchMax }).all();
  const home = homeOf(form.codec, key, sealed, places);
  return home === undefined ? saw : `'${shown(key)}': ${swapped(key, home).message}`;
}

/** Every value that cannot be what was written under its key; of the first few also whose they are: each search reads the store. */
export async function unreadableIn(handle: Handle, form: Form): Promise<{ key: string; saw: string }[]> {
  const problems: { key: string; saw: string }[] = [];
  for await (const [key, sealed] of handle.iterator({ gte: "a", lt: "\x7f" })) {
    const named = problems.length < notesMax;
    const saw = named ? await problemOf(handle, form, key, sealed) : unreadable(form, key, sealed);
    if (saw !== undefined) problems.push({ key, saw });
  }
  return problems;
}

function isBehind(identity: Stored, mirror: Mirror): boolean {
  if (BigInt(identity.incarnation) < BigInt(mirror.incarnation)) return true;
  return identity.generation === mirror.generation && BigInt(identity.session) < BigInt(mirror.session);
}
