import { closeSync, mkdirSync, openSync, statSync } from "node:fs";
import { copyFile, rename, rm, stat, truncate } from "node:fs/promises";
import { resolve } from "node:path";
import { fileDesk } from "../sensors/file-desk.driver.ts";
import { LocalFolders } from "../sensors/local-folders.driver.ts";

/** Rotations under way at once: a disk that hangs must leave threads for everything else that the agent asks of the system. */
const rotationsMax = 3;

/** Called with why a workload's output is lost; with undefined when it is kept. */
export type OutputLost = (workload: string, because: string | undefined) => void;

/**
 * Output files of workloads: `<dir>/<name>.log` and rotated `<name>.log.1` (newest) … `.N`. A process writes to its file
 * directly (append), never to a pipe, so it outlives the agent. Bounded by copy and truncate while an agent lives: lost is
 * what is written between the copy's end and the truncation (microseconds); while no agent lives the file grows unbounded by us.
 */
export class Outputs {
  readonly #dir: string;
  /** Each at most once: under way, or waiting for its turn. */
  readonly #rotating = new Set<string>();
  readonly #turns: (() => void)[] = [];
  #underWay = 0;
  readonly #local = new LocalFolders(fileDesk);

  readonly #lost: OutputLost;

  /** `lost` is told when a workload's output goes nowhere because its file cannot be opened, and with undefined when it can again. */
  constructor(dir: string, lost: OutputLost = () => undefined) {
    this.#dir = resolve(dir);
    this.#lost = lost;
    this.#makeDir();
  }

  /** Not in `open`: that is on the way from a crash to the restart. */
  #makeDir(): void {
    try {
      mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
    } catch {
      // A disk that refuses is told with the first output that is lost.
    }
  }

  path(workload: string): string {
    return `${this.#dir}/${workload}.log`;
  }

  /**
   * An append-only descriptor for a new process; the caller closes it after the spawn. A full or read-only disk keeps no
   * workload down: its output then goes to /dev/null for as long as this process lives.
   */
  open(workload: string): number {
    try {
      const file = openSync(this.path(workload), "a", 0o600);
      this.#lost(workload, undefined);
      return file;
    } catch (error) {
      this.#makeDir();
      this.#lost(workload, (error as Error).message);
      return openSync("/dev/null", "a");
    }
  }

  close(descriptor: number): void {
    closeSync(descriptor);
  }

  /** On a local disk seen at once: fifty files are asked for every few seconds. */
  #isSmall(workload: string, maxBytes: number): boolean {
    const path = this.path(workload);
    try {
      return this.#local.hold(path) && (statSync(path, { throwIfNoEntry: false })?.size ?? 0) <= maxBytes;
    } catch {
      return true; // The disk refuses: tried again at the next look.
    }
  }

  /** Rotates when the file is larger than `maxBytes`; keeps `files` rotated ones. Never throws: a full disk must not stop healing. */
  async rotate(workload: string, maxBytes: number, files: number): Promise<void> {
    if (this.#rotating.has(workload) || this.#isSmall(workload, maxBytes)) return;
    this.#rotating.add(workload);
    // Whoever ends hands its place on, so that none is overtaken.
    if (this.#underWay >= rotationsMax) await new Promise<void>((resolve) => this.#turns.push(resolve));
    else this.#underWay++;
    const path = this.path(workload);
    try {
      if ((await stat(path)).size <= maxBytes) return;
      if (files > 0) {
        await rm(`${path}.${files}`, { force: true });
        for (let n = files - 1; n >= 1; n--) await rename(`${path}.${n}`, `${path}.${n + 1}`).catch(() => undefined);
        // A copy that fails (disk full) must not hinder the truncation that makes room.
        await copyFile(path, `${path}.1`).catch(() => rm(`${path}.1`, { force: true }));
      }
      await truncate(path, 0);
    } catch {
      // No file yet, or the disk refuses: tried again at the next look.
    } finally {
      this.#rotating.delete(workload);
      const next = this.#turns.shift();
      if (next) next();
      else this.#underWay--;
    }
  }
}
