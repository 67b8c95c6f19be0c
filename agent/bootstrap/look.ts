/** Gathers the findings. Asks what lives and what lies on the disk itself; the program, the config and the store by children. */
import { readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { places } from "../constants.ts";
import { codeIn, type Ended, lineIn, run } from "./child.ts";
import { inodeOf, isGone, lstatOr, namesIn, statOr } from "./disk.ts";
import type { Asked, FileFound, Findings, FolderFound, SecretFound, StoreFound } from "./findings.ts";
import {
  differs,
  type GoodManifest,
  goodProgram,
  installedProgram,
  isConfig,
  isOurs,
  readGoodCopy,
} from "./good-copy.ts";
import { closedIn } from "./look-closed.ts";
import { keyOf } from "./look-key.ts";
import { Life } from "./look-life.ts";
import { living, lockHolder, readOr, wordsOf } from "./proc.ts";
import { configOf, cwdOf, readStart, type Start } from "./start-file.ts";
import { type Step, sawIn } from "./steps.ts";
import { isOfDisk, isOfKey, storeUnder, troubleOf } from "./trouble.ts";

const versionMs = 20_000;
const storeMs = 300_000;
/** Entries of the data directory that are looked at for their owner; more would be output of workloads. */
const entriesMax = 20_000;

/** What is looked at, and what is known from the call. */
export interface Around {
  readonly dataDir: string;
  readonly asked: Asked;
  /** The program that runs now: what is used when nothing else is known. */
  readonly self: readonly string[];
  readonly lastAutoAgoMs: number | undefined;
}

interface LastGood {
  readonly hub?: { readonly keyPath?: string };
  readonly workloads?: readonly { readonly name: string; readonly cwd?: string }[];
}

/** Looks again and again; what was looked at and cannot have changed by the steps since is not asked twice. */
export class Look {
  readonly around: Around;
  readonly #known = new Map<string, unknown>();

  constructor(around: Around) {
    this.around = around;
  }

  /** To be told of each step that was done. */
  changed(step: Step): void {
    if (step.do === "reinstall" || "path" in step) this.#known.clear();
    else if (step.do === "mendStore" || step.do === "endGuards" || step.do.startsWith("start"))
      this.#known.delete("store");
  }

  async look(): Promise<Findings> {
    const found = await this.#lookOnce();
    // A watchdog may start the agent between the look at who lives and the look at the store: it is no stranger that holds it then.
    const own = { dataDir: this.around.dataDir, works: undefined, owner: undefined, mute: false };
    if (found.store.is !== "held" || !new Life(own).agent()) return found;
    this.#known.delete("store");
    return this.#lookOnce();
  }

  async #lookOnce(): Promise<Findings> {
    const { dataDir, asked, self, lastAutoAgoMs } = this.around;
    const { start, unread } = readStart(dataDir);
    const good = this.#once("good", () => readGoodCopy(dataDir));
    const manifest = "manifest" in good ? good.manifest : undefined;
    const owner = ownerOf(dataDir, start, manifest);
    const installed = (manifest && installedProgram(manifest, process.execPath)) ?? start?.program ?? self;
    const child = { timeoutMs: versionMs, as: asOwner(owner), ...(start && { cwd: cwdOf(start) }) };
    const answer = await this.#ask("version", () => run([...installed, "--version"], child));
    // What answers in other words is another program.
    const starts = answer.code === 0 && /^\d+\.\d+\.\d+/.test(answer.out);
    const works = starts ? installed : await this.#spare(manifest, self, child);
    const program = {
      words: installed,
      starts,
      because: starts ? "" : lineIn(answer),
      version: answer.out.trim(),
      goodVersion: manifest?.version ?? "",
    };
    const files = this.#once("files", () => filesOf(good));
    const lastGood = readLastGood(dataDir);
    const dir = folderOf(dataDir, true, dataDir);
    const life = new Life({ dataDir, works, owner: asOwner(owner), mute: dir.refuses !== undefined });
    const alive = await life.look((lastGood?.workloads ?? []).map(({ name }) => name));
    const begun = life.startedBy(start, manifest, unread);
    return {
      asked,
      lastAutoAgoMs,
      word: life.word(),
      killSwitch: life.killSwitch(),
      dataDir: dir,
      folders: foldersOf(dataDir, lastGood),
      owner,
      self: process.getuid?.() ?? 0,
      foreign: process.getuid ? foreignIn(dataDir, owner.uid) : { count: 0, first: "" },
      closed: closedFound(dataDir),
      disk: diskOf(dataDir),
      good: goodFound(good),
      files,
      program,
      works,
      config: await this.#config({ start, unread }, manifest, works, child, lastGood !== undefined, files),
      secrets: secretsOf(dataDir, lastGood, owner.uid),
      key: keyOf(dataDir, begun, alive.agent.pid),
      store: await this.#store(works, asOwner(owner), alive),
      ...alive,
      start: begun,
    };
  }

  /** The good copy, else ourselves: something must run the children. */
  async #spare(manifest: GoodManifest | undefined, self: readonly string[], child: Parameters<typeof run>[1]) {
    const candidates = [manifest && goodProgram(this.around.dataDir, manifest, process.execPath), self];
    for (const [at, words] of candidates.entries()) {
      if (words && (await this.#ask(`spare ${at}`, () => run([...words, "--version"], child))).code === 0) return words;
    }
    return undefined;
  }

  async #config(
    { start, unread }: ReturnType<typeof readStart>,
    manifest: GoodManifest | undefined,
    works: readonly string[] | undefined,
    child: Parameters<typeof run>[1],
    lastGood: boolean,
    files: readonly FileFound[],
  ): Promise<Findings["config"]> {
    const kept = manifest?.files.find(isConfig);
    const path = start ? configOf(start, resolve) : kept?.target;
    const file = files.find(({ target }) => target === path);
    const copy = file ? (file.copy === undefined ? "sound" : "damaged") : "missing";
    if (path === undefined) return { path, is: unread ? "unknown" : "sound", because: unread ?? "", copy, lastGood };
    const there = statOr(path);
    if (!there) return { path, is: "missing", because: "", copy, lastGood };
    if (!there.isFile())
      return { path, is: "no-file", because: there.isDirectory() ? "is a directory" : "is no file", copy, lastGood };
    if (readOr(path).trim() === "") return { path, is: "empty", because: "", copy, lastGood };
    if (!works) return { path, is: "unknown", because: "no program can read it", copy, lastGood };
    const checked = await this.#ask(`config ${there.size}`, () => run([...works, "config", "check", path], child));
    if (checked.code === 0) return { path, is: "sound", because: "", copy, lastGood };
    const code = codeIn(checked.err);
    if (!code.startsWith("CONFIG_")) return { path, is: "unknown", because: lineIn(checked), copy, lastGood };
    // That it cannot be used is said already: here only why.
    const said = lineIn(checked);
    const because = code === "CONFIG_INVALID" ? said.replace(/^\[\w+\] .*? cannot be used: /, "") : sawIn(said);
    return { path, is: "invalid", because, copy, lastGood };
  }

  async #store(
    works: readonly string[] | undefined,
    as: { uid: number; gid: number } | undefined,
    alive: Awaited<ReturnType<Life["look"]>>,
  ): Promise<StoreFound> {
    const { dataDir } = this.around;
    const snapshots = namesIn(join(dataDir, "snapshots")).filter((name) => /^\d+$/.test(name)).length;
    const damaged = namesIn(dataDir).filter((name) => name.startsWith(`${places.store}.damaged-`));
    const found = { code: "", holder: undefined, snapshots, copies: damaged.sort().map((name) => join(dataDir, name)) };
    if (alive.agent.is !== "dead") {
      const lost = isGone(join(dataDir, places.store, "CURRENT"));
      return { ...found, ...storeUnder(alive.agent.pid, lost, troubleOf(alive.troubles)) };
    }
    if (!works) return { ...found, is: "unknown", because: "no program can look at it" };
    const words = [...works, "store", "verify", "-o", "json", "--data-dir", dataDir];
    const verified = await this.#ask("store", () => run(words, { timeoutMs: storeMs, as }));
    const code = codeIn(verified.err);
    // The row names the files; the error line says what a person is to do, and that is said here.
    const row = storeRow(verified);
    const because = row.is === "unknown" ? lineIn(verified) : row.because;
    if (verified.code === 0) return { ...found, ...row };
    if (code === "STORE_LOCKED")
      return { ...found, is: "held", code, because: "somebody holds it", holder: holderIn(dataDir) };
    if (isOfKey(code)) return { ...found, is: "closed", code, because: sawIn(because) };
    if (/^STORE_(DAMAGED|MISSING|NEWER)$/.test(code)) return { ...found, is: "damaged", code, because };
    return {
      ...found,
      is: isOfDisk(code) ? "refused" : "unknown",
      code,
      because: isOfDisk(code) ? sawIn(because) : because,
    };
  }

  #once<T>(what: string, ask: () => T): T {
    if (!this.#known.has(what)) this.#known.set(what, ask());
    return this.#known.get(what) as T;
  }
  async #ask(what: string, ask: () => Promise<Ended>): Promise<Ended> {
    return this.#once(what, ask);
  }
}

function storeRow({ out }: Ended): Pick<StoreFound, "is" | "because"> {
  try {
    const rows = JSON.parse(out) as { part: string; state: string; saw: string }[];
    const row = rows.find(({ part }) => part === "store");
    return {
      is: row?.state === "absent" ? "absent" : "sound",
      because: row?.state === "absent" ? "there is none yet" : (row?.saw ?? ""),
    };
  } catch {
    return { is: "unknown", because: "its verification said nothing that can be understood" };
  }
}

function holderIn(dataDir: string): StoreFound["holder"] {
  try {
    const { pid } = JSON.parse(readOr(join(dataDir, `${places.store}.lock`))) as { pid: number };
    if (readOr(`/proc/${pid}/stat`) !== "") return holderOf(pid);
  } catch {
    // Not by our lock: by LevelDB's.
  }
  const inode = inodeOf(join(dataDir, places.store, "LOCK"));
  const pid = inode === undefined ? undefined : lockHolder(inode);
  return pid === undefined ? undefined : holderOf(pid);
}

function holderOf(pid: number): StoreFound["holder"] {
  const stopped = ["T", "t"].includes(living(pid)?.state ?? "");
  return { pid, command: wordsOf(pid).join(" ").slice(0, 120), ...(stopped && { stopped }) };
}

function asOwner(owner: { uid: number; gid: number }): { uid: number; gid: number } | undefined {
  return process.getuid?.() === 0 && owner.uid !== 0 ? owner : undefined;
}

function ownerOf(
  dataDir: string,
  start: Start | undefined,
  manifest: GoodManifest | undefined,
): { uid: number; gid: number } {
  if (start) return { uid: start.uid, gid: start.gid };
  const found = manifest?.owner ?? statOr(dataDir);
  return { uid: found?.uid ?? process.getuid?.() ?? 0, gid: found?.gid ?? process.getgid?.() ?? 0 };
}

function folderOf(path: string, ours: boolean, probeIn?: string): FolderFound {
  const found = lstatOr(path);
  if (!found) return { path, ours, is: "missing", uid: undefined, mode: undefined, refuses: undefined };
  const is = statOr(path)?.isDirectory() ? "there" : "no-folder";
  const refuses = is === "there" && probeIn !== undefined ? refusalOf(probeIn) : undefined;
  return { path, ours, is, uid: found.uid, mode: found.mode & 0o777, refuses };
}

/** Permission bits do not tell of a read-only or full disk; a file does. */
function refusalOf(dir: string): string | undefined {
  const probe = join(dir, `.emergency-${process.pid}`);
  try {
    writeFileSync(probe, "well\n".repeat(1000));
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  } finally {
    try {
      rmSync(probe, { force: true });
    } catch {
      // Never written.
    }
  }
}

function foldersOf(dataDir: string, lastGood: LastGood | undefined): FolderFound[] {
  const always = ["logs", join("logs", "workloads")].map((name) => folderOf(join(dataDir, name), true));
  const sometimes = ["snapshots", places.alerts, places.good, places.store]
    .map((name) => folderOf(join(dataDir, name), true))
    .filter(({ is }) => is !== "missing");
  const cwds = new Set((lastGood?.workloads ?? []).flatMap(({ cwd }) => cwd ?? []));
  return [...always, ...sometimes, ...[...cwds].map((cwd) => folderOf(cwd, false))];
}

function foreignIn(dataDir: string, uid: number): Findings["foreign"] {
  let count = 0;
  let first = "";
  let seen = 0;
  const walk = (path: string) => {
    const found = lstatOr(path);
    // What we write as root is given away at the end.
    if (!found || seen++ > entriesMax || /^\.?emergency[.-]/.test(basename(path))) return;
    if (found.uid !== uid && count++ === 0) first = path;
    if (found.isDirectory()) for (const name of namesIn(path)) walk(join(path, name));
  };
  walk(dataDir);
  return { count, first };
}

function closedFound(dataDir: string): Findings["closed"] {
  const closed = closedIn(dataDir);
  return { count: closed.length, first: closed[0]?.path ?? "" };
}

function diskOf(dataDir: string): Findings["disk"] {
  try {
    const { bavail, blocks, bsize } = statfsSync(dataDir);
    const mounts = readOr("/proc/self/mountinfo")
      .split("\n")
      .map((line) => line.split(" ")[4] ?? "")
      .filter((mount) => mount !== "" && (mount === "/" || `${dataDir}/`.startsWith(`${mount}/`)));
    const mount = mounts.reduce((a, b) => (b.length >= a.length ? b : a), "/");
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize, mount };
  } catch {
    return undefined;
  }
}

function goodFound(good: ReturnType<typeof readGoodCopy>): Findings["good"] {
  if (!("manifest" in good)) {
    return { is: good.because.startsWith("there is no") ? "missing" : "damaged", because: good.because };
  }
  const [first] = good.damaged;
  if (first) return { is: "damaged", because: first.because };
  return { is: "sound", because: `version ${good.manifest.version} of ${good.manifest.madeAt}` };
}

function filesOf(good: ReturnType<typeof readGoodCopy>): FileFound[] {
  if (!("manifest" in good)) return [];
  return good.manifest.files
    .filter((file) => isOurs(file, good.manifest))
    .map((file) => {
      const copy = good.damaged.find(({ name }) => name === file.name)?.because;
      // A person changes the config: it is judged by what it says, not by its checksum.
      return {
        name: file.name,
        target: file.target,
        differs: isConfig(file) ? undefined : differs(file.target, file),
        copy,
      };
    });
}

function readLastGood(dataDir: string): LastGood | undefined {
  try {
    const { config } = JSON.parse(readFileSync(join(dataDir, places.lastGood), "utf8")) as { config?: LastGood };
    return config;
  } catch {
    return undefined;
  }
}

/** Only what is known to be a secret of ours: a file with such a name may be a workload's. */
function secretsOf(dataDir: string, lastGood: LastGood | undefined, uid: number): SecretFound[] {
  const named = lastGood?.hub?.keyPath;
  const known = [[places.guardKey, "guards"] as const, [places.storeKey, "store"] as const];
  return [
    ...(named === undefined ? [] : [secretAt(named, uid, "link")]),
    ...known
      .map(([name, opens]) => [join(dataDir, name), opens] as const)
      .filter(([path]) => lstatOr(path) !== undefined)
      .map(([path, opens]) => secretAt(path, uid, opens)),
  ];
}

function secretAt(path: string, uid: number, opens: SecretFound["opens"]): SecretFound {
  const found = statOr(path);
  if (!found) return { path, is: "missing", because: "", opens };
  if (!found.isFile()) return { path, is: "empty", because: "it is no file", opens };
  const { uid: whose } = found;
  const mode = found.mode & 0o777;
  const about = { path, opens, mode, uid: whose };
  const said = `mode ${mode.toString(8).padStart(3, "0")}, owner ${whose}`;
  const root = uid === 0;
  if ((!root && whose !== uid) || (mode & 0o400) === 0) return { ...about, is: "unreadable", because: said };
  try {
    if (readFileSync(path).length === 0) return { ...about, is: "empty", because: "" };
  } catch (error) {
    return { ...about, is: "unreadable", because: (error as Error).message };
  }
  return { ...about, is: (mode & 0o077) === 0 ? "well" : "loose", because: said };
}
