/**
 * A snapshot as one run of bytes, for whoever keeps it elsewhere:
 *
 *   "BFS1"   length of the manifest: 4, least byte first   the manifest   the entries
 *
 * Its name is the SHA-256 of all of it. What is on the disk says byte for byte what was sent, so a sending goes on where it was cut,
 * also by another process.
 */
import { createHash } from "node:crypto";
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { syncFolder } from "@blueflame/shared/store/folder.ts";
import {
  entriesOf,
  manifestOf,
  nextNumber,
  type SnapshotManifest,
  snapshotsIn,
  verifySnapshot,
} from "./snapshot-file.ts";

/** Every part but the last has so many bytes; the hub takes no other. */
export const partBytes = 256 * 1024;
/** No store is larger (its own bound is half of it), and so no snapshot of one. */
export const parcelMax = 1024 * 1024 * 1024;
const magic = "BFS1";
const manifestMax = 64 * 1024;
/** A value whose first byte is this one was written before there were seals. */
const plain = 0;

/** A snapshot that can be sent. */
export interface Parcel {
  readonly id: string;
  readonly bytes: number;
  readonly manifest: SnapshotManifest;
  /** The bytes from `offset` on, at most {@link partBytes}. */
  part(offset: number): Promise<Uint8Array>;
}

/** Wraps the snapshot in the folder `place`. Throws STORE_DAMAGED, and DENIED for one whose values are not sealed: it stays here. */
export async function parcelOf(place: string): Promise<Parcel> {
  const manifest = await manifestOf(place);
  for await (const [key, sealed] of entriesOf(place, manifest)) {
    if (sealed[0] === plain) throw new Fault("DENIED", `'${key.split("\0")[0]}' in '${place}' is not sealed`);
  }
  const head = headOf(await readFile(join(place, "manifest.json")));
  const hash = createHash("sha256").update(head);
  const file = join(place, "entries");
  await eachPart(file, (bytes) => void hash.update(bytes));
  return {
    id: hash.digest("hex"),
    bytes: head.length + manifest.bytes,
    manifest,
    async part(offset) {
      const fromHead = head.subarray(offset, offset + partBytes);
      const rest = await bytesAt(file, Math.max(0, offset - head.length), partBytes - fromHead.length);
      return Buffer.concat([fromHead, rest]);
    },
  };
}

function headOf(manifest: Buffer): Buffer {
  const head = Buffer.alloc(magic.length + 4);
  head.write(magic, "latin1");
  head.writeUInt32LE(manifest.length, magic.length);
  return Buffer.concat([head, manifest]);
}

async function bytesAt(path: string, at: number, length: number): Promise<Buffer> {
  const file = await open(path);
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, at);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

async function eachPart(path: string, take: (bytes: Buffer) => void): Promise<void> {
  const file = await open(path);
  try {
    for (;;) {
      const { bytesRead, buffer } = await file.read(Buffer.alloc(partBytes), 0, partBytes);
      if (bytesRead === 0) return;
      take(buffer.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
}

/** A parcel on its way here, in a file that a later try goes on with. */
export class Arriving {
  readonly #folder: string;
  readonly #id: string;
  readonly #file: FileHandle;
  bytes: number;

  private constructor(folder: string, id: string, file: FileHandle, bytes: number) {
    this.#folder = folder;
    this.#id = id;
    this.#file = file;
    this.bytes = bytes;
  }
  /** What an earlier try has left is kept, to its last whole part; what is left of other parcels goes. The caller calls `finish` or `close`. */
  static async begin(dataDir: string, id: string): Promise<Arriving> {
    const folder = snapshotsIn(dataDir);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const path = pathOf(folder, id);
    for (const name of await readdir(folder)) {
      if (isPart(name) && join(folder, name) !== path) await rm(join(folder, name), { recursive: true, force: true });
    }
    const file = await open(path, "a+", 0o600);
    const { size } = await stat(path);
    const bytes = size - (size % partBytes);
    await file.truncate(bytes);
    return new Arriving(folder, id, file, bytes);
  }
  async add(part: Uint8Array): Promise<void> {
    await this.#file.appendFile(part);
    this.bytes += part.byteLength;
  }
  close(): Promise<void> {
    return this.#file.close();
  }
  /**
   * Unwraps it as the youngest snapshot of the data directory, and returns its folder. Throws STORE_DAMAGED: what came is then forgotten;
   * STORE_WRITE_FAILED when the disk refuses: it is kept, and a later try only unwraps it.
   */
  async finish(): Promise<string> {
    await this.#file.close();
    const path = pathOf(this.#folder, this.#id);
    // A name of its own: an agent that runs may be writing one of its own, and removes what it finds left over.
    const draft = path.replace(/part$/, "draft");
    try {
      await unwrap(path, this.#id, draft);
      // Its values are looked at when a store is made of it: the key may not be here yet.
      await verifySnapshot(draft, () => undefined);
      const place = join(this.#folder, String(nextNumber(this.#folder)));
      await rename(draft, place);
      syncFolder(this.#folder);
      await rm(path, { force: true });
      return place;
    } catch (error) {
      await rm(draft, { recursive: true, force: true });
      if (!isFault(error, "STORE_DAMAGED")) throw this.#refused(error);
      await rm(path, { force: true });
      throw error;
    }
  }
  #refused(cause: unknown): Fault {
    const saw = `unwrapping a snapshot of ${this.bytes} bytes failed: ${cause instanceof Error ? cause.message : cause}; it takes as many bytes once more in '${this.#folder}', and what was fetched is kept there: try again`;
    return new Fault("STORE_WRITE_FAILED", saw, { cause });
  }
}

/** How much of it an earlier try has left here. */
export async function arrivedBytes(dataDir: string, id: string): Promise<number> {
  return (await stat(pathOf(snapshotsIn(dataDir), id)).catch(() => undefined))?.size ?? 0;
}

const pathOf = (folder: string, id: string) => join(folder, `hub-${id.slice(0, 16)}.part`);
const isPart = (name: string) => /^hub-[0-9a-f]*\.(part|draft)$/.test(name);

/** Part by part: the agent's memory has no room for all of it. */
async function unwrap(path: string, id: string, draft: string): Promise<void> {
  const hash = createHash("sha256");
  await eachPart(path, (bytes) => void hash.update(bytes));
  if (hash.digest("hex") !== id) throw damaged(path, "it is not what its name says");
  const head = await bytesAt(path, 0, magic.length + 4);
  const length = head.length < magic.length + 4 ? 0 : head.readUInt32LE(magic.length);
  if (head.toString("latin1", 0, magic.length) !== magic || length > manifestMax)
    throw damaged(path, "it is no snapshot");
  await rm(draft, { recursive: true, force: true });
  await mkdir(draft, { mode: 0o700 });
  const manifest = await bytesAt(path, head.length, length);
  await writeFile(join(draft, "manifest.json"), manifest, { mode: 0o600, flush: true });
  const entries = await open(join(draft, "entries"), "wx", 0o600);
  try {
    for (let at = head.length + length; ; ) {
      const bytes = await bytesAt(path, at, partBytes);
      if (bytes.length === 0) break;
      await entries.writeFile(bytes);
      at += bytes.length;
    }
    await entries.sync();
  } finally {
    await entries.close();
  }
}

function damaged(path: string, saw: string): Fault {
  return new Fault("STORE_DAMAGED", `what came from the hub ('${path}') is of no use: ${saw}`);
}
