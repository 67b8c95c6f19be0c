/** What stands behind a flag, read. Apart from the commands themselves, which are loaded when they are asked for. */
import { clean } from "@blueflame/shared/cli/text.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { type Part, parts } from "../records/parts.ts";

/** The most records that one answer holds. */
export const limitMax = 500;

/** `--part`. Throws USAGE. */
export function partName(text: string): Part {
  const found = parts.find((part) => part === text);
  if (!found) throw new Fault("USAGE", `'${clean(text)}' is no part; there are ${parts.join(", ")}`);
  return found;
}

/** `-n`: how many lines. Throws USAGE. */
export function lineCount(text: string): number {
  const count = Number(text);
  if (!/^\d+$/.test(text) || count > 100_000)
    throw new Fault("USAGE", `-n '${clean(text)}' must be a whole number up to 100000`);
  return count;
}

/** `-n`: how many records. Throws USAGE. */
export function recordCount(text: string): number {
  const count = Number(text);
  if (!/^\d+$/.test(text) || count < 1 || count > limitMax) {
    throw new Fault("USAGE", `-n '${clean(text)}' must be a whole number from 1 to ${limitMax}`);
  }
  return count;
}

/** Throws USAGE for anything but `on` and `off`. */
export function onOrOff(text: string): boolean {
  if (text === "on" || text === "off") return text === "on";
  throw new Fault("USAGE", `'${clean(text)}' is neither on nor off`);
}
