import { createHash } from "node:crypto";
import { printDuration } from "@blueflame/shared/units/units.ts";

/** One failure, as the finders of patterns see it. */
export interface Occurrence {
  /** Age of the timeline at the failure. */
  readonly atMs: number;
  /** Wall time of the failure, for the hour of the day. */
  readonly wallMs: number;
  /** It had run for so long. */
  readonly uptimeMs?: number;
  /** So long before it its config was changed. */
  readonly sinceConfigMs?: number;
  /** Something that it depends on had failed shortly before. */
  readonly dependency?: string;
}

/** How often one workload failed in one way: at most eight occurrences, oldest first. */
export interface History {
  readonly workload: string;
  readonly text: string;
  readonly seen: readonly Occurrence[];
}

/** By workload and signature; at most 100, the one not seen for longest goes first. JSON-able. */
export type Histories = Readonly<Record<string, History>>;

/** A measure that a person may take, so that a failure does not come again. */
export interface Suggestion {
  /** Stable: the same pattern of the same failure has the same one. */
  readonly id: string;
  readonly workload: string;
  readonly kind: "often" | "daily" | "after_config" | "after_start" | "after_dependency";
  /** Sentences for people, with figures. */
  readonly text: string;
  readonly firstWallMs: number;
  readonly lastWallMs: number;
}

const historiesMax = 100;
const seenMax = 8;
/** So many failures make a pattern, of at most so many that are looked at. */
const least = 3;
const most = 5;
const dayMs = 86_400_000;
/** A failure that comes daily comes within this part of the day. */
const daytimeMs = 3_600_000;
/** A change of config is to blame for this long. */
const configMs = 600_000;
/** Lives that end alike differ by at most this share, and last at least so long: shorter ones are failures to start. */
const lifeShare = 0.15;
const lifeLeastMs = 600_000;

/** The histories after one more failure of `workload`. `key` names workload and signature together. */
export function happened(
  all: Histories,
  key: string,
  workload: string,
  signature: string,
  occurrence: Occurrence,
): Histories {
  const seen = [...(all[key]?.seen ?? []), occurrence].slice(-seenMax);
  const next = { ...all, [key]: { workload: workload.slice(0, 64), text: signature.slice(0, 160), seen } };
  const keys = Object.keys(next);
  if (keys.length <= historiesMax) return next;
  const newest = (one: string) => next[one]?.seen.at(-1)?.atMs ?? 0;
  const oldest = keys.reduce((a, b) => (newest(b) < newest(a) ? b : a));
  return Object.fromEntries(Object.entries(next).filter(([one]) => one !== oldest));
}

/**
 * What the failures of one history have in common, looked at together with its newest one. Each needs three failures: at one
 * time of the day on different days; each within ten minutes after another change of config; after lives of equal length;
 * each after the same dependency failed. Only when none of them fits: three within 24 hours.
 */
export function suggestionsFor(history: History): Suggestion[] {
  const { seen } = history;
  if (seen.length < least) return [];
  const latest = seen.slice(-most);
  const found = [daily(latest), afterConfig(latest), afterStart(latest), afterDependency(latest)].filter(
    (one) => one !== undefined,
  );
  const all = found.length > 0 ? found : [often(seen)].filter((one) => one !== undefined);
  return all.map(({ kind, says, of }) => suggestion(history, kind, says, of));
}

interface Found {
  readonly kind: Suggestion["kind"];
  readonly says: string;
  readonly of: readonly Occurrence[];
}

function suggestion(
  { workload, text }: History,
  kind: Suggestion["kind"],
  says: string,
  of: readonly Occurrence[],
): Suggestion {
  const walls = of.map((one) => one.wallMs);
  return {
    id: createHash("sha256").update(`${kind}\n${workload}\n${text}`).digest("hex").slice(0, 12),
    workload,
    kind,
    text: `${workload} ${says} The failure: ${text}.`,
    firstWallMs: Math.min(...walls),
    lastWallMs: Math.max(...walls),
  };
}

function often(seen: readonly Occurrence[]): Found | undefined {
  const newestMs = seen.at(-1)?.atMs ?? 0;
  const of = seen.filter((one) => one.atMs > newestMs - dayMs);
  if (of.length < least) return undefined;
  const count = of.length === seenMax ? `at least ${seenMax}` : String(of.length);
  const says = `failed ${count} times in 24 hours in the same way. Being healed again and again is no cure: look for the cause while it is fresh.`;
  return { kind: "often", says, of };
}

/** The smallest arc of the day that holds all failures, for they may lie around midnight. */
function daily(latest: readonly Occurrence[]): Found | undefined {
  const days = new Set(latest.map((one) => Math.floor((one.wallMs + dayMs / 2) / dayMs)));
  const times = latest.map((one) => ((one.wallMs % dayMs) + dayMs) % dayMs).sort((a, b) => a - b);
  const arcs = times.map((fromMs, index) => {
    const toMs = times[(index + times.length - 1) % times.length] ?? fromMs;
    return { fromMs, lengthMs: (toMs - fromMs + dayMs) % dayMs };
  });
  const { fromMs, lengthMs } = arcs.reduce((a, b) => (b.lengthMs < a.lengthMs ? b : a));
  const apart = latest.every((one, index) => index === 0 || one.atMs - (latest[index - 1]?.atMs ?? 0) > dayMs / 2);
  if (days.size < least || !apart || lengthMs > daytimeMs) return undefined;
  const says = `failed on ${latest.length} days between ${clock(fromMs)} and ${clock(fromMs + lengthMs)} UTC. Look at what runs on the machine then (a nightly job, a backup, a rotation), and move it or limit it.`;
  return { kind: "daily", says, of: latest };
}

function afterConfig(latest: readonly Occurrence[]): Found | undefined {
  const changes = latest.map((one) => one.atMs - (one.sinceConfigMs ?? Number.POSITIVE_INFINITY));
  const apart = changes.every((at, index) => index === 0 || at - (changes[index - 1] ?? 0) > 60_000);
  if (!apart || !latest.every((one) => (one.sinceConfigMs ?? configMs) < configMs)) return undefined;
  const within = printDuration(ceiled(Math.max(...latest.map((one) => one.sinceConfigMs ?? 0)), 60_000));
  const says = `failed after each of its last ${latest.length} changes of config, within ${within}. Try a change on one node before it goes to all.`;
  return { kind: "after_config", says, of: latest };
}

function afterStart(latest: readonly Occurrence[]): Found | undefined {
  const lives = latest.map((one) => one.uptimeMs ?? 0);
  const [shortest, longest] = [Math.min(...lives), Math.max(...lives)];
  if (shortest < lifeLeastMs || longest - shortest > lifeShare * longest) return undefined;
  const lived = `${printDuration(ceiled(shortest, 60_000))} to ${printDuration(ceiled(longest, 60_000))}`;
  const every = printDuration(Math.max(60_000, Math.floor((0.8 * shortest) / 60_000) * 60_000));
  const says = `failed ${latest.length} times after running for ${lived}, as if something leaks or runs out. Until that is found, plan a restart every ${every}, at a quiet hour.`;
  return { kind: "after_start", says, of: latest };
}

function afterDependency(latest: readonly Occurrence[]): Found | undefined {
  const [first] = latest;
  const name = first?.dependency;
  if (name === undefined || !latest.every((one) => one.dependency === name)) return undefined;
  const says = `failed ${latest.length} times in a row after ${name} had failed. Mend ${name} first; and let this workload wait for it and connect again instead of ending.`;
  return { kind: "after_dependency", says, of: latest };
}

function clock(ms: number): string {
  const minutes = Math.floor(ms / 60_000) % 1440;
  return `${String(Math.floor(minutes / 60)).padStart(2, "0")}:${String(minutes % 60).padStart(2, "0")}`;
}

function ceiled(ms: number, stepMs: number): number {
  return Math.ceil(ms / stepMs) * stepMs;
}
