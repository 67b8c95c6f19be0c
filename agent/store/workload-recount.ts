/**
 * The tables of contents of a store that has become another one (mended, restored, or made before there were such tables) are made
 * anew from the values and entries that it has. What is gone stays gone, but nothing is listed that is not there, nothing that is
 * there is hidden, and no revision or index is given again that is known.
 */
import type { Write } from "@blueflame/shared/store/level/writer.ts";
import type { KeyMeta, LogMeta } from "../state/space.ts";
import { textOf } from "./codec.ts";
import type { SealedDatabase } from "./sealed-database.ts";
import { changeOf, indexOf, ownerOf, readEntry, readValue, writesOf } from "./workload-keys.ts";

/** Which generation's contents were counted. */
const countedRow = "meta/spaces";

/**
 * Does nothing, and says so by false, for a store whose generation was counted; else {@link keepCounted} ends it, so that a crash
 * before that leaves nothing half done: it is counted again, with the same outcome.
 */
export async function recount(database: SealedDatabase, generation: string): Promise<boolean> {
  const counted = await database.get(countedRow);
  if (counted && textOf(counted) === generation) return false;
  const writes = [...(await keyWrites(database)), ...(await logWrites(database))];
  await database.submit({ build: () => writes }, true);
  return true;
}

/** Everything that a store of this generation had to begin anew is on the disk. */
export async function keepCounted(database: SealedDatabase, generation: string): Promise<void> {
  const mark: Write = { type: "put", key: countedRow, value: Buffer.from(generation) };
  await database.submit({ build: () => [mark] }, true);
}

async function keyWrites(database: SealedDatabase): Promise<Write[]> {
  const listed = new Map<string, { workload: string; key: string; meta: KeyMeta }>();
  let revision = 0;
  for (const [row, bytes] of await database.entries({ gte: "name/", lt: "name0" })) {
    const { workload, change } = changeOf(row, bytes);
    if (change.is !== "key") continue;
    listed.set(`${workload}\0${change.key}`, { workload, key: change.key, meta: change.meta });
    revision = Math.max(revision, change.meta.changed);
  }
  const writes: Write[] = [];
  const put = (workload: string, key: string, meta: KeyMeta) => {
    // The second write is the contents' own; the first would be the value, which stays as it is.
    writes.push(...writesOf(workload, { is: "key", key, meta, value: undefined }).slice(1));
  };
  await database.scan({ gte: "kv/", lt: "kv0" }, (row, bytes) => {
    const { workload, key } = ownerOf(row);
    const { value, revision: found } = readValue(bytes);
    const known = listed.get(`${workload}\0${key}`);
    listed.delete(`${workload}\0${key}`);
    if (known && !known.meta.deleted && known.meta.revision === found && known.meta.bytes === value.length) return;
    const of = { atWallMs: known?.meta.atWallMs ?? 0, changed: revision + 1, deleted: false };
    put(workload, key, { revision: found, bytes: value.length, ...of });
  });
  for (const { workload, key, meta } of listed.values()) {
    if (!meta.deleted) put(workload, key, { ...meta, bytes: 0, deleted: true, changed: revision + 1 });
  }
  return writes;
}

async function logWrites(database: SealedDatabase): Promise<Write[]> {
  const logs = new Map<string, { workload: string; log: string; meta: LogMeta }>();
  for (const [row, bytes] of await database.entries({ gte: "log/", lt: "log0" })) {
    const { workload, change } = changeOf(row, bytes);
    if (change.is === "log") logs.set(`${workload}\0${change.log}`, { workload, log: change.log, meta: change.meta });
  }
  const found = new Map<string, LogMeta>();
  await database.scan({ gte: "entry/", lt: "entry0" }, (row, bytes) => {
    const name = row.slice("entry/".length, row.lastIndexOf("\0"));
    const { through, data } = readEntry(bytes);
    const index = indexOf(row);
    const before = found.get(name);
    const { first = index, trimmed = through - data.length } = before ?? {};
    found.set(name, { first, trimmed, last: index, appended: through, changed: logs.get(name)?.meta.changed ?? 1 });
  });
  const writes: Write[] = [];
  for (const name of new Set([...logs.keys(), ...found.keys()])) {
    const known = logs.get(name)?.meta;
    const last = Math.max(known?.last ?? 0, found.get(name)?.last ?? 0);
    const appended = Math.max(known?.appended ?? 0, found.get(name)?.appended ?? 0);
    const meta = { changed: 1, first: last + 1, trimmed: appended, ...found.get(name), last, appended };
    const [workload = "", log = ""] = name.split("\0");
    if (JSON.stringify(known) !== JSON.stringify(meta)) writes.push(...writesOf(workload, { is: "log", log, meta }));
  }
  return writes;
}
