/** Where the importer writes how far it has come. */
export const cursorKey = "importer/progress";

/** Everything that must survive; written in one piece after each batch. */
export interface Progress {
  /** The row that comes next: everything before it was taken, once. */
  readonly next: number;
  /** Characters of all rows that were taken: a stand-in for what an import adds up. */
  readonly characters: number;
}

/** What a batch did, for the log. */
export interface Summary {
  readonly from: number;
  readonly to: number;
  readonly characters: number;
}

/** Of the value in the key; without one nothing was imported yet. Throws an Error for what is no such value. */
export function readProgress(value: Uint8Array | undefined): Progress {
  if (!value) return { next: 0, characters: 0 };
  const read = JSON.parse(Buffer.from(value).toString()) as Partial<Progress>;
  const { next, characters } = read;
  if (!Number.isSafeInteger(next) || !Number.isSafeInteger(characters)) throw new Error("the progress cannot be read");
  return { next: Number(next), characters: Number(characters) };
}

/** Takes the next rows, at most `max`. There is one at least. */
export function take(
  rows: readonly string[],
  { next, characters }: Progress,
  max: number,
): { next: Progress; summary: Summary } {
  const taken = rows.slice(next, next + max);
  const more = taken.reduce((sum, row) => sum + row.length, 0);
  return {
    next: { next: next + taken.length, characters: characters + more },
    summary: { from: next, to: next + taken.length - 1, characters: more },
  };
}
