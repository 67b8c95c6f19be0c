import { Fault } from "../errors/fault.ts";

/** What a duration looks like, for error texts. */
export const durationForm = "a duration with its unit, such as 500ms, 15s, 5m, 2h or 1h30m";
/** What a size looks like, for error texts. */
export const sizeForm = "a size with its unit (B, KiB, MiB, GiB, TiB), such as 1500B, 512MiB or 2GiB";
/** What a share looks like, for error texts. */
export const percentForm = "a share with a percent sign, such as 85%";

const unitMs = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 } as const;
const unitBytes = { TiB: 2 ** 40, GiB: 2 ** 30, MiB: 2 ** 20, KiB: 2 ** 10, B: 1 } as const;

/** Ten thousand years: beyond it a figure is a slip of the keyboard. */
const durationMsMax = 10_000 * 8766 * unitMs.h;

/** One number with few digits: what is longer is refused before it is computed with. */
const number = String.raw`\d{1,15}(?:\.\d{1,9})?`;
const durationParts = new RegExp(`^(?:(${number})h)?(?:(${number})m)?(?:(${number})s)?(?:(${number})ms)?$`);
const sizeParts = new RegExp(`^(${number})(B|KiB|MiB|GiB|TiB)$`);
const percentParts = new RegExp(`^(${number})%$`);

/**
 * Milliseconds, a whole number; undefined for anything that is not {@link durationForm}. Units go from large to small,
 * each at most once; a fraction must come out as whole milliseconds. A bare number is not a duration, not even 0.
 */
export function parseDuration(text: string): number | undefined {
  const parts = durationParts.exec(text);
  if (!parts || text === "") return undefined;
  const [, h, m, s, ms] = parts;
  const sum =
    Number(h ?? 0) * unitMs.h + Number(m ?? 0) * unitMs.m + Number(s ?? 0) * unitMs.s + Number(ms ?? 0) * unitMs.ms;
  return whole(sum, durationMsMax);
}

/** Bytes, a whole number; undefined for anything that is not {@link sizeForm}. */
export function parseSize(text: string): number | undefined {
  const [, figure, unit] = sizeParts.exec(text) ?? [];
  if (figure === undefined || unit === undefined) return undefined;
  return whole(Number(figure) * unitBytes[unit as keyof typeof unitBytes], Number.MAX_SAFE_INTEGER);
}

/** A ratio: 85% is 0.85. May be above 1; undefined for anything that is not {@link percentForm}. */
export function parsePercent(text: string): number | undefined {
  const [, figure] = percentParts.exec(text) ?? [];
  // A decimal shift by text is exact; 7.14 / 100 is not 0.0714.
  return figure === undefined ? undefined : Number(`${figure}e-2`);
}

/** Binary fractions of a decimal figure miss a whole number by a hair: 0.0003 h is 1080 ms. */
function whole(value: number, max: number): number | undefined {
  const rounded = Math.round(value);
  if (Math.abs(value - rounded) > 1e-6 * Math.max(1, value) || Math.abs(value - rounded) > 1e-3) return undefined;
  return rounded <= max ? rounded : undefined;
}

/** As {@link parseDuration} reads it back; rounds to whole milliseconds, and what is negative to 0s. */
export function printDuration(ms: number): string {
  let rest = Math.max(0, Math.round(ms));
  let text = "";
  for (const [unit, size] of Object.entries(unitMs)) {
    const count = Math.floor(rest / size);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * size;
  }
  return text || "0s";
}

/** As {@link parseSize} reads it back: in the largest unit that needs no fraction. */
export function printSize(bytes: number): string {
  for (const [unit, size] of Object.entries(unitBytes)) {
    if (bytes >= size && bytes % size === 0) return `${bytes / size}${unit}`;
  }
  return `${bytes}B`;
}

/** As {@link parsePercent} reads it back, to a millionth of a percent. */
export function printPercent(ratio: number): string {
  return `${Number((ratio * 100).toFixed(6))}%`;
}

/** A duration that a person gave on the command line as `what`. Throws USAGE with what is allowed. */
export function durationArgument(what: string, text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw new Fault("USAGE", `${what} is '${text.slice(0, 100)}'; allowed is ${durationForm}`);
  return ms;
}
