import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { replaceFile } from "@blueflame/shared/store/folder.ts";
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

/** The public key that the owner of the node has left here; undefined when there is none. Throws CONFIG_INVALID. */
export function readEscrow(dataDir: string): Escrow | undefined {
  const path = escrowFileOf(dataDir);
  return existsSync(path) ? escrowOf(readFileSync(path, "utf8")) : undefined;
}
/** Leaves a public key here. Throws CONFIG_INVALID, STORE_WRITE_FAILED. */
export function writeEscrow(dataDir: string, pem: string): Escrow {
  const escrow = escrowOf(pem);
  replace(escrowFileOf(dataDir), Buffer.from(pem));
  return escrow;
}

function fileOf(dataDir: string): string {
  return join(dataDir, "store.keys");
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
