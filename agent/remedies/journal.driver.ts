import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { replaceFile, syncFolder } from "./files.driver.ts";
import { inTime } from "./patience.driver.ts";
import { type EndedRun, isOver, kept, type Run } from "./progress.ts";

/** Bumped when the shape of a run changes: an older file is then not used. */
const format = 1;
/** Runs that have ended are kept for those who ask again; the oldest go. */
const endedMax = 200;
/** What nobody has asked about for this long is not gone on with. */
const forgottenMs = 7 * 24 * 3_600_000;
/** A disk that does not answer holds no remedy up: after this long the run goes on, and its position is not kept. */
const patienceMs = 2000;

/**
 * Where each run stands, as a file each below `<dataDir>/runs`, mode 0600, in plain text: what a run that has ended handed to programs and
 * servers is not in it any more. It needs no store, since the store may be what is mended.
 */
export class Journal {
  readonly #folder: string;
  readonly #clock: Clock;
  readonly #lost: (because: string) => void;
  /** Writes of one run follow each other. */
  readonly #turns = new Map<string, Promise<void>>();
  #sinceSweep = 0;

  /** `lost` is told when a position could not be kept. */
  constructor(dataDir: string, clock: Clock, lost: (because: string) => void) {
    this.#folder = join(dataDir, "runs");
    this.#clock = clock;
    this.#lost = lost;
  }

  /** The run as it was kept; undefined when there is none. Never rejects. */
  async load(id: string): Promise<Run | EndedRun | undefined> {
    await this.#turns.get(id);
    const waited = await inTime(this.#clock, patienceMs, readFile(this.#path(id), "utf8"));
    const run = waited.is === "done" ? parsed(waited.value) : undefined;
    return run?.id === id ? run : undefined;
  }

  /** Durable when it resolves, unless the disk refuses or hangs: then it was told. Never rejects. */
  async save(run: Run): Promise<void> {
    const before = this.#turns.get(run.id) ?? Promise.resolve();
    const writing = before.then(() => this.#write(run));
    this.#turns.set(run.id, writing);
    void writing.finally(() => {
      if (this.#turns.get(run.id) === writing) this.#turns.delete(run.id);
    });
    const waited = await inTime(this.#clock, patienceMs, writing);
    if (waited.is === "late") this.#lost("the disk does not answer");
    if (run.ended && ++this.#sinceSweep >= endedMax / 4) await this.sweep();
  }

  /** Runs that have not ended, oldest first. Never rejects. */
  async unfinished(): Promise<Run[]> {
    const runs = (await this.#all()).map(({ run }) => run).filter((run) => run !== undefined);
    return runs.filter((run): run is Run => !isOver(run)).sort((a, b) => a.startedWallMs - b.startedWallMs);
  }

  /** Removes the oldest of what has ended beyond the bound, what nobody asked about for a week, and what is no run. Never rejects. */
  async sweep(): Promise<string[]> {
    this.#sinceSweep = 0;
    const nowMs = this.#clock.wallMs();
    const all = (await this.#all()).sort((a, b) => b.mtimeMs - a.mtimeMs);
    const ended = all.filter(({ run }) => run && isOver(run));
    const old = all.filter(({ run, mtimeMs }) => !run || (!isOver(run) && nowMs - mtimeMs > forgottenMs));
    const gone = [...ended.slice(endedMax), ...old];
    for (const { path } of gone) await rm(path, { force: true }).catch(() => undefined);
    // An earlier version kept them whole. The oldest first, so that they stay in their order.
    for (const { run } of ended.slice(0, endedMax).reverse())
      if (run && JSON.stringify(kept(run)) !== JSON.stringify(run)) await this.#write(run);
    return gone.map(({ path }) => path);
  }

  async #write(run: Run | EndedRun): Promise<void> {
    try {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      await replaceFile(this.#path(run.id), Buffer.from(JSON.stringify({ format, run: kept(run) })));
      await syncFolder(this.#folder);
    } catch (error) {
      this.#lost((error as Error).message);
    }
  }

  async #all(): Promise<Found[]> {
    const found: Found[] = [];
    const names = await readdir(this.#folder).catch(() => []);
    for (const name of names.filter((one) => /^[0-9a-f]{24}\.json$/.test(one))) {
      const path = join(this.#folder, name);
      const stats = await stat(path).catch(() => undefined);
      const text = await readFile(path, "utf8").catch(() => "");
      if (stats?.isFile()) found.push({ path, mtimeMs: stats.mtimeMs, run: parsed(text) });
    }
    return found;
  }

  #path(id: string): string {
    const name = createHash("sha256").update(id).digest("hex").slice(0, 24);
    return join(this.#folder, `${name}.json`);
  }
}

interface Found {
  readonly path: string;
  readonly mtimeMs: number;
  readonly run: Run | EndedRun | undefined;
}

function parsed(text: string): Run | EndedRun | undefined {
  try {
    const read = JSON.parse(text) as { format?: number; run?: Run | EndedRun } | null;
    return read?.format === format && read.run && Array.isArray(read.run.steps) ? read.run : undefined;
  } catch {
    return undefined;
  }
}
