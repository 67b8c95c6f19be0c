import { Malformed } from "./bytes.ts";
import { maskedCrc } from "./crc32c.ts";

const blockBytes = 32 * 1024;
const headerBytes = 7;
/** Kinds of a fragment: 0 is room that was reserved, the others say which part of a record it is. */
const kinds = { reserved: 0, full: 1, first: 2, middle: 3, last: 4 } as const;

/** What a file in LevelDB's log format (write-ahead logs, manifests) holds. */
export interface LogFile {
  /** Whole records that are as they were written. */
  readonly records: readonly Uint8Array[];
  /** Where fragments do not have their checksum, or do not fit together; at most the first ten. */
  readonly damagedAt: readonly number[];
  /** The file ends inside a record: its writer died, or the file was cut. */
  readonly torn: boolean;
}

const damagedMax = 10;

/**
 * Reads a log file (format: LevelDB's doc/log_format.md):
 *
 *   block of 32 KiB = fragment*, filled up with zeros where no header fits
 *   fragment = masked CRC-32C of kind and bytes: 4, length: 2, kind: 1, bytes
 *
 * Like LevelDB it goes on with the next block after a fragment that is wrong.
 */
export function readLogFile(bytes: Uint8Array): LogFile {
  const records: Uint8Array[] = [];
  const damagedAt: number[] = [];
  let torn = false;
  let parts: Uint8Array[] | undefined;
  const damaged = (at: number) => {
    parts = undefined;
    if (damagedAt.length < damagedMax) damagedAt.push(at);
  };
  for (let block = 0; block < bytes.length; block += blockBytes) {
    const end = Math.min(block + blockBytes, bytes.length);
    const last = end === bytes.length;
    let at = block;
    while (at + headerBytes <= end) {
      const found = fragment(bytes, at, end);
      if (found === "reserved") break;
      if (found === "long" && last) {
        torn = true;
        break;
      }
      if (found === "long" || found === "changed") {
        damaged(at);
        break;
      }
      const { kind, body } = found;
      if (kind === kinds.full || kind === kinds.first) {
        if (parts) damaged(at);
        parts = [];
      } else if (!parts) damaged(at);
      parts?.push(body);
      if (kind === kinds.full || kind === kinds.last) {
        if (parts) records.push(parts.length === 1 ? body : Buffer.concat(parts));
        parts = undefined;
      }
      at += headerBytes + body.length;
    }
    // A header that was begun: only a writer that died leaves that, for the rest of a full block is zeros.
    if (at < end && at + headerBytes > end && end - block < blockBytes) torn = true;
  }
  return { records, damagedAt, torn: torn || parts !== undefined };
}

function fragment(bytes: Uint8Array, at: number, end: number) {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, headerBytes);
  const length = view.getUint16(4, true);
  const kind = view.getUint8(6);
  if (kind === kinds.reserved && length === 0 && view.getUint32(0, true) === 0) return "reserved";
  if (at + headerBytes + length > end) return "long";
  const body = at + headerBytes;
  if (maskedCrc(bytes, at + 6, body + length) !== view.getUint32(0, true)) return "changed";
  if (kind > kinds.last) return "changed";
  return { kind, body: bytes.subarray(body, body + length) };
}

/** The records of a file that must have no other. Throws {@link Malformed}. */
export function wholeRecords(file: LogFile): readonly Uint8Array[] {
  const [first] = file.damagedAt;
  if (first !== undefined) throw new Malformed(`what is at byte ${first} does not have its checksum`);
  if (file.records.length === 0) throw new Malformed("it holds no whole record");
  return file.records;
}
