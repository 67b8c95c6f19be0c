import { Cursor, Malformed } from "./bytes.ts";

/** An index block of a 2 MB table has some ten kilobytes; what claims to be larger than this is not one. */
const lengthMax = 64 * 1024 * 1024;

/** The bytes that were compressed (format: snappy's format_description.txt). Throws {@link Malformed}. */
export function unsnappy(packed: Uint8Array): Uint8Array {
  const from = new Cursor(packed);
  const length = from.varint();
  if (length > lengthMax) throw new Malformed("it claims to be too long");
  const out = new Uint8Array(length);
  let filled = 0;
  while (from.at < from.end) {
    const tag = from.byte();
    if ((tag & 3) === 0) {
      const literal = from.take(literalLength(tag >>> 2, from));
      if (filled + literal.length > length) throw new Malformed("it is longer than it says");
      out.set(literal, filled);
      filled += literal.length;
      continue;
    }
    const { count, back } = copyOf(tag, from);
    if (back === 0 || back > filled || filled + count > length) throw new Malformed("it copies from nowhere");
    // Byte by byte: what is copied may be what was just written.
    for (let n = 0; n < count; n++, filled++) out[filled] = out[filled - back] ?? 0;
  }
  if (filled !== length) throw new Malformed("it is shorter than it says");
  return out;
}

function literalLength(size: number, from: Cursor): number {
  return size < 60 ? size + 1 : little(from, size - 59) + 1;
}

function copyOf(tag: number, from: Cursor): { count: number; back: number } {
  if ((tag & 3) === 1) return { count: ((tag >>> 2) & 7) + 4, back: ((tag >>> 5) << 8) | from.byte() };
  return { count: (tag >>> 2) + 1, back: little(from, (tag & 3) === 2 ? 2 : 4) };
}

function little(from: Cursor, bytes: number): number {
  let value = 0;
  for (let n = 0; n < bytes; n++) value += from.byte() * 2 ** (8 * n);
  return value;
}
