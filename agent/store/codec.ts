import { Fault } from "@blueflame/shared/errors/fault.ts";

/**
 * Every value passes here on its way to the disk and back: version byte first. Version 0 is plain. Encryption takes the
 * next version; `key` is there for it, to bind a value to its place.
 */
const plain = 0;

/** The bytes to store under `key`. */
export function seal(_key: string, value: Uint8Array): Uint8Array {
  const sealed = new Uint8Array(value.byteLength + 1);
  sealed[0] = plain;
  sealed.set(value, 1);
  return sealed;
}

/** What was sealed under `key`; a view of `sealed`. Throws STORE_DAMAGED. */
export function unseal(key: string, sealed: Uint8Array): Uint8Array {
  if (sealed[0] === plain) return sealed.subarray(1);
  throw new Fault("STORE_DAMAGED", `the value of '${key}' has the unknown version ${sealed[0]}`);
}

export function sealText(key: string, text: string): Uint8Array {
  return seal(key, Buffer.from(text));
}
export function unsealText(key: string, sealed: Uint8Array): string {
  return Buffer.from(unseal(key, sealed)).toString();
}

/** Numbers in keys: 14 hexadecimal digits hold every exact one, and their order is the order of the numbers. */
export function ordinal(value: number): string {
  return value.toString(16).padStart(14, "0");
}
