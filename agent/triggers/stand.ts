/**
 * Where one trigger stands for one subject. Pure.
 *
 *              holds                    held for holdMs, no excuse, cooldown over: FIRED
 *   (quiet) ───────────▶ pending ───────────────────────────────────────────────▶ firing ◀──────────────┐
 *      ▲                    │ no longer holds                                       │ over               │ holds,
 *      ├────────────────────┘                                                      ▼                    │ or between
 *      ├───────────────────────────── over for clearHoldMs: CLEARED ─────────── clearing ────────────────┤
 *      │                                                                           │ not known any more     │
 *      └───────────────────────────── over for clearHoldMs: CLEARED ─── lapsed ◀───┴──── (also of firing)   │
 *                                                                          └── holds for holdMs ───────────┘
 *
 * Between the threshold and the clear threshold nothing begins and nothing ends. An excuse (it is not our fault) holds a
 * pending one back and is NOTED; when the excuse ends, the hold begins anew. One that has fired is over by an excuse as by its end:
 * nobody is healed on for what strangers do. Nothing that flickers fires more than once in a cooldown: the mark of the last firing
 * outlives the stand.
 *
 * What is known of a process ends with it ({@link lapse}): then nothing fires, and what has fired is over for the next process. Its
 * hold begins anew; when it holds again within the cooldown it is HOLDING, which calls nobody: who waits for its end goes on waiting.
 */

/** What is known of a condition now. */
export type Finding =
  | {
      readonly is: "holds";
      readonly because: string;
      readonly excuse?: string;
      /** How far it is beyond its threshold; only of what comes back by time alone, within days: see {@link Mark.slow}. */
      readonly beyond?: number;
    }
  /** Neither bad enough to begin nor good enough to end. */
  | { readonly is: "between"; readonly because: string }
  | { readonly is: "over"; readonly because: string }
  /** The figure cannot be had: nothing begins, and for {@link knownForMs} nothing ends. */
  | { readonly is: "unknown" };

/** Of one subject that is not quiet. */
export interface Stand {
  /** lapsed: it had fired, and then nothing was known of it any more. */
  readonly at: "pending" | "firing" | "clearing" | "lapsed";
  /** Since when it stands so; for a pending one, since when it holds without an excuse; for a lapsed one, since when `last` is known. */
  readonly sinceMs: number;
  /** Since when the condition holds. */
  readonly heldMs: number;
  /** What was last known, and when. */
  readonly last: "holds" | "between" | "over";
  readonly knownMs: number;
  readonly because: string;
  readonly excuse?: string;
  /** How far beyond its threshold; only while `last` is "holds". */
  readonly beyond?: number;
  /** Since when an earlier agent process had seen it over: its word counts when the first word of this one is the same. */
  readonly overMs?: number;
  /** When it was taken over from an earlier agent process, which may have known of it long after `knownMs`. */
  readonly takenMs?: number;
}

/** What outlives a stand, until the cooldown is over. */
export interface Mark {
  readonly firedMs?: number;
  readonly notedMs?: number;
  /**
   * Of what comes back by time alone: since when it has become no worse, and how far beyond it was at the least since it fired. It
   * fires again as often as ever when it is worse than that; else each time later, at last once a day.
   */
  readonly slow?: { readonly sinceMs: number; readonly beyond: number };
}

/** The times of a trigger. */
interface Timing {
  readonly holdMs: number;
  readonly clearHoldMs: number;
  readonly cooldownMs: number;
}

/** What a finding has changed. No `stand` means quiet. */
interface Moved {
  readonly stand?: Stand;
  readonly mark: Mark;
  readonly out?: "fired" | "cleared" | "noted" | "lapsed" | "holding";
}

/** What nobody has confirmed for this long is no longer known: its stand ends. */
const knownForMs = 300_000;
/** The same excuse is noted again after this long at the earliest. */
const noteAgainMs = 300_000;
/** What comes back by time alone and becomes no worse fires at least this often. */
const slowestMs = 86_400_000;

/** Takes a finding of now, or with `knownMs` one that was made then and is looked at again because time has passed. */
export function move(
  timing: Timing,
  stand: Stand | undefined,
  mark: Mark,
  finding: Finding,
  nowMs: number,
  knownMs = nowMs,
): Moved {
  if (finding.is === "unknown") return forgetful(timing, stand, mark, nowMs);
  switch (stand?.at) {
    case undefined:
      return finding.is === "holds" ? ripen(timing, begun(finding, nowMs), mark, finding, nowMs) : { mark };
    case "pending":
      return finding.is === "holds" ? ripen(timing, { ...stand, knownMs }, mark, finding, nowMs) : { mark };
    case "firing":
    case "clearing": {
      const known = {
        ...without(knownMs > stand.knownMs && finding.is !== "over" ? forgotten(stand) : stand),
        ...facts(finding),
        knownMs,
      };
      // What has become somebody else's doing is over for whoever is being healed for it.
      if (finding.is === "over" || known.excuse !== undefined) return fadeOut(timing, known, mark, nowMs);
      const firing: Stand = known.at === "firing" ? known : { ...known, at: "firing", sinceMs: nowMs };
      return again(timing, firing, mark, nowMs);
    }
    case "lapsed":
      return anew(timing, stand, mark, finding, nowMs, knownMs);
  }
}

/** What was known is known no more: the process that it was about is gone, or the figure cannot be had. */
export function lapse(stand: Stand, mark: Mark, nowMs: number): Moved {
  if (stand.at === "pending") return { mark };
  // Nothing is both: neither a hold nor a clear hold counts on.
  if (stand.at === "lapsed") return { stand: stand.last === "between" ? stand : unknown(stand, nowMs), mark };
  return { stand: { ...unknown(stand, nowMs), knownMs: nowMs }, mark, out: "lapsed" };
}

/** A fact that happened: no hold, but the cooldown; within it the stand is renewed and nothing is fired. It never fires by time. */
export function strike(timing: Timing, mark: Mark, because: string, nowMs: number): Moved {
  const stand: Stand = { at: "firing", sinceMs: nowMs, heldMs: nowMs, last: "between", knownMs: nowMs, because };
  if (nowMs < cooledMs(timing, mark)) return { stand, mark };
  return { stand, mark: { ...mark, firedMs: nowMs }, out: "fired" };
}

/** When {@link move} may say something new by time alone; undefined when only a finding can. */
export function dueMs(timing: Timing, stand: Stand, mark: Mark): number {
  const endMs = forgottenMs(stand);
  switch (stand.at) {
    case "pending":
      if (stand.excuse !== undefined)
        return Math.min(endMs, Math.max(stand.heldMs + timing.holdMs, notedAgainMs(mark)));
      return Math.min(endMs, Math.max(stand.sinceMs + timing.holdMs, cooledMs(timing, mark)));
    case "firing":
      return stand.last === "holds" && stand.excuse === undefined && timing.cooldownMs > 0
        ? Math.min(endMs, againMs(timing, stand, mark))
        : endMs;
    case "clearing":
      return stand.sinceMs + timing.clearHoldMs;
    case "lapsed":
      if (stand.last === "between" || stand.excuse !== undefined) return endMs;
      return Math.min(endMs, stand.sinceMs + (stand.last === "over" ? timing.clearHoldMs : timing.holdMs));
  }
}

/** From here on nothing is known of it any more. Who has only just taken it over has as long as ever to hear of it. */
export function forgottenMs({ knownMs, takenMs = knownMs }: Stand): number {
  return Math.max(knownMs, takenMs) + knownForMs;
}

/** The last finding of a stand, to be looked at again. */
export function lastFinding({ last, because, excuse, beyond }: Stand): Finding {
  if (last !== "holds") return { is: last, because };
  return { is: last, because, ...(excuse !== undefined && { excuse }), ...(beyond !== undefined && { beyond }) };
}

/** The agent was away for `byMs`: what counts towards a judgement does not run in that time. */
export function forgiven(stand: Stand, byMs: number): Stand {
  const { at, sinceMs, takenMs } = stand;
  const known = { knownMs: stand.knownMs + byMs, ...(takenMs !== undefined && { takenMs: takenMs + byMs }) };
  return at === "firing" ? { ...stand, ...known } : { ...stand, ...known, sinceMs: sinceMs + byMs };
}

/** Is the mark still of use? */
export function isFresh(timing: Timing, mark: Mark, nowMs: number): boolean {
  const slowMs = mark.slow && mark.firedMs !== undefined ? mark.firedMs + slowestMs : Number.NEGATIVE_INFINITY;
  return nowMs < Math.max(notedAgainMs(mark), cooledMs(timing, mark), slowMs);
}

function cooledMs(timing: Timing, { firedMs }: Mark): number {
  return firedMs === undefined ? Number.NEGATIVE_INFINITY : firedMs + timing.cooldownMs;
}

/** From when on it fires again, for it goes on holding. */
function againMs(timing: Timing, stand: Stand, mark: Mark): number {
  const { firedMs, slow } = mark;
  if (firedMs === undefined || slow === undefined || isWorse(stand, mark)) return cooledMs(timing, mark);
  return firedMs + Math.max(timing.cooldownMs, Math.min(slowestMs, firedMs - slow.sinceMs));
}

function isWorse({ beyond }: Stand, { slow }: Mark): boolean {
  return slow === undefined || beyond === undefined || beyond > slow.beyond;
}

/** It has become better: from there on it can become worse again. */
function eased(stand: Stand, mark: Mark): Mark {
  const { beyond } = stand;
  if (mark.slow === undefined || beyond === undefined || isWorse(stand, mark)) return mark;
  return { ...mark, slow: { ...mark.slow, beyond } };
}

/** It fires now. */
function marked(stand: Stand, mark: Mark, nowMs: number): Mark {
  const { beyond } = stand;
  if (beyond === undefined) return { ...mark, firedMs: nowMs };
  const sinceMs = mark.slow === undefined || isWorse(stand, mark) ? nowMs : mark.slow.sinceMs;
  return { ...mark, firedMs: nowMs, slow: { sinceMs, beyond } };
}

function notedAgainMs({ notedMs }: Mark): number {
  return notedMs === undefined ? Number.NEGATIVE_INFINITY : notedMs + noteAgainMs;
}

function begun(finding: Finding & { is: "holds" }, nowMs: number): Stand {
  return { at: "pending", sinceMs: nowMs, heldMs: nowMs, knownMs: nowMs, ...facts(finding) };
}

function facts(finding: Exclude<Finding, { is: "unknown" }>) {
  const { excuse, beyond } = finding.is === "holds" ? finding : {};
  return {
    last: finding.is,
    because: finding.because,
    ...(excuse !== undefined && { excuse }),
    ...(beyond !== undefined && { beyond }),
  };
}

function without({ excuse: _excuse, beyond: _beyond, ...rest }: Stand): Stand {
  return rest;
}

/** A condition that holds and has not fired. */
function ripen(timing: Timing, before: Stand, mark: Mark, finding: Finding & { is: "holds" }, nowMs: number): Moved {
  const excused = finding.excuse !== undefined;
  // The hold has to be one without an excuse, from beginning to end.
  const sinceMs = excused || before.excuse !== undefined ? nowMs : before.sinceMs;
  const stand: Stand = { ...without(before), ...facts(finding), sinceMs };
  if (excused) {
    if (nowMs < notedAgainMs(mark) || nowMs < stand.heldMs + timing.holdMs) return { stand, mark };
    return { stand, mark: { ...mark, notedMs: nowMs }, out: "noted" };
  }
  if (nowMs < sinceMs + timing.holdMs || nowMs < cooledMs(timing, mark)) return { stand, mark };
  return { stand: { ...stand, at: "firing", sinceMs: nowMs }, mark: marked(stand, mark, nowMs), out: "fired" };
}

/** It has fired and goes on holding. */
function again(timing: Timing, stand: Stand, before: Mark, nowMs: number): Moved {
  const mark = eased(stand, before);
  const fires = stand.last === "holds" && stand.excuse === undefined && timing.cooldownMs > 0;
  if (!fires || nowMs < againMs(timing, stand, mark)) return { stand, mark };
  return { stand, mark: marked(stand, mark, nowMs), out: "fired" };
}

/** It has lapsed, and something is known again: by another process, or after a silence. */
function anew(
  timing: Timing,
  before: Stand,
  mark: Mark,
  finding: Exclude<Finding, { is: "unknown" }>,
  nowMs: number,
  knownMs: number,
): Moved {
  const goesOn = before.last === finding.is && before.excuse === undefined;
  const anewMs = (finding.is === "over" ? before.overMs : undefined) ?? nowMs;
  const same = knownMs > before.knownMs ? forgotten(before) : before;
  const stand: Stand = { ...without(same), ...facts(finding), knownMs, sinceMs: goesOn ? before.sinceMs : anewMs };
  if (finding.is === "over")
    return nowMs < stand.sinceMs + timing.clearHoldMs ? { stand, mark } : { mark, out: "cleared" };
  if (finding.is === "between" || stand.excuse !== undefined || nowMs < stand.sinceMs + timing.holdMs)
    return { stand, mark };
  const firing: Stand = { ...stand, at: "firing", sinceMs: nowMs, heldMs: stand.sinceMs };
  if (nowMs < cooledMs(timing, mark)) return { stand: firing, mark, out: "holding" };
  return { stand: firing, mark: marked(firing, mark, nowMs), out: "fired" };
}

function forgotten({ overMs: _before, ...rest }: Stand): Stand {
  return rest;
}

/**
 * Of an earlier agent process of this boot, taken over now. What was over then has to be over for this one, too: two readings, however
 * long nobody looked in between. Whatever else was counting begins anew, and what held fires no more until it is found to hold.
 */
export function inherited(stand: Stand, nowMs: number): Stand {
  const isOver = stand.last === "over" && (stand.at === "clearing" || stand.at === "lapsed");
  const overMs = isOver ? { overMs: stand.sinceMs } : {};
  const at = stand.at === "clearing" ? "firing" : stand.at;
  return { ...without(stand), at, last: "between", takenMs: nowMs, ...overMs };
}

function unknown(stand: Stand, nowMs: number): Stand {
  return { ...without(stand), at: "lapsed", last: "between", sinceMs: nowMs };
}

function fadeOut(timing: Timing, known: Stand, mark: Mark, nowMs: number): Moved {
  const { overMs, ...rest } = known;
  const sinceMs = (known.last === "over" ? overMs : undefined) ?? nowMs;
  const stand: Stand = known.at === "clearing" ? rest : { ...rest, at: "clearing", sinceMs };
  return nowMs < stand.sinceMs + timing.clearHoldMs ? { stand, mark } : { mark, out: "cleared" };
}

function forgetful(timing: Timing, stand: Stand | undefined, mark: Mark, nowMs: number): Moved {
  if (stand === undefined || stand.at === "pending") return { mark };
  if (stand.at === "lapsed") return nowMs < forgottenMs(stand) ? { stand, mark } : { mark };
  if (stand.at === "clearing") return fadeOut(timing, stand, mark, nowMs);
  return nowMs < forgottenMs(stand) ? { stand, mark } : { mark, out: "cleared" };
}
