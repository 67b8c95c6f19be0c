/** What one look at a source has found. */
export type SourceLook =
  /** `stamp` names this state of the data: another stamp, other data. `madeWallMs` is when it was made. */
  | { readonly is: "made"; readonly stamp: number; readonly madeWallMs: number; readonly by: "file" | "field" }
  /** The number of rows, and when the file was written last, where that is known. */
  | { readonly is: "counted"; readonly rows: number; readonly madeWallMs?: number }
  /** Nothing could be read; `because` is a clause, like `its disk does not answer`. */
  | { readonly is: "unread"; readonly because: string }
  /** The agent itself could not look: it says nothing. */
  | { readonly is: "unasked" };

/** How old the data of a source is, and what that is measured by. */
export interface Freshness {
  readonly ageMs: number;
  /** The stamp or the rows of the last look that could read; absent: none could. */
  readonly stamp?: number;
  /** Why it could not be read at the last look; empty: it could. */
  readonly because: string;
}

/**
 * The age of a source's data after a look, `awakeMs` after the look before. Data that did not change is older by the time in
 * which the agent was awake, and nothing else: a wall clock that was set, a machine that slept and an agent that was stopped
 * make no data stale. Data that changed is as old as it says. What cannot be read grows older like what did not change; at the
 * first look, that is from now on.
 */
export function freshen(before: Freshness | undefined, look: SourceLook, awakeMs: number, wallMs: number): Freshness {
  if (look.is === "unasked") return before ?? { ageMs: 0, because: "" };
  const olderMs = before ? before.ageMs + awakeMs : 0;
  if (look.is === "unread") {
    return { ageMs: olderMs, ...(before?.stamp !== undefined && { stamp: before.stamp }), because: look.because };
  }
  const saidMs = look.madeWallMs === undefined ? 0 : Math.max(0, wallMs - look.madeWallMs);
  if (look.is === "counted") {
    const first = before?.stamp === undefined;
    const grew = !first && look.rows > (before?.stamp ?? 0);
    return { ageMs: grew ? 0 : first ? Math.max(saidMs, olderMs) : olderMs, stamp: look.rows, because: "" };
  }
  if (before?.stamp === look.stamp) return { ageMs: olderMs, stamp: look.stamp, because: "" };
  // A file whose time has moved, either way, was written since the last look, whatever its clock says.
  const capMs = look.by === "file" && before?.stamp !== undefined ? awakeMs : Number.POSITIVE_INFINITY;
  return { ageMs: Math.min(saidMs, capMs), stamp: look.stamp, because: "" };
}
