import { fieldOf } from "../meta/fields.ts";
import type { Place, PlaceSeen } from "../meta/places.ts";
import { documentBytesMax, readBytes, readText } from "./bounded-file.driver.ts";
import { type FileDesk, fileDesk } from "./file-desk.driver.ts";
import { jsonPage } from "./json-page.driver.ts";
import { failure } from "./verdict.ts";

const noFields = {};

/** What a document has come to. */
type Read = Pick<Extract<PlaceSeen, { reached: true }>, "fields" | "problem">;

/** What a file was when it was read: as long as it is that, it is not read again. */
interface Version {
  readonly inode: number;
  readonly size: number;
  readonly mtimeMs: number;
}

interface Counted extends Version {
  readonly lines: number;
}

/** Looks at files and pages. Holds of each file only the fields that are wanted, and how far its lines were counted. */
export class PlaceReader {
  readonly #desk: FileDesk;
  readonly #read = new Map<string, Version & Read>();
  readonly #counted = new Map<string, Counted>();

  constructor(desk: FileDesk = fileDesk) {
    this.#desk = desk;
  }

  /** Settles within about `waitMs`, whatever hangs; never rejects. */
  async look(place: Place, waitMs: number): Promise<PlaceSeen> {
    if (place.file === "") return lookAtPage(place, waitMs);
    const flight = await this.#desk.look(
      place.file,
      "place",
      async ({ ino, size, mtimeMs }) => this.#lookAtFile(place, { inode: ino, size, mtimeMs }),
      waitMs,
    );
    if (flight.is === "answered") return flight.value;
    if (flight.is === "failed") return notReached(flight.error);
    return { reached: false, because: "its disk does not answer", ...(flight.unasked && { unasked: true as const }) };
  }

  async #lookAtFile(place: Place, version: Version): Promise<PlaceSeen> {
    const lines = place.lines ? await this.#lines(place.file, version) : undefined;
    const document: Read = place.fields.length > 0 ? await this.#document(place, version) : { fields: noFields };
    return {
      reached: true,
      writtenWallMs: version.mtimeMs,
      ...(lines !== undefined && { lines }),
      ...(document.problem && { problem: document.problem }),
      fields: document.fields,
    };
  }

  async #document(place: Place, version: Version): Promise<Read> {
    const before = this.#read.get(place.file);
    // A broken document is read again: whoever writes in place may be halfway, within one tick of the file's clock.
    if (before && isSame(before, version) && !before.problem) return before;
    const found = { ...version, ...(await readFields(place)) };
    this.#read.set(place.file, found);
    return found;
  }

  /**
   * Counts what was added since the last look, at most a MiB of it: that it has grown is what matters. What lay there at the
   * first look counts as nothing; a file that shrank or was replaced is counted from its beginning.
   */
  async #lines(file: string, version: Version): Promise<number> {
    const before = this.#counted.get(file);
    let lines = before?.lines ?? 0;
    if (before && !isSame(before, version)) {
      const goesOn = before.inode === version.inode && version.size >= before.size;
      const from = Math.max(goesOn ? before.size : 0, version.size - documentBytesMax);
      const added = await readBytes(file, from, version.size - from);
      for (const byte of added) if (byte === 10) lines += 1;
    }
    this.#counted.set(file, { ...version, lines });
    return lines;
  }
}

async function readFields({ file, fields }: Place): Promise<Read> {
  let text: string;
  try {
    text = await readText(file);
  } catch (error) {
    if (failure(error, "").unasked) throw error; // what the agent itself lacks says nothing about the document
    return { fields: noFields, problem: { is: "unread", because: clauseOf(error) } };
  }
  try {
    const document: unknown = JSON.parse(text);
    return { fields: Object.fromEntries(fields.map((path) => [path, fieldOf(document, path)])) };
  } catch {
    return { fields: noFields, problem: { is: "broken", because: "it is no JSON" } };
  }
}

async function lookAtPage(place: Place, waitMs: number): Promise<PlaceSeen> {
  try {
    const { status, document } = await jsonPage(place.url, waitMs);
    return {
      reached: true,
      fields: Object.fromEntries(place.fields.map((path) => [path, fieldOf(document, path)])),
      ...((status < 200 || status > 299) && { unwell: `HTTP ${status}` }),
    };
  } catch (error) {
    return notReached(error);
  }
}

/** What the agent itself lacks (descriptors, memory) says nothing about the place. */
function notReached(error: unknown): PlaceSeen {
  const { unasked } = failure(error instanceof Error && error.cause ? error.cause : error, "");
  return { reached: false, because: clauseOf(error), ...(unasked && { unasked }) };
}

function isSame(a: Version, b: Version): boolean {
  return a.inode === b.inode && a.size === b.size && a.mtimeMs === b.mtimeMs;
}

/** Words for people without a path: the source's name says which file it is. */
function clauseOf(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (code === "ENOENT" || code === "ENOTDIR") return "it is not there";
  if (code === "EACCES" || code === "EPERM") return "it may not be read";
  if (code !== "") return code;
  return error instanceof Error ? error.message : "it cannot be read";
}
