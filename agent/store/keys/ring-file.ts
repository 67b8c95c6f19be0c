import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { replaceFile, syncFolder } from "@blueflame/shared/store/folder.ts";
import { places } from "../../constants.ts";
import { encodeRing, parseRing, type StoredRing } from "./ring.ts";
import { type Escrow, escrowOf } from "./wrap.ts";

/** The key of the ring in the store, among the database's own. */
export const ringKey = "!ring";

/** The copy beside the store; undefined when there is none that is whole. */
export function readRingFile(dataDir: string): StoredRing | undefined {
  try {
    return parseRing(readFileSync(fileOf(dataDir)));
  } catch {
    return undefined;
  }
}

/** Replaces it, whole or not at all; durable on return. Throws STORE_WRITE_FAILED. */
export function writeRingFile(dataDir: string, ring: StoredRing): void {
  replace(fileOf(dataDir), encodeRing(ring));
}

/** The public key that lies beside the store: undefined when there is none, a Fault (CONFIG_INVALID) when it is none or cannot be read. */
export function readEscrow(dataDir: string): Escrow | Fault | undefined {
  const path = escrowFileOf(dataDir);
  try {
    return existsSync(path) ? escrowOf(readFileSync(path, "utf8")) : undefined;
  } catch (cause) {
    return isFault(cause) ? cause : new Fault("CONFIG_INVALID", `'${path}': ${(cause as Error).message}`, { cause });
  }
}
/** Leaves a public key here, or none. Throws STORE_WRITE_FAILED. */
export function writeEscrow(dataDir: string, escrow: Escrow | undefined): void {
  const path = escrowFileOf(dataDir);
  if (escrow) replace(path, Buffer.from(escrow.pem));
  else if (existsSync(path)) remove(dataDir, path);
}

function fileOf(dataDir: string): string {
  return join(dataDir, places.storeRing);
}
function escrowFileOf(dataDir: string): string {
  return join(dataDir, "store.escrow.pem");
}

function replace(path: string, bytes: Uint8Array): void {
  try {
    replaceFile(path, bytes);
  } catch (cause) {
    throw new Fault("STORE_WRITE_FAILED", `cannot write '${path}': ${(cause as Error).message}`, { cause });
  }
}
function remove(dataDir: string, path: string): void {
  try {
    rmSync(path);
    syncFolder(dataDir);
  } catch (cause) {
    throw new Fault("STORE_WRITE_FAILED", `cannot remove '${path}': ${(cause as Error).message}`, { cause });
  }
}
