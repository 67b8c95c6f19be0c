/**
 * A snapshot on the disk, one folder each; a higher number is younger.
 *
 *   snapshots/<n>/entries         (key length: 4, value length: 4, key, value)*   lengths least byte first, values sealed, keys as in the store
 *   snapshots/<n>/manifest.json   whose store, when, how many entries, the SHA-256 of `entries`, and the wrapped keys
 *
 * It is written as `<n>.new`, read back, opened once as the store that it would become, and only then gets its name: what has a name was whole once. It is read to its end
 * and compared again before anything is made of it.
 */
import { createHash, type Hash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { type FileHandle, mkdir, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { replaceFile } from "@blueflame/shared/store/folder.ts";
import type { StoredRing } from "./keys/ring.ts";

/** 1 had its values plain, and no ring. */
const format = 2;
/** So much is written or read at once: the loop of the agent waits a fraction of a millisecond for its checksum. */
const chunkBytes = 256 * 1024;
/** A value has 256 KiB at most, a record of the outbox a little more; a length beyond this is no length. */
const lengthMax = 64 * 1024 * 1024;

/** What a snapshot says of itself. */
export interface SnapshotManifest {
  readonly nodeId: string;
  readonly generation: string;
  readonly owner: string;
  readonly incarnation: string;
  readonly session: string;
  readonly takenWallMs: number;
  readonly entries: number;
  readonly bytes: number;
  readonly sha256: string;
  /** The wrapped keys of its values; undefined in one of format 1, whose values are plain. */
  readonly ring?: StoredRing;
}
/** Why what stands at a key cannot be what was written there; undefined when it can be. */
export type Check = (key: string, sealed: Uint8Array) => string | undefined;
/** One row: its key, and its value as it is on the disk. */
export type Entry = readonly [key: string, sealed: Uint8Array];

/** The folder of the snapshots of a data directory. */
export function snapshotsIn(dataDir: string): string {
  return join(dataDir, "snapshots");
}

/** The numbers of the snapshots in `folder`, youngest first; empty when there are none. */
export function snapshotNumbers(folder: string): number[] {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter((name) => /^[1-9]\d{0,14}$/.test(name));
  return names.map(Number).sort((a, b) => b - a);
}

export function nextNumber(folder: string): number {
  return (snapshotNumbers(folder)[0] ?? 0) + 1;
}

/** What stands before a row: the lengths of its key and its value. */
export function headOf(key: string, sealed: Uint8Array): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(Buffer.byteLength(key), 0);
  head.writeUInt32LE(sealed.length, 4);
  return head;
}

/** Writes one snapshot. Entries are added in any order; then `finish`, or `drop` when something went wrong. */
export class SnapshotWriter {
  readonly #folder: string;
  readonly #number: number;
  readonly #file: FileHandle;
  readonly #hash: Hash = createHash("sha256");
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #entries = 0;
  #bytes = 0;

  private constructor(folder: string, number: number, file: FileHandle) {
    this.#folder = folder;
    this.#number = number;
    this.#file = file;
  }
  /** Makes room for the next number; what an earlier writer left unfinished goes. */
  static async begin(folder: string): Promise<SnapshotWriter> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(folder).filter((one) => one.endsWith(".new"))) {
      await rm(join(folder, name), { recursive: true });
    }
    const number = nextNumber(folder);
    const draft = join(folder, `${number}.new`);
    await mkdir(draft, { mode: 0o700 });
    return new SnapshotWriter(folder, number, await open(join(draft, "entries"), "wx", 0o600));
  }

  /** Resolves at once while it fits into memory, else when the disk has taken it. */
  add(key: string, sealed: Uint8Array): Promise<void> | void {
    const name = Buffer.from(key);
    const head = headOf(key, sealed);
    this.#waiting.push(head, name, sealed);
    this.#waitingBytes += 8 + name.length + sealed.length;
    this.#entries++;
    if (this.#waitingBytes >= chunkBytes) return this.#flush();
  }
  async #flush(): Promise<void> {
    const bytes = Buffer.concat(this.#waiting);
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#hash.update(bytes);
    this.#bytes += bytes.length;
    await this.#file.writeFile(bytes);
  }

  /** Makes it durable, reads it back, has `trial` look at it, and gives it its name. Throws STORE_DAMAGED when it does not read as it was written. */
  async finish(
    who: Pick<SnapshotManifest, "nodeId" | "generation" | "owner" | "incarnation" | "session" | "ring">,
    wallMs: number,
    check: Check,
    trial?: (draft: string, manifest: SnapshotManifest) => Promise<void>,
  ) {
    await this.#flush();
    await this.#file.sync();
    await this.#file.close();
    const { nodeId, generation, owner, incarnation, session, ring } = who;
    const manifest: SnapshotManifest = {
      ...{ nodeId, generation, owner, incarnation, session },
      ...(ring && { ring }),
      takenWallMs: Math.round(wallMs),
      entries: this.#entries,
      bytes: this.#bytes,
      sha256: this.#hash.digest("hex"),
    };
    const text = JSON.stringify({ format, ...manifest });
    await writeFile(join(this.#draft, "manifest.json"), text, { mode: 0o600, flush: true });
    await verifySnapshot(this.#draft, check);
    await trial?.(this.#draft, manifest);
    const number = nextNumber(this.#folder); // one may have come from the hub meanwhile
    await rename(this.#draft, join(this.#folder, String(number)));
    const folder = await open(this.#folder, "r");
    await folder.sync().finally(() => folder.close());
    return number;
  }
  async drop(): Promise<void> {
    await this.#file.close().catch(() => undefined); // closed by `finish` already
    await rm(this.#draft, { recursive: true, force: true });
  }

  get #draft(): string {
    return join(this.#folder, `${this.#number}.new`);
  }
}

/** Reads all of it and compares it with its manifest, which is returned. Throws STORE_DAMAGED. */
export async function verifySnapshot(place: string, check: Check): Promise<SnapshotManifest> {
  const manifest = await manifestOf(place);
  for await (const [key, sealed] of entriesOf(place, manifest)) {
    const problem = check(key, sealed);
    if (problem !== undefined) throw damaged(place, problem);
  }
  return manifest;
}

/** What the snapshot in the folder `place` says of itself. Throws STORE_DAMAGED. */
export async function manifestOf(place: string): Promise<SnapshotManifest> {
  let read: Partial<SnapshotManifest> & { format?: number };
  try {
    read = JSON.parse(await readFile(join(place, "manifest.json"), "utf8"));
  } catch (cause) {
    throw damaged(place, `its manifest cannot be read: ${(cause as Error).message}`);
  }
  const { nodeId, generation, owner, incarnation, session, takenWallMs, entries, bytes, sha256 } = read;
  if (read.format !== format && read.format !== 1)
    throw damaged(place, `its format is ${read.format}, this version knows ${format}`);
  if (!nodeId || !generation || !owner || !incarnation || !session || !sha256)
    throw damaged(place, "its manifest is incomplete");
  if (takenWallMs === undefined || entries === undefined || bytes === undefined)
    throw damaged(place, "its manifest is incomplete");
  const { ring } = read;
  if (read.format === format && !ring) throw damaged(place, "its manifest is incomplete");
  const whose = { nodeId, generation, owner, incarnation, session };
  return { ...whose, takenWallMs, entries, bytes, sha256, ...(ring && { ring }) };
}

/** The wrapped keys that a snapshot brings along; undefined when there are none that can be read. Never throws. */
export function ringOf(place: string): StoredRing | undefined {
  try {
    return (JSON.parse(readFileSync(join(place, "manifest.json"), "utf8")) as Partial<SnapshotManifest>).ring;
  } catch {
    return undefined;
  }
}

/** Gives a snapshot other wraps of its keys, whole or not at all; durable on return. Throws what the disk says. */
export function rewriteRing(place: string, ring: StoredRing): void {
  const path = join(place, "manifest.json");
  const manifest = JSON.parse(readFileSync(path, "utf8")) as object;
  replaceFile(path, JSON.stringify({ ...manifest, ring }));
}

/** Its entries; throws STORE_DAMAGED, at the latest behind the last one, when they are not what the manifest says. */
export async function* entriesOf(place: string, manifest: SnapshotManifest): AsyncGenerator<Entry> {
  const file = await open(join(place, "entries")).catch((cause) => {
    throw damaged(place, (cause as Error).message);
  });
  const hash = createHash("sha256");
  let rest: Buffer = Buffer.alloc(0);
  let count = 0;
  try {
    for (;;) {
      const { bytesRead, buffer } = await file.read(Buffer.alloc(chunkBytes), 0, chunkBytes);
      if (bytesRead === 0) break;
      const chunk = buffer.subarray(0, bytesRead);
      hash.update(chunk);
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      for (;;) {
        const entry = firstIn(rest, place);
        if (!entry) break;
        count++;
        rest = rest.subarray(entry.length);
        yield entry.entry;
      }
    }
  } finally {
    await file.close();
  }
  if (rest.length > 0 || count !== manifest.entries || hash.digest("hex") !== manifest.sha256) {
    throw damaged(place, "its entries are not those that its manifest names");
  }
}

function firstIn(bytes: Buffer, place: string): { entry: Entry; length: number } | undefined {
  if (bytes.length < 8) return undefined;
  const key = bytes.readUInt32LE(0);
  const value = bytes.readUInt32LE(4);
  if (key > lengthMax || value > lengthMax) throw damaged(place, "its entries do not fit together");
  const length = 8 + key + value;
  if (bytes.length < length) return undefined;
  return { entry: [bytes.toString("utf8", 8, 8 + key), bytes.subarray(8 + key, length)], length };
}

function damaged(place: string, saw: string): Fault {
  return new Fault("STORE_DAMAGED", `the snapshot '${place}' is of no use: ${saw}`);
}
