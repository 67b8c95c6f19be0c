/** The answer to one probe. */
export interface ProbeVerdict {
  readonly ok: boolean;
  /** A clause for people, at most 300 characters: what was seen. */
  readonly because: string;
  readonly tookMs: number;
  /** The agent itself could not ask (no descriptor, no memory, no process to be had): it says nothing about the workload. */
  readonly unasked?: true;
}

/** What the system answers when the asker has run out of something. */
const ownWant = new Set(["EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "EAGAIN"]);

/** The answer of a probe that ended with an error, ours or the workload's. */
export function failure(error: unknown, because: string): Pick<ProbeVerdict, "ok" | "because" | "unasked"> {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return { ok: false, because, ...(ownWant.has(code) && { unasked: true as const }) };
}

/** The longest `because`. */
const becauseMax = 300;

/** What a probed program said, cut to one line that is safe to print. */
export function clause(text: string): string {
  const line = text.replaceAll(/\p{C}+/gu, " ").trim();
  return line.length > becauseMax ? `${line.slice(0, becauseMax - 1)}…` : line;
}
