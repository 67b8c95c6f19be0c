/** What is known of a snapshot without reading it. */
export interface Aged {
  readonly number: number;
  /** Undefined when its manifest cannot be read. */
  readonly takenWallMs: number | undefined;
}

const dayMs = 86_400_000;

/**
 * Which snapshots go: kept are the `count` youngest, and of each of the last `days` days the last one, so that damage that nobody
 * notices for hours does not outlive every good one. A later number is younger, whatever the date says; one that cannot be read
 * counts as no day's. Never the youngest.
 */
export function leaving(
  all: readonly Aged[],
  wallMs: number,
  keep: { readonly count: number; readonly days: number },
): number[] {
  const youngestFirst = [...all].sort((a, b) => b.number - a.number);
  const kept = new Set(youngestFirst.slice(0, Math.max(keep.count, 1)).map(({ number }) => number));
  const days = new Set<number>();
  for (const { number, takenWallMs } of youngestFirst) {
    if (takenWallMs === undefined) continue;
    const day = Math.floor(takenWallMs / dayMs);
    const ageDays = Math.floor(wallMs / dayMs) - day;
    // Today's are those that the count keeps; one from the future was taken before the date went back.
    if (ageDays < 1 || ageDays > keep.days || days.has(day)) continue;
    days.add(day);
    kept.add(number);
  }
  return youngestFirst.map(({ number }) => number).filter((number) => !kept.has(number));
}
