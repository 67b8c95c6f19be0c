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
 * newer than every table, and than the snapshot. What cannot be read is left out, so that it takes no older value away; of a log in
 * which nothing can be read, which is somebody else's, all is. Returns how many writes there were.
 */
export async function overlayLog(sink: Sink, path: string, form: Form): Promise<number> {
  const said = (logWrites(path) ?? []).filter(({ key }) => !key.startsWith("!"));
  const writes = said.filter((write) => write.type === "del" || unreadable(form, write.key, write.value) === undefined);
  if (said.some(isPut) && !writes.some(isPut)) return 0;
  for (let at = 0; at < writes.length; at += batchMax) await sink.batch(writes.slice(at, at + batchMax));
  if (writes.length > 0) await sink.batch([], { sync: true });
  return writes.length;
}

function isPut({ type }: Write): boolean {
  return type === "put";
}
