/**
 * Backups of what workloads declare as their data, below `<dataDir>/backups/WORKLOAD/ID/`:
 *
 *   manifest.json   what was copied, with a checksum for each file; written last: without it there is no backup
 *   copy/           each declared path under its base name
 *
 * Made only while the workload is well before and after, verified by reading it back and by the workload's own `verify`, bounded
 * by `keep`, `max_size` and a floor of free space. Readable for the agent's user alone.
 */
import { lstatSync } from "node:fs";
import { lstat, mkdir, readdir, readFile, rename, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { Argv } from "../playbooks/playbook.ts";
import type { WorkloadSpec } from "../supervise/spec.ts";
import type { Around } from "./around.ts";
import {
  type BackupFacts,
  type Entry,
  factsOfBackup,
  freeFloor,
  inOrder,
  isId,
  type Manifest,
  manifestFormat,
  manifestOf,
  nextId,
  noRoom,
  placesOf,
  type Root,
  surplus,
} from "./backups.ts";
import { runProgram } from "./command.driver.ts";
import { copyTree, differs } from "./copy.driver.ts";
import { realOf, replaceFile, syncFolder } from "./files.driver.ts";
import { wordsOf } from "./patience.driver.ts";
import type { RemedyResult } from "./ports.ts";

/** Of backups that turned out to be bad, the newest is kept as evidence. */
const badMax = 1;

/** The backups of all workloads. */
export class Backups {
  readonly #around: Around;
  /** Verified ones by workload, oldest first; loaded once. */
  readonly #known = new Map<string, BackupFacts[]>();
  readonly #atWork = new Map<string, { readonly abort: AbortController; readonly done: Promise<RemedyResult> }>();

  constructor(around: Around) {
    this.#around = around;
  }

  folderOf(workload: string): string {
    return join(this.#around.dataDir, "backups", workload);
  }

  /** Reads what there is, and removes what was never finished. Never rejects. */
  async begin(): Promise<void> {
    for (const { name, data } of this.#around.specs) if (data) await this.#load(name).catch(() => undefined);
  }

  /** The newest one; undefined when there is none. */
  newest(workload: string): BackupFacts | undefined {
    return this.#known.get(workload)?.at(-1);
  }
  /** Newest first. */
  all(workload: string): readonly BackupFacts[] {
    return [...(this.#known.get(workload) ?? [])].reverse();
  }
  /** What a backup says of itself; undefined when that cannot be read. */
  async manifest({ workload, id }: Pick<BackupFacts, "workload" | "id">): Promise<Manifest | undefined> {
    const text = await readFile(join(this.folderOf(workload), id, "manifest.json"), "utf8").catch(() => "");
    const manifest = manifestOf(text);
    return manifest?.id === id && manifest.workload === workload ? manifest : undefined;
  }

  /** Backs up now. `configVersion` is written into it. Never rejects. */
  async make(spec: WorkloadSpec, configVersion: string, signal: AbortSignal): Promise<RemedyResult> {
    const { name, data } = spec;
    if (!data) return { ok: true, because: `${name} declares no data` };
    if (this.#around.stand(name).is !== "well")
      return { ok: false, because: `${name} is not well: what it has now is no good copy` };
    return this.#alone(name, signal, async (stop) => {
      const folder = this.folderOf(name);
      const id = nextId(
        (await this.#load(name)).map((one) => one.id),
        this.#around.clock.wallMs(),
      );
      const fresh = join(folder, `.new-${id}`);
      try {
        await mkdir(join(fresh, "copy"), { recursive: true, mode: 0o700 });
        const manifest = await this.#copy(spec, id, fresh, configVersion, stop);
        if (this.#around.stand(name).is !== "well") throw new Error("it was not well any more when the copy was done");
        await replaceFile(join(fresh, "manifest.json"), Buffer.from(JSON.stringify(manifest)));
        await syncFolder(fresh);
        await rename(fresh, join(folder, id));
        await syncFolder(folder);
        this.#known.set(name, [...(this.#known.get(name) ?? []), factsOfBackup(manifest)]);
        await this.#prune(name, data.keep);
        return {
          ok: true,
          because: `backup ${id} of ${name}: ${manifest.bytes} bytes, verified by ${manifest.verifiedBy}`,
        };
      } catch (error) {
        await rm(fresh, { recursive: true, force: true }).catch(() => undefined);
        return { ok: false, because: `${name} was not backed up: ${wordsOf(error)}` };
      }
    });
  }

  /** Reads a backup back. A bad one is put aside, so that no restore takes it; one that cannot be checked stays. Never rejects. */
  async check(spec: WorkloadSpec, { id }: Pick<BackupFacts, "id">, signal: AbortSignal): Promise<RemedyResult> {
    const { name } = spec;
    const copy = join(this.folderOf(name), id, "copy");
    try {
      const manifest = await this.manifest({ workload: name, id });
      const problem = manifest
        ? await this.#verify(spec, copy, manifest.entries, signal)
        : "its manifest cannot be read";
      if (problem === undefined) return { ok: true, because: `backup ${id} of ${name} is as it was made` };
      await this.#putAside(name, id);
      return { ok: false, because: `backup ${id} of ${name} is not usable: ${problem}` };
    } catch (error) {
      return { ok: false, because: `backup ${id} of ${name} could not be checked: ${wordsOf(error)}` };
    }
  }

  /** Ends a backup that is being made: somebody needs the data now. */
  async stop(workload: string): Promise<void> {
    const atWork = this.#atWork.get(workload);
    atWork?.abort.abort(new Error("the data is needed for something else"));
    await atWork?.done;
  }

  // ── one backup ─────────────────────────────────────────────────────────────────────────────────────────────────────

  async #copy(
    spec: WorkloadSpec,
    id: string,
    fresh: string,
    configVersion: string,
    signal: AbortSignal,
  ): Promise<Manifest> {
    const { name, data } = spec;
    if (!data) throw new Error("it declares no data");
    const copy = join(fresh, "copy");
    const disk = await statfs(fresh);
    const [freeBytes, totalBytes] = [disk.bavail * disk.bsize, disk.blocks * disk.bsize];
    const tight = noRoom(0, { freeBytes, totalBytes });
    if (tight) throw new Error(tight);
    const bytesMax = Math.min(data.maxBytes, freeBytes - totalBytes * freeFloor);
    const places = placesOf(data.paths);
    let { roots, entries, bytes, passedOver } = {
      roots: [] as Root[],
      entries: [] as Entry[],
      bytes: 0,
      passedOver: 0,
    };
    if (data.dump) {
      await this.#dump(spec, data.dump, copy, bytesMax, signal);
      const described = await copyTree(copy, undefined, "", bytesMax, signal);
      entries = described.entries.filter(({ at }) => at !== "");
      ({ bytes, passedOver } = described);
      roots = dumpedRoots(places, copy);
    } else {
      for (const [path, at] of places) {
        // What the operator named may be a link itself; those inside are never followed.
        const real = await realOf(path);
        const is = await kindOf(real);
        roots.push({ path, at, is });
        if (is === "absent") continue;
        const copied = await copyTree(real, copy, at, bytesMax - bytes, signal);
        entries.push(...copied.entries);
        bytes += copied.bytes;
        passedOver += copied.passedOver;
      }
    }
    if (entries.length === 0) throw new Error("there is nothing at the paths that it declares");
    const problem = await this.#verify(spec, copy, entries, signal);
    if (problem) throw new Error(problem);
    const wallMs = this.#around.clock.wallMs();
    const verifiedBy = data.verify ? "command" : "checksums";
    const about = {
      format: manifestFormat,
      id,
      workload: name,
      wallMs,
      configVersion,
      dumped: data.dump !== undefined,
    };
    return { ...about, roots, entries, bytes, verifiedBy, passedOver };
  }

  /** A command writes where it likes: its size is watched from outside. */
  async #dump(spec: WorkloadSpec, dump: Argv, copy: string, bytesMax: number, signal: AbortSignal): Promise<void> {
    const tooLarge = new AbortController();
    const { clock } = this.#around;
    let over = false;
    const watch = async () => {
      while (!over && !signal.aborted) {
        await new Promise<void>((resolve) => clock.wakeAt(clock.monotonicMs() + 1000, resolve));
        const disk = await statfs(copy).catch(() => undefined);
        if (disk && disk.bavail < disk.blocks * freeFloor) tooLarge.abort();
      }
    };
    void watch();
    const ended = await runProgram([...dump, copy], {
      cwd: spec.cwd,
      env: { BLUEFLAME_WORKLOAD: spec.name },
      signal: AbortSignal.any([signal, tooLarge.signal]),
    });
    over = true;
    if (tooLarge.signal.aborted) throw new Error("its dump would have filled the disk");
    if (!ended.ok) throw new Error(`its dump failed: ${ended.because}`);
    const { bytes } = await copyTree(copy, undefined, "", Number.MAX_SAFE_INTEGER, signal);
    if (bytes > bytesMax) throw new Error(`its dump has ${bytes} bytes, and ${Math.floor(bytesMax)} are allowed`);
  }

  /** What is wrong with a copy; undefined: nothing. Rejects when that could not be found out: a copy is not bad for it. */
  async #verify(
    spec: WorkloadSpec,
    copy: string,
    entries: readonly Entry[],
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const problem = await differs(copy, entries, signal);
    const command = spec.data?.verify;
    if (problem || !command) return problem;
    const ended = await runProgram([...command, copy], {
      cwd: spec.cwd,
      env: { BLUEFLAME_WORKLOAD: spec.name },
      signal,
    });
    if (signal.aborted) throw signal.reason;
    if (ended.unsaid) throw new Error(`its verify command says nothing: ${ended.because}`);
    return ended.ok ? undefined : `its verify command says no: ${ended.because}`;
  }

  // ── what there is ──────────────────────────────────────────────────────────────────────────────────────────────────

  async #load(workload: string): Promise<readonly BackupFacts[]> {
    const known = this.#known.get(workload);
    if (known) return known;
    const folder = this.folderOf(workload);
    const names = await readdir(folder).catch(() => []);
    for (const name of names) {
      if (name.startsWith(".new-")) await rm(join(folder, name), { recursive: true, force: true });
    }
    const found: BackupFacts[] = [];
    for (const id of inOrder(names.filter(isId))) {
      const manifest = await this.manifest({ workload, id });
      if (manifest) found.push(factsOfBackup(manifest));
    }
    this.#known.set(workload, found);
    return found;
  }

  async #prune(workload: string, keep: number): Promise<void> {
    const gone = new Set(
      surplus(
        (this.#known.get(workload) ?? []).map(({ id }) => id),
        keep,
      ),
    );
    for (const id of gone) await rm(join(this.folderOf(workload), id), { recursive: true, force: true });
    this.#known.set(
      workload,
      (this.#known.get(workload) ?? []).filter(({ id }) => !gone.has(id)),
    );
  }

  async #putAside(workload: string, id: string): Promise<void> {
    const folder = this.folderOf(workload);
    await rename(join(folder, id), join(folder, `bad-${id}`)).catch(() => undefined);
    this.#known.set(
      workload,
      (this.#known.get(workload) ?? []).filter((one) => one.id !== id),
    );
    const bad = (await readdir(folder).catch(() => [])).filter((name) => name.startsWith("bad-")).sort();
    for (const name of bad.slice(0, -badMax)) await rm(join(folder, name), { recursive: true, force: true });
  }

  /** One at a time for each workload: who asks meanwhile gets the answer of the one that is being made. */
  async #alone(
    workload: string,
    signal: AbortSignal,
    work: (stop: AbortSignal) => Promise<RemedyResult>,
  ): Promise<RemedyResult> {
    const other = this.#atWork.get(workload);
    if (other) return other.done;
    const abort = new AbortController();
    const done = work(AbortSignal.any([signal, abort.signal]));
    this.#atWork.set(workload, { abort, done });
    try {
      return await done;
    } finally {
      this.#atWork.delete(workload);
    }
  }
}

async function kindOf(path: string): Promise<Root["is"]> {
  try {
    return (await lstat(path)).isDirectory() ? "folder" : "file";
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "absent";
    throw error;
  }
}

/** A dump leaves each path under its base name; for one folder alone it may also leave the content of that folder. */
function dumpedRoots(places: ReadonlyMap<string, string>, copy: string): Root[] {
  const roots = [...places].map(([path, at]): Root => {
    const stats = lstatSync(join(copy, at), { throwIfNoEntry: false });
    return { path, at, is: stats ? (stats.isDirectory() ? "folder" : "file") : "absent" };
  });
  if (roots.some(({ is }) => is !== "absent")) return roots;
  const [only, ...others] = roots;
  if (!only || others.length > 0) throw new Error(`its dump left nothing named ${[...places.values()].join(" or ")}`);
  return [{ path: only.path, at: "", is: "folder" }];
}
