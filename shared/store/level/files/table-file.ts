import { Cursor, fixed32, Malformed } from "./bytes.ts";
import { maskedCrc } from "./crc32c.ts";
import { unsnappy } from "./snappy.ts";

const footerBytes = 48;
/** 0xdb4775248b80fb57, least byte first. */
const magic = [0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb];
const compressions = { none: 0, snappy: 1 } as const;

interface Handle {
  readonly offset: number;
  readonly size: number;
}

/**
 * Reads every block of a table and compares its checksum (format: LevelDB's doc/table_format.md). Throws {@link Malformed}
 * with the first that is wrong.
 *
 *   block*  =  bytes, compression: 1, masked CRC-32C: 4
 *   footer  =  handle of the metaindex, handle of the index, zeros up to 40, magic: 8
 */
export function checkTable(bytes: Uint8Array): void {
  const footer = bytes.length - footerBytes;
  if (footer < 0) throw new Malformed("it is too short for a table");
  if (magic.some((byte, at) => bytes[footer + 40 + at] !== byte)) throw new Malformed("it does not end like a table");
  const cursor = new Cursor(bytes, footer, footer + 40);
  const metaindex = handleFrom(cursor);
  const index = handleFrom(cursor);
  for (const handle of handlesIn(blockAt(bytes, metaindex))) checkBlock(bytes, handle);
  for (const handle of handlesIn(blockAt(bytes, index))) checkBlock(bytes, handle);
}

function handleFrom(cursor: Cursor): Handle {
  return { offset: cursor.varint(), size: cursor.varint() };
}

function checkBlock(bytes: Uint8Array, { offset, size }: Handle): number {
  const end = offset + size;
  if (end + 5 > bytes.length - footerBytes) throw new Malformed(`a block ends behind its table, at byte ${end}`);
  if (maskedCrc(bytes, offset, end + 1) !== fixed32(bytes, end + 1)) {
    throw new Malformed(`the block at byte ${offset} does not have its checksum`);
  }
  return bytes[end] ?? 0;
}

function blockAt(bytes: Uint8Array, handle: Handle): Uint8Array {
  const compression = checkBlock(bytes, handle);
  const block = bytes.subarray(handle.offset, handle.offset + handle.size);
  if (compression === compressions.none) return block;
  if (compression === compressions.snappy) return unsnappy(block);
  throw new Malformed(`a block has the unknown compression ${compression}`);
}

/** The values of a block whose values are handles: entries, then the places of restarts and their number. */
function handlesIn(block: Uint8Array): Handle[] {
  const restarts = fixed32(block, block.length - 4);
  const end = block.length - 4 - 4 * restarts;
  if (end < 0) throw new Malformed("a block has more restarts than bytes");
  const cursor = new Cursor(block, 0, end);
  const found: Handle[] = [];
  while (cursor.at < cursor.end) {
    cursor.varint(); // how much of the key is shared with the one before
    const unshared = cursor.varint();
    const length = cursor.varint();
    cursor.take(unshared);
    found.push(handleFrom(new Cursor(cursor.take(length))));
  }
  return found;
}
