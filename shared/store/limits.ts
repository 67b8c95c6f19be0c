import { Fault } from "../errors/fault.ts";
import type { Item, Range } from "./log.ts";
import type { Cond, Op } from "./state.ts";

/** What one commit may hold; the smallest of the engines that must fit (etcd refuses more than 128 operations). */
export const commitLimits = { operations: 128, bytes: 1024 * 1024, keyBytes: 512 } as const;
/** What one item and its names may hold. */
export const itemLimits = { bytes: 1024 * 1024, nameCharacters: 200 } as const;

const bad = (saw: string) => new Fault("BAD_REQUEST", saw);

function checkKey(key: string): void {
  // A lone surrogate has no UTF-8 form: two such keys would become one.
  if (key === "" || !key.isWellFormed()) throw bad("a key is empty or no valid text");
  if (Buffer.byteLength(key) > commitLimits.keyBytes) {
    throw bad(`key '${key.slice(0, 40)}…' has more than ${commitLimits.keyBytes} bytes`);
  }
}

/** Throws BAD_REQUEST for a commit that not every engine can take: too large, a bad key, or a key written twice. */
export function checkCommit(when: readonly Cond[], then: readonly Op[]): void {
  if (when.length + then.length > commitLimits.operations) {
    throw bad(`a commit of ${when.length + then.length} conditions and operations, at most ${commitLimits.operations}`);
  }
  for (const cond of when) checkKey(cond.key);
  const keys = new Set<string>();
  let bytes = 0;
  for (const op of then) {
    const key = "put" in op ? op.put : op.del;
    checkKey(key);
    if (keys.has(key)) throw bad(`key '${key}' is written twice in one commit`);
    keys.add(key);
    bytes += Buffer.byteLength(key) + ("put" in op ? op.value.byteLength : 0);
  }
  if (bytes > commitLimits.bytes) throw bad(`a commit of ${bytes} bytes, at most ${commitLimits.bytes}`);
}

function checkName(what: string, name: string): void {
  if (name === "" || name.length > itemLimits.nameCharacters || name.includes("\0") || !name.isWellFormed()) {
    throw bad(`${what} '${name.slice(0, 40)}' must have 1 to ${itemLimits.nameCharacters} characters without NUL`);
  }
}

/** Throws BAD_REQUEST for a stream name or an item that not every engine can take. */
export function checkAppend(stream: string, items: readonly Item[]): void {
  checkName("stream", stream);
  for (const item of items) {
    checkName("item id", item.id);
    if (!Number.isSafeInteger(item.at) || item.at < 0) throw bad(`item '${item.id}' is at ${item.at}, not a wall time`);
    if (item.data.byteLength > itemLimits.bytes) {
      throw bad(`item '${item.id}' has ${item.data.byteLength} bytes, at most ${itemLimits.bytes}`);
    }
  }
}

/** Throws BAD_REQUEST for a range without a sensible limit. */
export function checkRange(stream: string, range: Range): void {
  checkName("stream", stream);
  if (!Number.isSafeInteger(range.limit) || range.limit < 1) throw bad(`a range with the limit ${range.limit}`);
}
