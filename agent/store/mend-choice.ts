import type { FaultCode } from "@blueflame/shared/errors/fault.ts";

/** What was found out about the store and what could take its place; gathered by `inspect.ts`. */
export interface StoreFindings {
  /** What LevelDB's files say by their checksums. */
  readonly files: "absent" | "sound" | "damaged";
  readonly parts: readonly ("index" | "log" | "table")[];
  /** Something says that there was a store: its marker, the mirror, snapshots, copies. */
  readonly existed: boolean;
  /** Sound files that LevelDB does not open all the same. */
  readonly opens: boolean;
  /** `gone`: the wrapped data keys are nowhere; a key-encryption key that is missing is no finding but a fault. */
  readonly keys: "there" | "gone";
  /** Values that cannot be what was written under their keys. */
  readonly unreadable: number;
  /** The mirror remembers a later open than the store does: its last writes are gone. */
  readonly behind: boolean;
  readonly snapshots: number;
  /** Damaged stores that are kept beside it. */
  readonly copies: number;
}

/** One way to a sound store. What was acknowledged may be missing after each of them, so each begins a new life. */
export type Way = "reopen" | "repair" | "restore";

/** What to do about a store. */
export type Choice =
  | { readonly is: "leave"; readonly because: "sound" | "first-run" }
  | { readonly is: "mend"; readonly ways: readonly Way[]; readonly because: string }
  | { readonly is: "refuse"; readonly code: FaultCode; readonly because: string };

/** Copies are never removed by themselves, and must not fill the disk either. */
export const copiesMax = 3;

export function tooMany(copies: number): string {
  return `${copies} damaged copies already lie beside the store: move one of them to another place first`;
}

/**
 * In which order to try. What loses least comes first:
 *
 *   index broken           records are all there          repair, then a snapshot
 *   newest records broken  the rest is newer than any     reopen without them, then a snapshot
 *                          snapshot
 *   a table broken         what it held may be anything;  snapshot, what is younger, and log; without one
 *                          without it older values would  repair what is left
 *                          come back
 */
export function choose(found: StoreFindings): Choice {
  const { files, parts, copies, snapshots } = found;
  if (files === "absent") {
    if (!found.existed) return { is: "leave", because: "first-run" };
    if (snapshots > 0) return { is: "mend", ways: ["restore"], because: "the store is gone" };
    return { is: "refuse", code: "STORE_MISSING", because: "the store is gone, and there is no snapshot" };
  }
  const damage = damageOf(found);
  if (damage === undefined) return { is: "leave", because: "sound" };
  if (copies >= copiesMax) {
    return { is: "refuse", code: "STORE_DAMAGED", because: `${damage}, and ${tooMany(copies)}` };
  }
  const restore: Way[] = snapshots > 0 ? ["restore"] : [];
  if (found.keys === "gone") {
    // What is left would be an empty store in the place of the old one.
    if (snapshots > 0) return { is: "mend", ways: restore, because: damage };
    return { is: "refuse", code: "STORE_DAMAGED", because: `${damage}, and there is no snapshot` };
  }
  const indexAndMore = parts.includes("index") && parts.length > 1;
  if (parts.includes("table") || indexAndMore) return { is: "mend", ways: [...restore, "repair"], because: damage };
  if (files === "damaged" && parts.includes("log")) {
    return { is: "mend", ways: ["reopen", ...restore, "repair"], because: damage };
  }
  if (files === "damaged" || !found.opens) return { is: "mend", ways: ["repair", ...restore], because: damage };
  if (found.unreadable > 0) return { is: "mend", ways: [...restore, "reopen"], because: damage };
  return { is: "mend", ways: ["reopen", ...restore], because: damage };
}

/**
 * What `store restore` does that names no snapshot: what a repair would, where that takes one and lays the log over it. Where a
 * repair keeps more it is refused, also of a sound store: going back that far takes a person who names the snapshot.
 */
export function chooseRestore(found: StoreFindings): Choice {
  const choice = choose(found);
  if (choice.is === "leave") {
    if (choice.because === "first-run") return choice;
    const because = "the store is sound, and a snapshot knows nothing of what was written since";
    return { is: "refuse", code: "STORE_HOLDS_MORE", because };
  }
  if (choice.is === "refuse") return choice;
  if (choice.ways[0] === "restore") return { ...choice, ways: ["restore"] };
  const because = `${choice.because}, and all else in it can be kept`;
  return { is: "refuse", code: "STORE_HOLDS_MORE", because };
}

/** What is wrong, in words; undefined for a sound store. */
function damageOf({ files, parts, opens, keys, unreadable, behind }: StoreFindings): string | undefined {
  if (files === "damaged") return `files of the store are damaged (${parts.join(", ")})`;
  if (!opens) return "the store does not open";
  if (keys === "gone") return "the data keys of the store are gone";
  if (unreadable > 0) return `${unreadable} values of the store cannot be read`;
  if (behind) return "the store has forgotten its last writes";
  return undefined;
}
