import { stripVTControlCharacters, styleText } from "node:util";
import { Fault } from "@blueflame/shared/errors/fault.ts";

/** What a piece of text means; {@link paint} picks the colour. */
export type Tone = "good" | "warn" | "bad" | "worst" | "faint" | "strong";

const styles = {
  good: "green",
  warn: "yellow",
  bad: "magenta",
  worst: "red",
  faint: "dim",
  strong: "bold",
} as const satisfies Record<Tone, Parameters<typeof styleText>[0]>;

/** Colours `text` when stdout is a terminal and neither NO_COLOR nor TERM=dumb says otherwise; FORCE_COLOR insists. */
export function paint(tone: Tone | undefined, text: string): string {
  if (tone === undefined || (process.env.TERM === "dumb" && process.env.FORCE_COLOR === undefined)) return text;
  return styleText(styles[tone], text, { stream: process.stdout });
}

/**
 * `text` safe for a terminal and for one line: escape sequences, control and direction-changing characters are gone, line
 * breaks and tabs are blanks. Ids and sentences come from nodes, and a node may be hostile.
 */
export function clean(text: string): string {
  return stripVTControlCharacters(text)
    .replace(/[\r\n\t]+/g, " ")
    .replace(/[\p{Cc}\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/gu, "");
}

const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;

/** Columns that `text` takes on a terminal: wide East Asian characters and emoji count two, combining marks none. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const character of stripVTControlCharacters(text)) {
    if (/^[\p{M}\u200b-\u200d]$/u.test(character)) continue;
    width += WIDE.test(character) ? 2 : 1;
  }
  return width;
}

/** For people: `850ms`, `4.2s`, `3m10s`, `2h05m`, `4d3h`; two units at most, `-` for undefined. Negative counts as 0. */
export function formatDuration(ms: number | undefined): string {
  if (ms === undefined || Number.isNaN(ms)) return "-";
  const whole = Math.max(0, ms);
  if (whole < 1000) return `${Math.round(whole)}ms`;
  if (whole < 59_950) return `${(whole / 1000).toFixed(1)}s`;
  const seconds = Math.round(whole / 1000);
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m${pad(seconds % 60)}s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours}h${pad(minutes % 60)}m`;
  return `${Math.floor(hours / 24)}d${hours % 24}h`;
}

/** {@link formatDuration} with `ago`; `never` for undefined. */
export function formatAge(ms: number | undefined): string {
  return ms === undefined ? "never" : `${formatDuration(ms)} ago`;
}

/** `2026-11-22 10:57:04Z`: sorts as text, no zone to guess; `-` for undefined. */
export function formatTime(wallMs: number | undefined): string {
  if (wallMs === undefined || !Number.isFinite(wallMs)) return "-";
  return new Date(wallMs)
    .toISOString()
    .replace("T", " ")
    .replace(/\.\d+Z$/, "Z");
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Milliseconds of `500ms`, `15s`, `5m`, `2h`. A bare number is refused: USAGE. */
export function parseDuration(text: string): number {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text) ?? [];
  const factor = UNITS[unit ?? ""];
  if (amount === undefined || factor === undefined) {
    throw new Fault("USAGE", `'${clean(text)}' is no duration; write it with its unit, like 500ms, 15s, 5m or 2h`);
  }
  return Number(amount) * factor;
}

function pad(value: number): string {
  return String(value).padStart(2, "0");
}
