import type { CoherenceSpec, SourceSpec } from "../config/sections.ts";
import type { RuleLook } from "./coherence.ts";
import { countOf, type Field, timeOf } from "./fields.ts";
import type { SourceLook } from "./freshness.ts";

/** One file or page, and everything that sources and rules want of it: it is read once for all of them. */
export interface Place {
  /** Absolute; exactly one of the two is not empty. */
  readonly file: string;
  readonly url: string;
  /** Fields of its JSON; empty: it is not read as JSON. */
  readonly fields: readonly string[];
  /** Its lines are counted. */
  readonly lines: boolean;
}

/** What one look at a place has found. */
export type PlaceSeen =
  /** `because` is a clause, like `its disk does not answer`; `unasked`: the agent itself could not look. */
  | { readonly reached: false; readonly because: string; readonly unasked?: true }
  | {
      readonly reached: true;
      /** When the file was written last; absent for a page. */
      readonly writtenWallMs?: number;
      /** Lines so far, as counted since the agent began to look; only where they are wanted. */
      readonly lines?: number;
      /** Why it was not read as JSON although fields are wanted. */
      readonly problem?: { readonly is: "broken" | "unread"; readonly because: string };
      readonly fields: Readonly<Record<string, Field>>;
      /** A page that is not well may lack fields without being incoherent. */
      readonly unwell?: string;
    };

/** The places of all sources and rules, each once. */
export function placesOf(sources: readonly SourceSpec[], rules: readonly CoherenceSpec[]): Place[] {
  const places = new Map<string, { file: string; url: string; fields: Set<string>; lines: boolean }>();
  const at = ({ file, url }: { readonly file: string; readonly url: string }) => {
    const key = placeKey({ file, url });
    const known = places.get(key) ?? { file, url, fields: new Set<string>(), lines: false };
    places.set(key, known);
    return known;
  };
  for (const source of sources) {
    const place = at(source);
    if (source.field !== "" || source.url !== "") place.fields.add(source.field);
    else if (source.rows) place.lines = true;
  }
  for (const rule of rules) at(rule).fields.add(rule.field);
  return [...places.values()].map((place) => ({ ...place, fields: [...place.fields] }));
}

/** A place by one word. */
export function placeKey({ file, url }: Pick<Place, "file" | "url">): string {
  return file === "" ? url : file;
}

/** What a look at its place says of a source. */
export function sourceLook(source: SourceSpec, seen: PlaceSeen): SourceLook {
  if (!seen.reached) return notReached(seen);
  const made = seen.writtenWallMs === undefined ? {} : { madeWallMs: seen.writtenWallMs };
  if (source.field === "" && source.url === "") {
    if (source.rows) return { is: "counted", rows: seen.lines ?? 0, ...made };
    const writtenMs = seen.writtenWallMs ?? 0;
    return { is: "made", stamp: writtenMs, madeWallMs: writtenMs, by: "file" };
  }
  if (seen.problem) return { is: "unread", because: seen.problem.because };
  const field = seen.fields[source.field] ?? { is: "absent" };
  const name = source.field || "the answer";
  if (source.rows) {
    const rows = countOf(field);
    return rows === undefined
      ? { is: "unread", because: seen.unwell ?? `${name} is no list and no number` }
      : { is: "counted", rows, ...made };
  }
  const madeWallMs = timeOf(field);
  return madeWallMs === undefined
    ? { is: "unread", because: seen.unwell ?? `${name} is no time` }
    : { is: "made", stamp: madeWallMs, madeWallMs, by: "field" };
}

/** What a look at its place says of a rule. */
export function ruleLook(rule: CoherenceSpec, seen: PlaceSeen): RuleLook {
  if (!seen.reached) return notReached(seen);
  if (seen.problem) return seen.problem;
  const field = seen.fields[rule.field] ?? { is: "absent" };
  if (field.is === "absent" && seen.unwell !== undefined) return { is: "unread", because: seen.unwell };
  return { is: "read", field };
}

function notReached({ because, unasked }: Extract<PlaceSeen, { reached: false }>) {
  return unasked ? { is: "unasked" as const } : { is: "unread" as const, because };
}
