/**
 * The second copy of the installation, `<dataDir>/good/`: what runs when the first does not, and what it is mended from.
 *
 *   good/manifest.json     what belongs to it, with its SHA-256 and the place it was installed to
 *   good/<name>            the files; the program runs from here as it is, what it needs lies beside it
 *   good/emergency         the operator's one command: the good copy's `emergency`, whatever state the installation is in
 *
 * It is replaced as a whole or not at all: written as `good.new`, read back, and then named. A `good.old` without a `good` is
 * a replacement that died between its two renames, and is good.
 */
import { createHash } from "node:crypto";
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { places } from "../constants.ts";
import { replaceFile, syncFile } from "./disk.ts";

const format = 1;
const chunkBytes = 1024 * 1024;

/** What a good copy is made of: `source` is copied, under `name`; `target` is where it is installed. */
export interface GoodFile {
  readonly source: string;
  /** Absolute. */
  readonly target: string;
  /**
   * Its path below `good/`. The program is `binary` (an executable) or `blueflame-agent.cjs` with its `native/…` and, perhaps, the
   * `node` it runs on; a `.yaml`, `.yml` or `.json` is the config. Others are kept and reinstalled, too.
   */
  readonly name: string;
}

/** One file of a good copy. */
export interface Kept {
  readonly name: string;
  readonly target: string;
  readonly sha256: string;
  readonly size: number;
  /** Permissions of the installed file. */
  readonly mode: number;
}

/** What a good copy says of itself. */
export interface GoodManifest {
  readonly version: string;
  readonly madeAt: string;
  /** What runs a program that is a script: the Node of the installation. */
  readonly node: string;
  /** Whose the data directory was. */
  readonly owner: { readonly uid: number; readonly gid: number };
  readonly files: readonly Kept[];
}

/** The names that a program may have, the executable first. */
const programNames = ["binary", "blueflame-agent.cjs"] as const;
const nodeName = "node";

export function isConfig({ name }: Pick<Kept, "name">): boolean {
  return /\.(ya?ml|json)$/.test(name);
}
/** Node is put back where it was installed with the program; the machine's own is the machine's. */
export function isOurs(file: Kept, { files }: GoodManifest): boolean {
  const script = files.find(({ name }) => name === programNames[1]);
  return file.name !== nodeName || (script !== undefined && dirname(script.target) === dirname(file.target));
}

/** Makes it, replacing an earlier one; durable on return. Throws the disk's error, or when a source is not there; the earlier one is then as it was. */
export function writeGoodCopy(dataDir: string, files: readonly GoodFile[], version: string): void {
  const place = settled(dataDir);
  const draft = `${place}.new`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { recursive: true, mode: 0o700 });
  const kept = files.map(({ source, target, name }): Kept => {
    const mode = statSync(source).mode & 0o777;
    const copy = join(draft, name);
    mkdirSync(dirname(copy), { recursive: true, mode: 0o700 });
    copyFileSync(source, copy);
    chmodSync(copy, mode & 0o111 ? 0o700 : 0o600);
    syncFile(copy);
    return { name, target: resolve(target), sha256: sha256Of(copy), size: statSync(copy).size, mode };
  });
  const { uid, gid } = statSync(dataDir);
  const madeAt = new Date().toISOString();
  writeManifest(draft, { version, madeAt, node: process.execPath, owner: { uid, gid }, files: kept });
  writeFileSync(join(draft, "emergency"), launcher(dataDir, kept), { mode: 0o700, flush: true });
  if (existsSync(place)) renameSync(place, `${place}.old`);
  renameSync(draft, place);
  syncFile(dataDir);
  rmSync(`${place}.old`, { recursive: true, force: true });
}

/**
 * A shell is on every machine where this could be needed. It goes on with the next program where one cannot be run at all: the
 * good copy with the Node that is kept, the one of the installation or the machine's, and last what is installed.
 */
function launcher(dataDir: string, kept: readonly Kept[]): string {
  const good = join(resolve(dataDir), places.good);
  const [binary, script] = programNames.map((name) => kept.find((file) => file.name === name));
  const inGood = (name: string) => join(good, name);
  const nodes = [...(kept.some(({ name }) => name === nodeName) ? [inGood(nodeName)] : []), process.execPath, "node"];
  const programs = binary
    ? [[inGood(binary.name)], [binary.target]]
    : nodes.map((node) => [node, inGood(programNames[1])]);
  if (!binary && script) programs.push([process.execPath, script.target]);
  const rest = `emergency --data-dir ${quoted(resolve(dataDir))} "$@"`;
  return [
    "#!/bin/sh",
    "# Brings this node back from its good copy.",
    // Not found, not to be executed, or ended by a signal of its own making: no answer of ours.
    'try() { "$@"; code=$?; case $code in 126 | 127 | 132 | 134 | 135 | 136 | 139) ;; *) exit $code ;; esac; }',
    ...programs.map((words) => `try ${words.map(quoted).join(" ")} ${rest}`),
    'echo "[PROGRAM_DAMAGED] neither the good copy nor the installed program starts. Install the program again." >&2',
    "exit 1",
    "",
  ].join("\n");
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** Compares every file with its checksum. Never throws. */
export function verifyGoodCopy(
  dataDir: string,
): { readonly ok: true; readonly manifest: GoodManifest } | { readonly ok: false; readonly because: string } {
  const found = readGoodCopy(dataDir);
  if ("because" in found) return { ok: false, because: found.because };
  const [first] = found.damaged;
  return first === undefined ? { ok: true, manifest: found.manifest } : { ok: false, because: first.because };
}

/** The manifest, and which of its files are of no use and why; only `because` when there is no manifest. Never throws. */
export function readGoodCopy(
  dataDir: string,
):
  | { readonly manifest: GoodManifest; readonly damaged: readonly { name: string; because: string }[] }
  | { readonly because: string } {
  try {
    const place = settled(dataDir);
    if (!existsSync(place)) return { because: "there is no good copy; `blueflame-agent install` makes one" };
    const manifest = readManifest(place);
    const damaged = manifest.files.flatMap((file) => {
      const because = differs(join(place, file.name), file);
      return because === undefined ? [] : [{ name: file.name, because: `the good copy of ${file.name} ${because}` }];
    });
    return { manifest, damaged };
  } catch (error) {
    return { because: `the good copy cannot be read: ${(error as Error).message}` };
  }
}

/** How the file at `path` differs from the one kept; undefined when it is the same. */
export function differs(path: string, { sha256, size }: Kept): string | undefined {
  try {
    const found = statSync(path);
    if (found.isDirectory()) return "is a directory";
    if (!found.isFile()) return "is no file";
    if (found.size !== size) return `has ${found.size} of ${size} bytes`;
    return sha256Of(path) === sha256 ? undefined : "was changed";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT"
      ? "is missing"
      : `cannot be read: ${(error as Error).message}`;
  }
}

/** The command that runs the program of the good copy, without its arguments; undefined when there is none. */
export function goodProgram(dataDir: string, manifest: GoodManifest, nodeNow: string): readonly string[] | undefined {
  return programOf(manifest, nodeNow, (file) => join(dataDir, places.good, file.name));
}

/** The command that runs the installed program; undefined when the good copy knows of none. */
export function installedProgram(manifest: GoodManifest, nodeNow: string): readonly string[] | undefined {
  return programOf(manifest, nodeNow, (file) => (isOurs(file, manifest) ? file.target : undefined));
}

function programOf(
  manifest: GoodManifest,
  nodeNow: string,
  place: (file: Kept) => string | undefined,
): readonly string[] | undefined {
  const named = (name: string) => {
    const file = manifest.files.find((one) => one.name === name);
    return file && place(file);
  };
  const [binary, script] = programNames.map(named);
  if (binary !== undefined) return [binary];
  if (script === undefined) return undefined;
  return [named(nodeName) ?? (existsSync(manifest.node) ? manifest.node : nodeNow), script];
}

/**
 * Keeps the config that has just been taken into use, so that what is reinstalled one day is not of the day of the
 * installation. Does nothing without a good copy, or when the file is not the one that was installed. Never throws; false when
 * the disk refused, and the earlier one is then kept.
 */
export function refreshGoodConfig(dataDir: string, path: string): boolean {
  try {
    const place = settled(dataDir);
    if (!existsSync(place)) return true;
    const manifest = readManifest(place);
    const before = manifest.files.find(isConfig);
    if (before?.target !== resolve(path) || differs(path, before) === undefined) return true;
    const text = readFileSync(path);
    const sha256 = createHash("sha256").update(text).digest("hex");
    const name = before.name.replace(/(-[0-9a-f]{12})?(\.\w+)$/, `-${sha256.slice(0, 12)}$2`);
    writeFileSync(join(place, name), text, { mode: 0o600, flush: true });
    const after: Kept = { ...before, name, sha256, size: text.length };
    writeManifest(place, { ...manifest, files: manifest.files.map((file) => (file === before ? after : file)) });
    if (before.name !== name) rmSync(join(place, before.name), { force: true });
    return true;
  } catch {
    return false;
  }
}

/** Puts the kept file where it was installed: beside it first, then in one step, so that whoever runs the old one is not disturbed. */
export function reinstall(dataDir: string, file: Kept): void {
  const draft = `${file.target}.new`;
  mkdirSync(dirname(file.target), { recursive: true });
  copyFileSync(join(dataDir, places.good, file.name), draft);
  chmodSync(draft, file.mode);
  syncFile(draft);
  renameSync(draft, file.target);
  syncFile(dirname(file.target));
}

/** Where the good copy lies, after a replacement that died in the middle was ended. */
function settled(dataDir: string): string {
  const place = join(dataDir, places.good);
  if (!existsSync(place) && existsSync(`${place}.old`)) renameSync(`${place}.old`, place);
  return place;
}

function writeManifest(place: string, manifest: GoodManifest): void {
  replaceFile(join(place, "manifest.json"), `${JSON.stringify({ format, ...manifest }, null, 2)}\n`);
}

function readManifest(place: string): GoodManifest {
  const read = JSON.parse(readFileSync(join(place, "manifest.json"), "utf8")) as Partial<GoodManifest> & {
    format?: number;
  };
  const { version, madeAt, node, owner, files } = read;
  if (read.format !== format) throw new Error(`its format is ${read.format}, this version knows ${format}`);
  if (!version || !madeAt || !node || !owner || !Array.isArray(files)) throw new Error("its manifest is incomplete");
  return { version, madeAt, node, owner, files };
}

function sha256Of(path: string): string {
  const hash = createHash("sha256");
  const file = openSync(path, "r");
  const chunk = Buffer.alloc(chunkBytes);
  try {
    for (let read = readSync(file, chunk); read > 0; read = readSync(file, chunk)) hash.update(chunk.subarray(0, read));
  } finally {
    closeSync(file);
  }
  return hash.digest("hex");
}
