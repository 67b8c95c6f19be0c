import type { KeptRisk, KeyMeta, LogMeta, Space } from "./space.ts";

/** One thing that changed, as it is now. */
export type Told =
  | { readonly is: "key"; readonly key: string; readonly meta: KeyMeta }
  | { readonly is: "log"; readonly log: string; readonly meta: LogMeta }
  | { readonly is: "risk" };

/** What a watcher is told next: each with the revision up to which everything was told once it has arrived. */
export interface Tale {
  readonly told: readonly (Told & { readonly through: number })[];
  /** Everything up to this revision is in it. */
  readonly through: number;
}

/**
 * What has changed after a revision, oldest first, each thing once. Undefined when that is not known any more, or when the revision
 * is one that this space has never had. A prefix leaves only keys that begin with it.
 */
export function changesAfter(
  space: Pick<Space, "keys" | "logs" | "revision" | "horizon">,
  risk: KeptRisk,
  after: number,
  prefix: string,
): Tale | undefined {
  if (after > space.revision || (after > 0 && after < space.horizon)) return undefined;
  const found: (Told & { readonly changed: number })[] = [];
  for (const [key, meta] of space.keys) {
    // Who asks for everything that is there is not told of what is not.
    if (meta.changed <= after || !key.startsWith(prefix) || (after === 0 && meta.deleted)) continue;
    found.push({ is: "key", key, meta, changed: meta.changed });
  }
  if (prefix === "") {
    for (const [log, meta] of space.logs) {
      if (meta.changed > after) found.push({ is: "log", log, meta, changed: meta.changed });
    }
    if (risk.changed > after) found.push({ is: "risk", changed: risk.changed });
  }
  found.sort((a, b) => a.changed - b.changed);
  const told = found.map((one, at) => {
    // A commit is told when the last of what it changed was: who lost the stream before that begins before it.
    const ends = found[at + 1]?.changed !== one.changed;
    return { ...one, through: ends ? one.changed : one.changed - 1 };
  });
  return { told, through: space.revision };
}
