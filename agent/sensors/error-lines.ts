/** Lines are matched up to here: a line of megabytes must not cost us the CPU. */
const lineMax = 1024;
/** Counts are over the last minute, in slots of five seconds. */
const slotMs = 5000;
const slotsMax = 12;

/** The lines of a text, each cut to what is looked at of it. */
export function cutLines(text: string): string[] {
  return text.split("\n").map((line) => line.slice(0, lineMax));
}

/**
 * How much of new output is whole lines: the bytes up to the last line's end. What is longer than a line may be is taken as it
 * is, or it would be carried along for ever.
 */
export function wholeLength(bytes: Uint8Array): number {
  const end = bytes.lastIndexOf(10) + 1;
  return end === 0 && bytes.length > lineMax ? bytes.length : end;
}

/** How many lines matched, by slots of time; at most 12 of them. JSON-able. */
export type LineCounts = readonly (readonly [slot: number, count: number])[];

/** Adds lines that matched at `nowMs`. */
export function addLines(counts: LineCounts, count: number, nowMs: number): LineCounts {
  if (count === 0) return counts;
  const slot = Math.floor(nowMs / slotMs);
  const kept = counts.filter(([number]) => number > slot - slotsMax && number !== slot);
  const now = counts.find(([number]) => number === slot)?.[1] ?? 0;
  return [...kept, [slot, now + count]];
}

/** Lines that matched within the last minute. */
export function linesWithin(counts: LineCounts, nowMs: number): number {
  const oldest = Math.floor(nowMs / slotMs) - slotsMax + 1;
  return counts.reduce((sum, [slot, count]) => (slot >= oldest ? sum + count : sum), 0);
}
