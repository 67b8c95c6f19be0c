import { checkAppend, checkRange } from "../limits.ts";
import type { Item, Log } from "../log.ts";
import { compareKeys } from "../order.ts";

const byTime = (left: Item, right: Item) => left.at - right.at || compareKeys(left.id, right.id);

/** A Log that lives as long as its process, for tests and the simulator. */
export function memoryLog(): Log {
  const streams = new Map<string, Map<string, Item>>();
  return {
    async append(stream, items) {
      checkAppend(stream, items);
      const held = streams.get(stream) ?? new Map<string, Item>();
      streams.set(stream, held);
      for (const item of items) {
        if (!held.has(item.id)) held.set(item.id, { ...item, data: new Uint8Array(item.data) });
      }
    },
    async range(stream, range) {
      checkRange(stream, range);
      const held = streams.get(stream) ?? new Map<string, Item>();
      const after = range.after === undefined ? undefined : held.get(range.after);
      // The item to go on behind was trimmed, and with it everything older: forwards that leaves all, backwards nothing.
      if (range.after !== undefined && !after && range.reverse) return [];
      const items = [...held.values()]
        .filter((item) => item.at >= (range.from ?? 0) && item.at < (range.to ?? Number.POSITIVE_INFINITY))
        .sort(byTime);
      if (range.reverse) items.reverse();
      const behind = after
        ? items.filter((item) => (range.reverse ? byTime(item, after) < 0 : byTime(item, after) > 0))
        : items;
      return behind.slice(0, range.limit);
    },
    async trim(stream, before) {
      const held = streams.get(stream);
      for (const item of held?.values() ?? []) if (item.at < before) held?.delete(item.id);
    },
  };
}
