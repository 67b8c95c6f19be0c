import { logWrites } from "@blueflame/shared/store/level/files/log-writes.ts";
import type { Write } from "@blueflame/shared/store/level/writer.ts";
import type { Form } from "./form.ts";
import { unreadable } from "./readable.ts";

const batchMax = 500;

/** Where writes go, in batches. */
interface Sink {
  batch(writes: Write[], options?: object): Promise<unknown>;
}

/**
 * Brings a store that was filled from a snapshot forward by what the write-ahead log of the damaged store in `path` still says: it is
 * newer than every table, and than the snapshot. What cannot be read is left out, so that it takes no older value away. Returns how
 * many writes there were.
 */
export async function overlayLog(sink: Sink, path: string, form: Form): Promise<number> {
  const writes = (logWrites(path) ?? []).filter(
    (write) =>
      !write.key.startsWith("!") && (write.type === "del" || unreadable(form, write.key, write.value) === undefined),
  );
  for (let at = 0; at < writes.length; at += batchMax) await sink.batch(writes.slice(at, at + batchMax));
  if (writes.length > 0) await sink.batch([], { sync: true });
  return writes.length;
}
