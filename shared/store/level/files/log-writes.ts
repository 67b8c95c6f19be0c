import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Write } from "../writer.ts";
import { Cursor, Malformed } from "./bytes.ts";
import { readLogFile } from "./log-file.ts";
import { readManifest } from "./manifest-file.ts";

/** Before the writes of a batch: its sequence number, and how many they are. */
const batchHeadBytes = 12;
const kinds = { del: 0, put: 1 } as const;

/**
 * What the write-ahead logs of the closed store in `path` say, in order, up to the first byte that is damaged: everything that is newer
 * than its tables. Undefined when no manifest tells which logs those are: an older one would bring older values back. (Format: LevelDB's
 * db/write_batch.cc.)
 */
export function logWrites(path: string): Write[] | undefined {
  try {
    const current = /^(MANIFEST-\d+)\n$/.exec(readFileSync(join(path, "CURRENT"), "latin1"))?.[1];
    if (current === undefined) return undefined;
    const oldest = readManifest(readFileSync(join(path, current))).log;
    return logsFrom(path, oldest);
  } catch (error) {
    if (error instanceof Malformed || (error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function logsFrom(path: string, oldest: number): Write[] {
  const numbers = readdirSync(path)
    .flatMap((file) => /^(\d+)\.log$/.exec(file)?.[1] ?? [])
    .map((digits) => ({ file: `${digits}.log`, number: Number(digits) }))
    .filter(({ number }) => number >= oldest)
    .sort((a, b) => a.number - b.number);
  const writes: Write[] = [];
  for (const { file } of numbers) {
    const { records, damagedAt } = readLogFile(readFileSync(join(path, file)));
    // What follows damage may be a part of something whose beginning is lost.
    const [damaged] = damagedAt;
    if (damaged !== undefined) return [...writes, ...recordsBefore(join(path, file), damaged)];
    for (const record of records) writes.push(...writesOf(record));
  }
  return writes;
}

function recordsBefore(file: string, at: number): Write[] {
  return readLogFile(readFileSync(file).subarray(0, at)).records.flatMap(writesOf);
}

/** The writes of one batch. Throws {@link Malformed}. */
function writesOf(record: Uint8Array): Write[] {
  const cursor = new Cursor(record, batchHeadBytes);
  const writes: Write[] = [];
  while (cursor.at < cursor.end) {
    const kind = cursor.byte();
    const key = Buffer.from(cursor.take(cursor.varint())).toString();
    if (kind === kinds.del) writes.push({ type: "del", key });
    else if (kind === kinds.put)
      writes.push({ type: "put", key, value: Uint8Array.from(cursor.take(cursor.varint())) });
    else throw new Malformed(`a write of the unknown kind ${kind}`);
  }
  return writes;
}
