import { Fault } from "@blueflame/shared/errors/fault.ts";
import { decodeNumber } from "@blueflame/shared/store/level/numbers.ts";
import type { Handle } from "@blueflame/shared/store/level/opening.ts";
import type { Write } from "@blueflame/shared/store/level/writer.ts";
import { Codec } from "./codec.ts";
import { merged, type StoredRing } from "./keys/ring.ts";
import { ringKey } from "./keys/ring-file.ts";
import { openRing, storedRing } from "./keys/store-keys.ts";

/** Of keys and values: 1 was plain, 2 is sealed. */
export const storeFormat = 2;
const plainVersion = 0;

/** How the rows of a store at rest are read and written, whichever format it has. */
export interface Form {
  /** Undefined for a plain one. */
  readonly codec: Codec | undefined;
  /** What stands at `place`, in the clear. Throws STORE_DAMAGED or a fault of the record. */
  open(place: string, bytes: Uint8Array): { key: string; value: Uint8Array };
  put(key: string, value: Uint8Array): Write;
}

export const plainForm: Form = {
  codec: undefined,
  open(place, bytes) {
    if (bytes[0] !== plainVersion) {
      throw new Fault("STORE_DAMAGED", `the value of '${place}' has the unknown version ${bytes[0]}`);
    }
    return { key: place, value: bytes.subarray(1) };
  },
  put: (key, value) => ({ type: "put", key, value: Buffer.concat([Buffer.of(plainVersion), value]) }),
};

export function sealedForm(codec: Codec): Form {
  return {
    codec,
    open: (place, bytes) => codec.open(place, bytes),
    put: (key, value) => ({ type: "put", key: codec.placeOf(key), value: codec.seal(key, value) }),
  };
}

/** A plain store whose migration was cut short: both forms, told apart by their version. */
function mixedForm(sealed: Form): Form {
  return {
    ...sealed,
    open: (place, bytes) => (bytes[0] === plainVersion ? plainForm : sealed).open(place, bytes),
  };
}

/**
 * The form of the store that `handle` has open; one without a format is about to become sealed. Undefined when it is sealed and
 * its keys are gone. Throws the faults of a key that is missing, loose, unreadable or wrong.
 */
export async function formOf(handle: Handle, dataDir: string, other?: StoredRing): Promise<Form | undefined> {
  const format = await handle.get("!format");
  const plain = format !== undefined && decodeNumber(format) < storeFormat;
  const stored = merged(storedRing(await handle.get(ringKey), dataDir), other);
  if (!stored) return plain ? plainForm : undefined;
  const sealed = sealedForm(new Codec(openRing(stored, dataDir).ring));
  return plain ? mixedForm(sealed) : sealed;
}
