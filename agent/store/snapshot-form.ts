import { Codec } from "./codec.ts";
import { type Form, plainForm, sealedForm } from "./form.ts";
import { merged } from "./keys/ring.ts";
import { openRing, storedRing } from "./keys/store-keys.ts";
import { unreadable } from "./readable.ts";
import { type Check, manifestOf } from "./snapshot-file.ts";

/** The form of a snapshot's values. Throws STORE_DAMAGED, and the faults of a key. */
export async function snapshotForm(place: string, dataDir: string): Promise<Form> {
  const { ring } = await manifestOf(place);
  if (!ring) return plainForm;
  const stored = merged(ring, storedRing(undefined, dataDir)) ?? ring;
  return sealedForm(new Codec(openRing(stored, dataDir).ring));
}

/** Tells which values of a snapshot are of no use. Throws as {@link snapshotForm}. */
export async function checkOf(place: string, dataDir: string): Promise<Check> {
  const form = await snapshotForm(place, dataDir);
  return (key, sealed) => unreadable(form, key, sealed);
}
