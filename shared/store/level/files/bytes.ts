/** Thrown where bytes do not have the form that they should have: the file was changed. */
export class Malformed extends Error {
  override readonly name = "Malformed";
}

/** Reads a file's parts one after the other. Throws {@link Malformed} at the end of the bytes. */
export class Cursor {
  readonly #bytes: Uint8Array;
  at: number;
  readonly end: number;

  constructor(bytes: Uint8Array, at = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.at = at;
    this.end = end;
  }
  byte(): number {
    if (this.at >= this.end) throw new Malformed("it ends too early");
    return this.#bytes[this.at++] ?? 0;
  }
  /** Seven bits a byte, least first. */
  varint(): number {
    let value = 0;
    for (let factor = 1, count = 0; count < 10; factor *= 128, count++) {
      const byte = this.byte();
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
    throw new Malformed("a number has no end");
  }
  take(length: number): Uint8Array {
    if (length > this.end - this.at) throw new Malformed("it ends too early");
    this.at += length;
    return this.#bytes.subarray(this.at - length, this.at);
  }
  text(): string {
    return Buffer.from(this.take(this.varint())).toString("latin1");
  }
}

/** A fixed number of four bytes, least first. */
export function fixed32(bytes: Uint8Array, at: number): number {
  if (at < 0 || at + 4 > bytes.length) throw new Malformed("it ends too early");
  return new DataView(bytes.buffer, bytes.byteOffset + at, 4).getUint32(0, true);
}
