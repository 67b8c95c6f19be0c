import { createHash } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { makeHandle, placeOf, reopenHandle } from "@blueflame/shared/store/level/opening.ts";
import { type Entry, entriesOf, headOf, type SnapshotManifest } from "./snapshot-file.ts";

/** Rows are written in batches of about this size. */
const batchBytes = 1024 * 1024;

/** Where rows go, in batches. */
export interface Sink {
  batch(writes: { type: "put"; key: string; value: Uint8Array }[], options?: object): Promise<unknown>;
}

/** Writes the rows into an empty store; durable on return with `sync`. */
export async function fill(sink: Sink, entries: AsyncIterable<Entry>, sync: boolean): Promise<void> {
  let writes: { type: "put"; key: string; value: Uint8Array }[] = [];
  let bytes = 0;
  for await (const [key, sealed] of entries) {
    writes.push({ type: "put", key, value: Uint8Array.from(sealed) });
    bytes += key.length + sealed.length;
    if (bytes < batchBytes) continue;
    await sink.batch(writes);
    writes = [];
    bytes = 0;
  }
  await sink.batch(writes, { sync });
}

/**
 * Makes the store that the snapshot in `place` stands for, opens it as one, and reads every row back; then forgets it. Throws
 * STORE_DAMAGED when it is not what was written: better now than when it is needed.
 */
export async function rehearse(place: string, manifest: SnapshotManifest): Promise<void> {
  const scratch = join(place, "trial");
  try {
    await mkdir(scratch, { mode: 0o700 });
    const made = await makeHandle(scratch);
    try {
      await fill(made, entriesOf(place, manifest), false);
    } finally {
      await made.close();
    }
    const opened = await reopenHandle(placeOf(scratch), {});
    try {
      const hash = createHash("sha256");
      for await (const [key, value] of opened.iterator()) {
        hash.update(headOf(key, value)).update(key).update(value);
      }
      if (hash.digest("hex") === manifest.sha256) return;
      throw new Fault("STORE_DAMAGED", `the snapshot '${place}' does not open as what was written`);
    } finally {
      await opened.close();
    }
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
