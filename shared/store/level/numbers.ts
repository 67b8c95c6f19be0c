import { Fault } from "../../errors/fault.ts";

/** How the database's own numbers are written. */
export function encodeNumber(value: number): Uint8Array {
  return Buffer.from(String(value));
}
/** Throws STORE_DAMAGED for what is no number. */
export function decodeNumber(value: Uint8Array | undefined): number {
  const number = value ? Number(Buffer.from(value).toString()) : Number.NaN;
  if (!Number.isSafeInteger(number)) throw new Fault("STORE_DAMAGED", "a number of the store's own cannot be read");
  return number;
}
