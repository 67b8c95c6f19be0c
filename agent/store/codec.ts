/**
 * The one place where the keys and values of the store are made: what stands on the disk says nothing to who has no key.
 *
 *   value   version(1) = 1 | data key's id(4) | nonce(12) | ciphertext | tag(16)      AES-256-GCM
 *           bound to (owner, schema, key): it opens nowhere else. Not to the generation: a snapshot is restored under another one.
 *   key     `table/rest` stands as it is; of `table/owner\0name\0rest` the name, which somebody else chose, is a keyed hash,
 *           and stands inside the value instead
 */
import { createCipheriv, createDecipheriv, createHmac, type KeyObject, randomFillSync } from "node:crypto";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { Ring } from "./keys/ring.ts";

const version = 1;
/** Of what the tables hold; a value of another one does not open. */
const schema = 1;
const cipher = "aes-256-gcm";
const nonceBytes = 12;
const tagBytes = 16;
const headBytes = 1 + 4 + nonceBytes;
const placesMax = 4096;

/** A key with its hidden part set apart; `name` is undefined where nothing is hidden. */
export interface Split {
  readonly head: string;
  readonly name: string | undefined;
  readonly rest: string;
}

/** `table/owner\0` | name | `` or `\0rest`. An empty name hides nothing: it is the bound of a range. */
export function split(key: string): Split {
  const at = key.indexOf("\0") + 1;
  if (at === 0 || at === key.length) return { head: key, name: undefined, rest: "" };
  const end = key.indexOf("\0", at);
  if (end === -1) return { head: key.slice(0, at), name: key.slice(at), rest: "" };
  return { head: key.slice(0, at), name: key.slice(at, end), rest: key.slice(end) };
}

/** Seals with the current key of a ring, opens with any of it. The ring may be replaced by its next one at any time. */
export class Codec {
  ring: Ring;
  /** Values sealed by this codec. */
  sealed = 0;
  readonly #places = new Map<string, string>();
  readonly #nonces = Buffer.alloc(nonceBytes * 256);
  #nonceAt = this.#nonces.length;

  constructor(ring: Ring) {
    this.ring = ring;
  }

  /** The key under which the store keeps `key`. */
  placeOf(key: string): string {
    const { head, name, rest } = split(key);
    return name === undefined ? key : `${head}${this.#hidden(head, name)}${rest}`;
  }

  /** The value to store under `placeOf(key)`. */
  seal(key: string, value: Uint8Array): Uint8Array {
    const { head, name, rest } = split(key);
    const place = name === undefined ? key : `${head}${this.#hidden(head, name)}${rest}`;
    const text = name === undefined ? value : Buffer.concat([nameHead(name), value]);
    const id = this.ring.current;
    const nonce = this.#nonce();
    const sealing = createCipheriv(cipher, this.#keyOf(id, key), nonce, { authTagLength: tagBytes });
    sealing.setAAD(this.#bound(place));
    const hidden = sealing.update(text);
    sealing.final();
    const sealed = Buffer.allocUnsafe(headBytes + hidden.length + tagBytes);
    sealed[0] = version;
    sealed.writeUInt32BE(id, 1);
    nonce.copy(sealed, 5);
    hidden.copy(sealed, headBytes);
    sealing.getAuthTag().copy(sealed, headBytes + hidden.length);
    this.sealed++;
    return sealed;
  }

  /** Key and value of what the store keeps at `place`. Throws STORE_RECORD_CUT, STORE_RECORD_CHANGED, STORE_DATA_KEY_UNKNOWN, STORE_NEWER. */
  open(place: string, sealed: Uint8Array): { key: string; value: Uint8Array } {
    const text = this.#decrypt(place, sealed);
    const at = place.indexOf("\0") + 1;
    if (at === 0) return { key: place, value: text };
    const view = new DataView(text.buffer, text.byteOffset, text.byteLength);
    const length = text.byteLength < 2 ? Number.POSITIVE_INFINITY : view.getUint16(0);
    if (2 + length > text.byteLength) throw damage("STORE_RECORD_CHANGED", place, "holds no name");
    const name = text.toString("utf8", 2, 2 + length);
    const end = place.indexOf("\0", at);
    return {
      key: `${place.slice(0, at)}${name}${end === -1 ? "" : place.slice(end)}`,
      value: text.subarray(2 + length),
    };
  }

  /** True when this codec's current key did not seal it. */
  isOld(sealed: Uint8Array): boolean {
    return (
      sealed.byteLength < headBytes ||
      Buffer.from(sealed.buffer, sealed.byteOffset).readUInt32BE(1) !== this.ring.current
    );
  }

  #decrypt(place: string, sealed: Uint8Array): Buffer {
    if (sealed[0] !== version) {
      const saw = `has the unknown version ${sealed[0] ?? "of nothing"}`;
      throw damage(sealed.byteLength === 0 ? "STORE_RECORD_CUT" : "STORE_RECORD_CHANGED", place, saw);
    }
    if (sealed.byteLength < headBytes + tagBytes) {
      throw damage("STORE_RECORD_CUT", place, `has ${sealed.byteLength} bytes, fewer than a tag needs`);
    }
    const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
    const end = bytes.length - tagBytes;
    const key = this.#keyOf(bytes.readUInt32BE(1), place);
    const opening = createDecipheriv(cipher, key, bytes.subarray(5, headBytes), { authTagLength: tagBytes });
    opening.setAAD(this.#bound(place)).setAuthTag(bytes.subarray(end));
    const text = opening.update(bytes.subarray(headBytes, end));
    try {
      opening.final();
      return text;
    } catch (cause) {
      throw damage(
        "STORE_RECORD_CHANGED",
        place,
        "does not open: it was changed, cut, or belongs to another place",
        cause,
      );
    }
  }

  #keyOf(id: number, place: string): KeyObject {
    const key = this.ring.key(id);
    if (!key) throw damage("STORE_DATA_KEY_UNKNOWN", place, `was sealed with key ${id}, which the store does not have`);
    return key;
  }
  #bound(place: string): Buffer {
    return Buffer.from(`blueflame value\0${this.ring.owner}\0${schema}\0${place}`);
  }
  #hidden(head: string, name: string): string {
    const key = head + name;
    const known = this.#places.get(key);
    if (known !== undefined) return known;
    const made = createHmac("sha256", this.ring.derive("names")).update(key).digest("hex").slice(0, 32);
    if (this.#places.size >= placesMax) this.#places.clear();
    this.#places.set(key, made);
    return made;
  }
  /** Random bytes are asked for in one piece: one call for each would cost as much as the cipher. */
  #nonce(): Buffer {
    if (this.#nonceAt === this.#nonces.length) {
      randomFillSync(this.#nonces);
      this.#nonceAt = 0;
    }
    this.#nonceAt += nonceBytes;
    return this.#nonces.subarray(this.#nonceAt - nonceBytes, this.#nonceAt);
  }
}

/** The codes of a record that is there and cannot be read. */
const recordDamage = [
  "STORE_RECORD_CUT",
  "STORE_RECORD_CHANGED",
  "STORE_RECORD_SWAPPED",
  "STORE_DATA_KEY_UNKNOWN",
] as const;

/** True of a store that has to be mended, as a whole or in one record; never of a key that is missing or wrong. */
export function isDamage(error: unknown): error is Fault {
  return error instanceof Fault && (error.code === "STORE_DAMAGED" || isRecordDamage(error));
}
export function isRecordDamage(error: unknown): error is Fault {
  return error instanceof Fault && (recordDamage as readonly string[]).includes(error.code);
}

function damage(code: (typeof recordDamage)[number], place: string, saw: string, cause?: unknown): Fault {
  return new Fault(code, `the record '${shown(place)}' ${saw}`, { cause });
}
/** A place in words: it holds no name that is a secret. */
export function shown(place: string): string {
  return place.replaceAll("\0", " ");
}

function nameHead(name: string): Buffer {
  const bytes = Buffer.from(name);
  const head = Buffer.alloc(2 + bytes.length);
  head.writeUInt16BE(bytes.length);
  bytes.copy(head, 2);
  return head;
}

export function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();
}

/** Numbers in keys: 14 hexadecimal digits hold every exact one, and their order is the order of the numbers. */
export function ordinal(value: number): string {
  return value.toString(16).padStart(14, "0");
}
