import {
  constants,
  createCipheriv,
  createDecipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  privateDecrypt,
  publicEncrypt,
  randomBytes,
} from "node:crypto";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { Kek } from "./key-file.ts";

const cipher = "aes-256-gcm";
const nonceBytes = 12;
const tagBytes = 16;

/** A public key for which the data keys are wrapped too: whoever holds its private half can open the store without the KEK. */
export interface Escrow {
  /** Of its public half: `escrow:` and 16 hexadecimal digits. */
  readonly id: string;
  readonly key: KeyObject;
  /** The same as PEM text. */
  readonly pem: string;
}

/** `nonce(12) | ciphertext | tag(16)`, bound to `place`. */
export function wrap(kek: Kek, place: string, secret: Uint8Array): Uint8Array {
  return encrypt(wrapKeyOf(kek), place, secret);
}
/** Undefined when it was not wrapped with this key, for this place. */
export function unwrap(kek: Kek, place: string, wrapped: Uint8Array): Uint8Array | undefined {
  return decrypt(wrapKeyOf(kek), place, wrapped);
}

/** Reads a public key: X25519, or RSA of at least 2048 bits. Throws CONFIG_INVALID. */
export function escrowOf(pem: string): Escrow {
  const saw = "the escrow key is no PEM of a public X25519 key or of an RSA key of at least 2048 bits";
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch (cause) {
    throw new Fault("CONFIG_INVALID", saw, { cause });
  }
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (key.asymmetricKeyType !== "x25519" && !(key.asymmetricKeyType === "rsa" && bits >= 2048)) {
    throw new Fault("CONFIG_INVALID", saw);
  }
  return { id: idOf(key), key, pem: String(key.export({ format: "pem", type: "spki" })) };
}

/** X25519: `public(32) | nonce | ciphertext | tag` under a key of this one wrap. RSA: OAEP with SHA-256, the place as its label. */
export function wrapFor({ key }: Escrow, place: string, secret: Uint8Array): Uint8Array {
  if (key.asymmetricKeyType === "rsa") return publicEncrypt({ ...oaep, key, oaepLabel: Buffer.from(place) }, secret);
  const once = generateKeyPairSync("x25519");
  const own = rawPublic(once.publicKey);
  const shared = diffieHellman({ privateKey: once.privateKey, publicKey: key });
  return Buffer.concat([own, encrypt(agreedKey(shared, own, rawPublic(key)), place, secret)]);
}

/** Whoever opens with the private half of an escrow key. Throws STORE_KEY_UNREADABLE when the text is no such key. */
export class EscrowHolder {
  readonly id: string;
  readonly #key: KeyObject;

  constructor(pem: string) {
    try {
      this.#key = createPrivateKey(pem);
      this.id = idOf(createPublicKey(this.#key));
    } catch (cause) {
      throw new Fault("STORE_KEY_UNREADABLE", "the escrow key is no PEM of a private key", { cause });
    }
  }
  open(place: string, wrapped: Uint8Array): Uint8Array | undefined {
    if (this.#key.asymmetricKeyType === "rsa") {
      try {
        return privateDecrypt({ ...oaep, key: this.#key, oaepLabel: Buffer.from(place) }, wrapped);
      } catch {
        return undefined;
      }
    }
    if (wrapped.byteLength < 32) return undefined;
    const own = Buffer.from(wrapped.subarray(0, 32));
    const publicKey = createPublicKey({ key: Buffer.concat([x25519Head, own]), format: "der", type: "spki" });
    const shared = diffieHellman({ privateKey: this.#key, publicKey });
    return decrypt(agreedKey(shared, own, rawPublic(createPublicKey(this.#key))), place, wrapped.subarray(32));
  }
}

const oaep = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: "sha256" } as const;
/** What stands before the 32 bytes of an X25519 key in its DER form (RFC 8410). */
const x25519Head = Buffer.from("302a300506032b656e032100", "hex");

function rawPublic(key: KeyObject): Buffer {
  return key.export({ format: "der", type: "spki" }).subarray(-32);
}
function idOf(key: KeyObject): string {
  const der = key.export({ format: "der", type: "spki" });
  return `escrow:${createHash("sha256").update(der).digest("hex").slice(0, 16)}`;
}
function agreedKey(shared: Uint8Array, own: Uint8Array, theirs: Uint8Array): Buffer {
  return Buffer.from(hkdfSync("sha256", shared, Buffer.concat([own, theirs]), "blueflame escrow", 32));
}
function wrapKeyOf(kek: Kek): Buffer {
  return Buffer.from(hkdfSync("sha256", kek.bytes, "", "blueflame kek wrap", 32));
}

function encrypt(key: Uint8Array, place: string, secret: Uint8Array): Buffer {
  const nonce = randomBytes(nonceBytes);
  const sealing = createCipheriv(cipher, key, nonce, { authTagLength: tagBytes }).setAAD(Buffer.from(place));
  return Buffer.concat([nonce, sealing.update(secret), sealing.final(), sealing.getAuthTag()]);
}
function decrypt(key: Uint8Array, place: string, wrapped: Uint8Array): Buffer | undefined {
  if (wrapped.byteLength < nonceBytes + tagBytes) return undefined;
  const end = wrapped.byteLength - tagBytes;
  try {
    const opening = createDecipheriv(cipher, key, wrapped.subarray(0, nonceBytes), { authTagLength: tagBytes });
    opening.setAAD(Buffer.from(place)).setAuthTag(wrapped.subarray(end));
    return Buffer.concat([opening.update(wrapped.subarray(nonceBytes, end)), opening.final()]);
  } catch {
    return undefined;
  }
}
