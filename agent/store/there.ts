import { existsSync } from "node:fs";
import { join } from "node:path";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { exists, placeOf } from "@blueflame/shared/store/level/opening.ts";

/** Looking makes nothing, also not the lock's folder. Throws DATA_DIR_UNUSABLE. */
export function checkDirThere(dataDir: string): void {
  if (existsSync(dataDir)) return;
  throw new Fault("DATA_DIR_UNUSABLE", `there is no directory '${dataDir}'`);
}

/** Also not a store. Throws DATA_DIR_UNUSABLE, NOT_FOUND where no agent ever kept one, STORE_MISSING where it is gone. */
export function checkStoreThere(dataDir: string): void {
  checkDirThere(dataDir);
  const { path, marker } = placeOf(join(dataDir, "store"));
  if (existsSync(path)) return;
  if (exists(marker)) throw new Fault("STORE_MISSING", `'${path}' is gone`);
  throw new Fault("NOT_FOUND", neverThere(dataDir));
}

/** What is said of a directory without a store, and without any sign of one. */
export function neverThere(dataDir: string): string {
  return `'${dataDir}' has no store, and nothing says that it ever had one: name the agent's directory with --data-dir`;
}
