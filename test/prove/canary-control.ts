import { isUtf8 } from "node:buffer";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClassicLevel } from "classic-level";
import { type Canary, Search } from "./canary-forms.ts";
import { Lookout } from "./canary-places.ts";

/** How a program that means no harm writes down what it was given. */
const writers: Readonly<Record<string, (bytes: Buffer) => string | Buffer>> = {
  "as it is": (bytes) => bytes,
  hexadecimal: (bytes) => bytes.toString("hex"),
  "base64 at 0": (bytes) => bytes.toString("base64"),
  "base64 at 1": (bytes) => Buffer.concat([Buffer.from("k"), bytes]).toString("base64"),
  "base64url at 2": (bytes) => Buffer.concat([Buffer.from("k="), bytes]).toString("base64url"),
};
const writersOfText: typeof writers = {
  JSON: (bytes) => JSON.stringify({ msg: bytes.toString() }),
  "JSON in JSON": (bytes) => JSON.stringify({ msg: JSON.stringify({ kept: bytes.toString() }) }),
  "a URL": (bytes) => `http://127.0.0.1/?kept=${encodeURIComponent(bytes.toString())}`,
  "a form": (bytes) => new URLSearchParams({ kept: bytes.toString() }).toString(),
  "UTF-16": (bytes) => Buffer.from(bytes.toString(), "utf16le"),
};

/** One that was not found, and where. */
interface Missed {
  readonly canary: Canary;
  readonly where: string;
}

/**
 * Shows that whoever leaves these canaries lying about is found out: each written down in every way, and each as key and as value of a
 * plain LevelDB, in its log and, merged and compressed, in its tables. Throws for the first one that is not found.
 */
export async function provenSearch(canaries: readonly Canary[]): Promise<void> {
  for (const canary of canaries) {
    const search = new Search();
    search.add(canary);
    const bytes = Buffer.from(canary.bytes);
    for (const [way, write] of Object.entries({ ...writers, ...(isUtf8(bytes) && writersOfText) })) {
      const line = Buffer.concat(["a line: ", write(bytes), "\n"].map((part) => Buffer.from(part as string)));
      if (search.in(line).size === 0) throw blind({ canary, where: way });
    }
  }
  for (const as of ["key", "value"] as const) await provenInLevel(canaries, as);
}

/**
 * A short one that is searched for in one piece may stand in no single piece among so many: across a border of LevelDB's blocks of
 * 32 KiB the log has a record's header in it, and in a table snappy may write a part of it as a copy of what stood before. So each that
 * is missed is written once more, beside the others of that kind only; who is missed there too is not found at all.
 */
async function provenInLevel(canaries: readonly Canary[], as: "key" | "value"): Promise<void> {
  const torn = await missedInLevel(canaries, as);
  const [missed] = await missedInLevel([...new Set(torn.map(({ canary }) => canary))], as);
  if (missed) throw blind(missed);
}

async function missedInLevel(canaries: readonly Canary[], as: "key" | "value"): Promise<readonly Missed[]> {
  if (canaries.length === 0) return [];
  const dir = mkdtempSync(join(tmpdir(), "bf-control-"));
  const level = new ClassicLevel<Uint8Array, Uint8Array>(dir, { keyEncoding: "view", valueEncoding: "view" });
  try {
    for (const [at, { bytes }] of canaries.entries()) {
      const beside = Buffer.from(String(at));
      await (as === "key" ? level.put(bytes, beside) : level.put(beside, bytes));
    }
    const inLog = missedIn(canaries, dir, `the log of a plain store, as ${as}`);
    await level.compactRange(new Uint8Array([0]), Buffer.alloc(8, 255));
    await level.close();
    return [...inLog, ...missedIn(canaries, dir, `the tables of a plain store, as ${as}`)];
  } finally {
    await level.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

function missedIn(canaries: readonly Canary[], dir: string, where: string): readonly Missed[] {
  const lookout = new Lookout();
  for (const canary of canaries) lookout.add(canary);
  lookout.folder(dir);
  return canaries.filter((canary) => !lookout.found.has(canary)).map((canary) => ({ canary, where }));
}

function blind({ canary: { kind }, where }: Missed): Error {
  return new Error(`the search is blind: a canary (${kind}) was not found in ${where}`);
}
