import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Malformed } from "./bytes.ts";
import { readLogFile } from "./log-file.ts";
import { type Manifest, readManifest } from "./manifest-file.ts";
import { checkTable } from "./table-file.ts";

/** One thing that is wrong with a store's files. */
export interface FileDamage {
  readonly file: string;
  readonly is: "missing" | "cut" | "changed" | "unreadable";
  readonly saw: string;
  /** `index`: what says which files belong together; the records are all there. `log`: the newest records. `table`: older ones. */
  readonly part: "index" | "log" | "table";
}

/** What the files of a store say. */
export interface Examined {
  /** `absent`: no folder, or nothing in it that could hold records. */
  readonly is: "absent" | "sound" | "damaged";
  readonly damage: readonly FileDamage[];
  /** What is no damage but may be the trace of one; for a person. */
  readonly notes: readonly string[];
  readonly bytes: number;
}

/**
 * Compares every file of the store in the folder `path` with its checksums, and the files with what the manifest names. The
 * store must be closed, and this process must not be the one that opens it later by another path. Never writes, never throws
 * for what it finds.
 */
export function examine(path: string): Examined {
  const files = list(path);
  const bytes = files.reduce((sum, file) => sum + sizeOf(join(path, file)), 0);
  const holds = files.some((file) => /\.(ldb|sst|log)$/.test(file));
  if (!holds && !files.includes("CURRENT")) return { is: "absent", damage: [], notes: [], bytes };
  const look = new Look(path, files);
  const manifest = look.index();
  if (manifest) look.named(manifest);
  else look.unnamed();
  return { is: look.damage.length === 0 ? "sound" : "damaged", damage: look.damage, notes: look.notes, bytes };
}

class Look {
  readonly #path: string;
  readonly #files: readonly string[];
  readonly damage: FileDamage[] = [];
  readonly notes: string[] = [];

  constructor(path: string, files: readonly string[]) {
    this.#path = path;
    this.#files = files;
  }

  /** From CURRENT to the manifest; undefined when one of them is of no use. */
  index(): Manifest | undefined {
    const current = this.#read("CURRENT", "index");
    if (!current) return undefined;
    const name = /^(MANIFEST-\d+)\n$/.exec(Buffer.from(current).toString("latin1"))?.[1];
    if (name === undefined) {
      this.#add("CURRENT", current.length === 0 ? "cut" : "changed", "it names no manifest", "index");
      return undefined;
    }
    const bytes = this.#read(name, "index");
    return bytes && this.#formed(name, "index", () => readManifest(bytes));
  }

  /** Everything that the manifest names, and every log that is not older than the one it names. */
  named(manifest: Manifest): void {
    for (const { number, bytes } of manifest.tables) {
      const file = this.#tableFile(number);
      const found = this.#read(file, "table");
      if (!found) continue;
      if (found.length !== bytes) this.#add(file, "cut", `it has ${found.length} of ${bytes} bytes`, "table");
      else this.#formed(file, "table", () => checkTable(found));
    }
    const logs = this.#numbered(/^(\d+)\.log$/).filter(({ number }) => number >= manifest.log);
    if (!logs.some(({ number }) => number === manifest.log)) {
      this.#add(nameOf(manifest.log, "log"), "missing", "the manifest names it", "log");
    }
    for (const { file } of logs) this.#log(file);
    if (manifest.torn) this.notes.push("the manifest ends inside a record, as after a power cut");
  }

  /** Without a manifest everything that may hold records counts. */
  unnamed(): void {
    for (const { file } of this.#numbered(/^(\d+)\.(?:ldb|sst)$/)) {
      const found = this.#read(file, "table");
      if (found) this.#formed(file, "table", () => checkTable(found));
    }
    for (const { file } of this.#numbered(/^(\d+)\.log$/)) this.#log(file);
  }

  #log(file: string): void {
    const bytes = this.#read(file, "log");
    if (!bytes) return;
    const { damagedAt, torn } = readLogFile(bytes);
    if (damagedAt.length > 0) this.#add(file, "changed", `the checksum at byte ${damagedAt[0]} does not fit`, "log");
    if (torn) this.notes.push(`${file} ends inside a record, as after a kill or a power cut`);
  }

  #tableFile(number: number): string {
    const old = nameOf(number, "sst");
    return this.#files.includes(old) ? old : nameOf(number, "ldb");
  }

  #numbered(pattern: RegExp): { file: string; number: number }[] {
    return this.#files.flatMap((file) => {
      const number = pattern.exec(file)?.[1];
      return number === undefined ? [] : [{ file, number: Number(number) }];
    });
  }

  #read(file: string, part: FileDamage["part"]): Uint8Array | undefined {
    try {
      return readFileSync(join(this.#path, file));
    } catch (error) {
      const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
      this.#add(file, missing ? "missing" : "unreadable", missing ? "it is gone" : (error as Error).message, part);
      return undefined;
    }
  }

  #formed<T>(file: string, part: FileDamage["part"], read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      this.#add(file, "changed", error.message, part);
      return undefined;
    }
  }

  #add(file: string, is: FileDamage["is"], saw: string, part: FileDamage["part"]): void {
    this.damage.push({ file, is, saw, part });
  }
}

function nameOf(number: number, ending: string): string {
  return `${String(number).padStart(6, "0")}.${ending}`;
}

function list(path: string): string[] {
  try {
    return readdirSync(path).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
