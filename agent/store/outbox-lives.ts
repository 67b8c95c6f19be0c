/**
 * A life of the store that has ended, and up to which seq the records that wait are its own (behind those of the life before it).
 * They go out under its generation: what it had sent already is known again by the hub, instead of arriving once more.
 */
export interface Life {
  readonly generation: string;
  readonly through: number;
}

/**
 * Of a copy that was put back and went on: some of its seqs may name other records at the hub, and nobody can tell which. Its
 * records go out as the new life's own: rather twice than never.
 */
export const unknownLife = "";
/** Beyond it the records of the oldest lives count as those of the life behind them, which has sent them in its turn. */
const livesMax = 100;

/** Those of which records may still wait, oldest first. */
export function waitingLives(lives: readonly Life[], acked: number): Life[] {
  return lives.filter(({ through }) => through > acked).slice(-livesMax);
}

/** The generation that made the record, where that is known and an earlier one. */
export function madeIn(lives: readonly Life[], seq: number): string | undefined {
  return lives.find(({ through }) => seq <= through)?.generation || undefined;
}
