import { readFileSync } from "node:fs";
import { Fault } from "@blueflame/shared/errors/fault.ts";

/** A file of keys that a person names. Throws CONFIG_NOT_FOUND. */
export function readKeyFile(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new Fault("CONFIG_NOT_FOUND", `cannot read '${file}': ${(cause as Error).message}`, { cause });
  }
}
