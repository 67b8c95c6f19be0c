/** The answer to one probe. */
export interface ProbeVerdict {
  readonly ok: boolean;
  /** A clause for people, at most 300 characters: what was seen. */
  readonly because: string;
  readonly tookMs: number;
}

/** The longest `because`. */
const becauseMax = 300;

/** What a probed program said, cut to one line that is safe to print. */
export function clause(text: string): string {
  const line = text.replaceAll(/\p{C}+/gu, " ").trim();
  return line.length > becauseMax ? `${line.slice(0, becauseMax - 1)}…` : line;
}
