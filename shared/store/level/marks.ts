/**
 * What makes a lost group of writes known at the next opening, although LevelDB says nothing when it leaves out a part of its
 * log, or the log is cut, or the disk never had what it acknowledged.
 *
 *   !marks           -> number   groups up to this one have no mark: from before there were any, or what a mended store lost
 *   !mark/<n mod M>  -> n        written with group n; a slot that does not hold its number is a group that is gone
 *
 *   groups   … 17 18 19 20 21        `!flush` says 21; the mark of 19 is missing: a hole
 *   witness                  23      the file beside the store says that 23 was on the disk: the tail is gone
 */
import { decodeNumber, encodeNumber } from "./numbers.ts";
import type { Handle, Place } from "./opening.ts";
import { readWitness } from "./witness.ts";
import type { Write } from "./writer.ts";

/** Groups that LevelDB's log can hold before it becomes a table: 2 MiB of the smallest groups. Older ones have checksums that are checked. */
const marksMax = 16_384;

/** The mark of group `n`. */
export function markOf(n: number): Write {
  return { type: "put", key: `!mark/${(n % marksMax).toString(16).padStart(4, "0")}`, value: encodeNumber(n) };
}

/** Says that nothing is known of the groups up to `n`. */
export function marksFrom(n: number): Write {
  return { type: "put", key: "!marks", value: encodeNumber(n) };
}

/** What of the acknowledged groups is gone, in words; undefined when all are there, and for a store from before there were marks. */
export async function lostIn(place: Place, handle: Handle): Promise<string | undefined> {
  const [flush, from] = await handle.getMany(["!flush", "!marks"]);
  if (!flush || !from) return undefined;
  const last = decodeNumber(flush);
  const witness = readWitness(place.witness);
  if (witness !== undefined && witness > last) {
    return `groups ${last + 1} to ${witness} were on the disk and are gone`;
  }
  const first = Math.max(decodeNumber(from), last - marksMax) + 1;
  const there = new Set<number>();
  for await (const value of handle.values({ gte: "!mark/", lt: "!mark0" })) there.add(decodeNumber(value));
  for (let n = first; n <= last; n++) {
    if (!there.has(n)) return `group ${n} of ${last} is gone, and later ones are there`;
  }
  return undefined;
}
