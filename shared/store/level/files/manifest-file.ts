import { Cursor, Malformed } from "./bytes.ts";
import { readLogFile, wholeRecords } from "./log-file.ts";

/** A table that belongs to the store. */
export interface LiveTable {
  readonly number: number;
  readonly bytes: number;
}
/** What the manifest says the store is made of. */
export interface Manifest {
  readonly tables: readonly LiveTable[];
  /** The oldest write-ahead log that is still needed; LevelDB keeps it from the moment it names it until the next. */
  readonly log: number;
  readonly torn: boolean;
}

/** Tags of an edit (LevelDB's db/version_edit.cc). */
const tags = {
  comparator: 1,
  logNumber: 2,
  nextFile: 3,
  lastSequence: 4,
  compactPointer: 5,
  deletedFile: 6,
  newFile: 7,
  previousLog: 9,
} as const;

/** Adds up the edits of a manifest. Throws {@link Malformed}. */
export function readManifest(bytes: Uint8Array): Manifest {
  const file = readLogFile(bytes);
  const tables = new Map<number, number>();
  let log: number | undefined;
  for (const record of wholeRecords(file)) {
    const edit = new Cursor(record);
    while (edit.at < edit.end) {
      const tag = edit.varint();
      switch (tag) {
        case tags.comparator:
          edit.text();
          break;
        case tags.logNumber:
          log = edit.varint();
          break;
        case tags.nextFile:
        case tags.lastSequence:
        case tags.previousLog:
          edit.varint();
          break;
        case tags.compactPointer:
          edit.varint();
          edit.text();
          break;
        case tags.deletedFile:
          edit.varint();
          tables.delete(edit.varint());
          break;
        case tags.newFile: {
          edit.varint();
          const number = edit.varint();
          tables.set(number, edit.varint());
          edit.text();
          edit.text();
          break;
        }
        default:
          throw new Malformed(`it has the unknown tag ${tag}`);
      }
    }
  }
  if (log === undefined) throw new Malformed("it names no write-ahead log");
  return { tables: [...tables].map(([number, size]) => ({ number, bytes: size })), log, torn: file.torn };
}
