import type { Random } from "../random/random.ts";

/** A UUIDv7 (RFC 9562): 48 bits of wall milliseconds, then chance; sorts by time to the millisecond. */
export function uuid7(wallMs: number, random: Random): string {
  const time = Math.max(0, Math.floor(wallMs)).toString(16).padStart(12, "0").slice(-12);
  const bits = (count: number) =>
    Math.floor(random() * 2 ** count)
      .toString(16)
      .padStart(Math.ceil(count / 4), "0");
  const variant = (8 + Math.floor(random() * 4)).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${bits(12)}-${variant}${bits(12)}-${bits(24)}${bits(24)}`;
}
