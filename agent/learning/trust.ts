import { wilson } from "./wilson.ts";

/** Whom one trusts: the healer itself, a workload, a playbook, a rung of the ladder; a playbook as it is used for one workload. */
export type Subject = "node" | `workload:${string}` | `playbook:${string}` | `rung:${string}` | Use;

/** `use:PLAYBOOK for WORKLOAD`: the only subject that others can go before. Rungs have their order by `strategy.ts`. */
export type Use = `use:${string} for ${string}`;

/** What is remembered of one subject, as it stood at `atMs` (an age of the timeline). JSON-able. */
export interface Trust {
  readonly atMs: number;
  /** 0 to 1. */
  readonly trust: number;
  /** Successes and failures, weighing half as much after {@link evidenceHalfMs}; together at most {@link evidenceMax}. */
  readonly ok: number;
  readonly failed: number;
  readonly demoted: boolean;
  /** At which age it fell below {@link lowBelow}; absent while it is trusted. Earlier versions did not write it. */
  readonly lowSinceMs?: number;
}

/**
 * The trust in everybody, by subject: at most 500 workloads, 1000 uses and 200 others. Of a kind that has too many the one not heard of
 * for longest goes first; no kind takes the place of another, so what a node has is known, however much else is tried there.
 */
export type TrustBook = Readonly<Record<string, Trust>>;

/** How far a subject is trusted now. */
export interface TrustReport {
  readonly subject: Subject;
  readonly trust: number;
  /** With 95 % certainty it works at least this often. */
  readonly lowerBound: number;
  /** Only of a {@link Use}: others go first. It is no ban: when nothing else is left, it is tried. */
  readonly demoted: boolean;
  /** How long ago it fell below 0.7, if it has not risen to 0.75 since; absent otherwise. */
  readonly lowForMs?: number;
  /** One sentence for people. */
  readonly because: string;
}

/**
 * Where trust begins and whither it drifts back: above 0.7, where "trust drop" fires (GRC-2), so that a newcomer and one
 * single failure are no alarm and two are; below 1, for nothing has been shown yet.
 */
export const neutral = 0.8;
/** Where "trust drop" fires, and where it is over (GRC-2). */
const lowBelow = 0.7;
const lowUntil = 0.75;
/** By GRC-5. */
const rise = 0.05;
/** Twice as fast down as up: who fails every third time ends at the bottom. */
const fall = 0.1;
/** Half of the distance to neutral is forgotten in a week. */
const trustHalfMs = 7 * 86_400_000;
const evidenceHalfMs = 7 * 86_400_000;
/** What was proven a thousand times can still be proven wrong in twenty tries. */
const evidenceMax = 12;
/** Everybody starts with the record of five tries, four of them good: the same 0.8. */
const [priorOk, priorAll] = [4, 5];
/** Demoted below the one (three failures in a row at the start), back above the other (two successes later, or after some days). */
const demoteBelow = 0.25;
const restoreFrom = 0.35;
const kindsMax = { workload: 500, use: 1000, other: 200 };

/** The book after one more success or failure of `subjects`, which all have had their part in it. */
export function judged(book: TrustBook, subjects: readonly Subject[], ok: boolean, ageMs: number): TrustBook {
  const after: Record<string, Trust> = { ...book };
  for (const subject of subjects) after[subject] = judgedOne(subject, book[subject], ok, ageMs);
  // Whoever is known takes nobody's place.
  const added = subjects.filter((subject) => !Object.hasOwn(book, subject));
  for (const kind of new Set(added.map(kindOf))) forgetOldest(after, kind);
  return after;
}

function judgedOne(subject: Subject, known: Trust | undefined, ok: boolean, ageMs: number): Trust {
  const before = agedTo(known ?? newcomer(ageMs), ageMs);
  const trust = rounded(Math.min(1, Math.max(0, before.trust + (ok ? rise : -fall))));
  const counted = { ok: before.ok + (ok ? 1 : 0), failed: before.failed + (ok ? 0 : 1) };
  const scale = Math.min(1, evidenceMax / (counted.ok + counted.failed));
  const evidence = { ok: rounded(counted.ok * scale), failed: rounded(counted.failed * scale) };
  const demoted = isUse(subject) && isDemoted(before.demoted, evidence);
  return { atMs: ageMs, trust, ...evidence, demoted, ...lowFrom(before.lowSinceMs, trust, ageMs) };
}

/** How far `subject` is trusted at this age. Changes nothing: time is taken into account, not written down. */
export function trustIn(book: TrustBook, subject: Subject, ageMs: number): TrustReport {
  const { trust, ok, failed, demoted: last, lowSinceMs } = agedTo(book[subject] ?? newcomer(ageMs), ageMs);
  // Earlier versions demoted whatever failed.
  const demoted = last && isUse(subject);
  const lowerBound = lowerBoundOf({ ok, failed });
  const all = ok + failed;
  const record = all < 0.5 ? "not tried lately" : `about ${Math.round(ok)} of the last ${Math.round(all)} tries worked`;
  const bound = `so at least ${Math.round(100 * lowerBound)} % do (95 % sure)`;
  const rank = demoted ? "; demoted, others go first" : "";
  return {
    subject,
    trust: rounded(trust),
    lowerBound,
    demoted,
    ...(lowSinceMs !== undefined && { lowForMs: Math.max(0, ageMs - lowSinceMs) }),
    because: `${isUse(subject) ? subject.slice("use:".length) : subject}: trust ${trust.toFixed(2)}; ${record}, ${bound}${rank}`,
  };
}

function isUse(subject: Subject): subject is Use {
  return subject.startsWith("use:");
}

function newcomer(ageMs: number): Trust {
  return { atMs: ageMs, trust: neutral, ok: 0, failed: 0, demoted: false };
}

/** What is left of it after some time: trust drifts to neutral, evidence fades. */
function agedTo(one: Trust, ageMs: number): Trust {
  const passedMs = Math.max(0, ageMs - one.atMs);
  const fade = 2 ** (-passedMs / evidenceHalfMs);
  const evidence = { ok: one.ok * fade, failed: one.failed * fade };
  const trust = neutral + (one.trust - neutral) * 2 ** (-passedMs / trustHalfMs);
  // Where an earlier version has not written when it fell: at the latest when it was judged last, for nothing else lowers it.
  const { lowSinceMs } = lowFrom(one.lowSinceMs, one.trust, one.atMs);
  return {
    atMs: ageMs,
    trust,
    ...evidence,
    demoted: one.demoted && isDemoted(true, evidence),
    ...lowFrom(lowSinceMs, trust, ageMs),
  };
}

/** Since when trust is low that is so much at this age, and was low since then before. */
function lowFrom(sinceMs: number | undefined, trust: number, ageMs: number): Pick<Trust, "lowSinceMs"> {
  if (trust >= (sinceMs === undefined ? lowBelow : lowUntil)) return {};
  return { lowSinceMs: sinceMs ?? ageMs };
}

interface Evidence {
  readonly ok: number;
  readonly failed: number;
}

function isDemoted(before: boolean, evidence: Evidence): boolean {
  return lowerBoundOf(evidence) < (before ? restoreFrom : demoteBelow);
}

function lowerBoundOf({ ok, failed }: Evidence): number {
  return wilson(priorOk + ok, priorAll + ok + failed).low;
}

function kindOf(subject: string): keyof typeof kindsMax {
  if (subject.startsWith("workload:")) return "workload";
  return subject.startsWith("use:") ? "use" : "other";
}

/** Takes the oldest of a kind that has too many out of the book. */
function forgetOldest(book: Record<string, Trust>, kind: keyof typeof kindsMax): void {
  const alike = Object.keys(book).filter((subject) => kindOf(subject) === kind);
  const atMs = (subject: string) => book[subject]?.atMs ?? 0;
  const tooMany = alike.length - kindsMax[kind];
  if (tooMany > 0) for (const oldest of alike.sort((a, b) => atMs(a) - atMs(b)).slice(0, tooMany)) delete book[oldest];
}

/** Four digits: short as text, and sums of 0.05 stay sums of 0.05. */
function rounded(value: number): number {
  return Math.round(value * 10_000) / 10_000;
}
