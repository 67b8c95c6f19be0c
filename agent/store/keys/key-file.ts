/**
 * The key-encryption key (KEK) of a node's store: 32 random bytes that open the data keys, and nothing else. It comes from the
 * service manager, else from a file beside the store:
 *
 *   $CREDENTIALS_DIRECTORY/blueflame-store-key            systemd: LoadCredential=, LoadCredentialEncrypted=, SetCredentialEncrypted=
 *   $CREDENTIALS_DIRECTORY/blueflame-store-key-previous   the one before it, while it is being changed
 *   <data dir>/store.key                                  mode 0600, made on the first run
 *   <data dir>/store.key.new                              of a change that was cut short
 *
 * It holds 64 hexadecimal digits, or 32 bytes as they are. It is never taken from the environment or a command line, and
 * never made while a store exists.
 */
import { hkdfSync, randomBytes } from "node:crypto";
import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { syncFolder } from "@blueflame/shared/store/folder.ts";
import { places } from "../../constants.ts";

/** What the credential is called; its unit line stands in the README. */
export const credentialName = "blueflame-store-key";
const keyBytes = 32;
/** More than any form of a key has. */
const fileMax = 4096;

/** One key-encryption key. `id` tells keys apart and says nothing of them. */
export interface Kek {
  readonly id: string;
  readonly bytes: Uint8Array;
  /** Where it was found, for a person. */
  readonly from: string;
  readonly is: "credential" | "file";
}

/** Who runs this process, as far as the system tells. */
export interface KeyPlace {
  readonly dataDir: string;
  /** systemd's folder of this service's credentials; default: what the environment says. */
  readonly credentials?: string | undefined;
  /** The user; default: that of the process. Undefined where the system has no numbers for users. */
  readonly uid?: number | undefined;
}

/** The file beside the store. */
export function keyFileOf(dataDir: string): string {
  return join(dataDir, places.storeKey);
}

/**
 * Every key that is there, the one to use first. Empty when there is none. Throws STORE_KEY_LOOSE for one that others may read
 * or that is somebody else's, STORE_KEY_UNREADABLE for one that cannot be read or is no key.
 */
export function findKeks(place: KeyPlace): Kek[] {
  const folder = "credentials" in place ? place.credentials : process.env.CREDENTIALS_DIRECTORY;
  const credentials = folder ? [credentialName, `${credentialName}-previous`].map((name) => join(folder, name)) : [];
  const file = keyFileOf(place.dataDir);
  const uid = "uid" in place ? place.uid : process.geteuid?.();
  const found = [
    ...credentials.flatMap((path) => readKey(path, "credential", uid, undefined)),
    ...[file, `${file}.new`].flatMap((path) => readKey(path, "file", uid, ownerOf(place.dataDir))),
  ];
  return [...new Map(found.reverse().map((kek) => [kek.id, kek])).values()].reverse();
}

/** Makes the file for a store that is about to be made. Durable on return. */
export function makeKeyFile(dataDir: string): Kek {
  return writeKeyFile(keyFileOf(dataDir), dataDir);
}

/** Begins a change of the file: the new key lies beside the old one until {@link endChange}. */
export function beginChange(dataDir: string): Kek {
  const path = `${keyFileOf(dataDir)}.new`;
  rmSync(path, { force: true });
  return writeKeyFile(path, dataDir);
}

/** The new key takes the place of the old one. Durable on return; harmless when there is none. Throws STORE_WRITE_FAILED: either may lie there then. */
export function endChange(dataDir: string): void {
  const path = keyFileOf(dataDir);
  if (!existsSync(`${path}.new`)) return;
  try {
    renameSync(`${path}.new`, path);
    syncFolder(dirname(path));
  } catch (cause) {
    throw new Fault("STORE_WRITE_FAILED", `cannot replace '${path}': ${(cause as Error).message}`, { cause });
  }
}

/** The key that these bytes are; `from` is for a person. */
export function kekOf(bytes: Uint8Array, from: string, is: Kek["is"]): Kek {
  return { id: Buffer.from(hkdfSync("sha256", bytes, "", "blueflame kek id", 8)).toString("hex"), bytes, from, is };
}

/** The key in these bytes, which somebody has kept elsewhere. Throws STORE_KEY_UNREADABLE. */
export function kekFrom(bytes: Uint8Array, from: string): Kek {
  return kekOf(parse(from, bytes), from, "file");
}

function writeKeyFile(path: string, dataDir: string): Kek {
  const bytes = randomBytes(keyBytes);
  try {
    const made = { mode: 0o600, flag: "wx", flush: true } as const;
    writeFileSync(path, `${bytes.toString("hex")}\n`, made);
    syncFolder(dirname(path));
  } catch (cause) {
    throw new Fault("STORE_WRITE_FAILED", `cannot write '${path}': ${(cause as Error).message}`, { cause });
  }
  // Made by root for a service's own folder: the service has to be able to read it.
  return readKey(path, "file", process.geteuid?.(), ownerOf(dataDir))[0] ?? kekOf(bytes, path, "file");
}

function readKey(path: string, is: Kek["is"], uid: number | undefined, folderOwner: number | undefined): Kek[] {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw unreadable(path, (cause as Error).message, cause);
  }
  try {
    const found = fstatSync(file);
    checkGuarded(path, is, found, uid, folderOwner);
    const bytes = Buffer.alloc(fileMax);
    return [kekOf(parse(path, bytes.subarray(0, readSync(file, bytes))), path, is)];
  } catch (cause) {
    if (cause instanceof Fault) throw cause;
    throw unreadable(path, (cause as Error).message, cause);
  } finally {
    closeSync(file);
  }
}

/** The mode of a credential shows the mask of its access list in the group's bits: reading is granted to the service alone. */
function checkGuarded(
  path: string,
  is: Kek["is"],
  { mode, uid: owner }: { mode: number; uid: number },
  uid: number | undefined,
  folderOwner: number | undefined,
): void {
  if (uid === undefined) return; // no such modes here: `doctor` says so
  const loose = mode & (is === "credential" ? 0o037 : 0o077);
  if (loose !== 0) {
    throw new Fault("STORE_KEY_LOOSE", `'${path}' has mode ${(mode & 0o777).toString(8).padStart(4, "0")}`);
  }
  const trusted = is === "credential" ? [uid, 0] : uid === 0 ? [0, folderOwner] : [uid];
  if (!trusted.includes(owner)) {
    throw new Fault("STORE_KEY_LOOSE", `'${path}' belongs to user ${owner}, this process runs as user ${uid}`);
  }
}

function parse(path: string, bytes: Uint8Array): Uint8Array {
  if (bytes.byteLength === keyBytes) return Uint8Array.from(bytes);
  const text = Buffer.from(bytes).toString("latin1").trim();
  if (/^[0-9a-f]{64}$/i.test(text)) return Buffer.from(text, "hex");
  throw unreadable(
    path,
    `its ${bytes.byteLength} bytes are neither 64 hexadecimal digits nor a key of ${keyBytes} bytes`,
  );
}

function unreadable(path: string, saw: string, cause?: unknown): Fault {
  return new Fault("STORE_KEY_UNREADABLE", `'${path}': ${saw}`, { cause });
}

function ownerOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.uid;
}
