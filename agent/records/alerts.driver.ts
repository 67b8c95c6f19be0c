import { mkdir, mkdtemp, open, readdir, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Alert } from "./alert.ts";
import { Pager } from "./pager.driver.ts";

/** Alert files that are kept; the oldest go first. */
const filesMax = 500;
/** A page waits so long for its alert's file; then it is run with a file elsewhere. */
const fileMs = 5000;

/** An alert, and what it is about. */
export interface AlertFile extends Alert {
  readonly nodeId: string;
  /** A workload; empty: the node. */
  readonly workload: string;
  readonly incidentId: string;
  readonly wallMs: number;
}

/** Writes alerts as JSON files (GRC-8) and runs the pager. Never throws, never waits for the disk. */
export class Alerts {
  readonly #dir: string;
  readonly #pager: Pager;
  #working: Promise<void> = Promise.resolve();
  #waiting = 0;
  #raised = 0;

  /** `dir` is made on the first alert. `pager` is an argv whose last argument will be the file's path; empty: none. */
  constructor(dir: string, pager: readonly string[], say: (because: string) => void = () => undefined) {
    this.#dir = dir;
    this.#pager = new Pager(pager, say);
  }

  /** `told` is called when its file is there and its pager runs. */
  raise(alert: AlertFile, told: () => void = () => undefined): void {
    let isPaged = !alert.page;
    const page = (path: string) => {
      if (!isPaged) this.#pager.page(path);
      isPaged = true;
    };
    // A disk that is full, dead or hangs keeps no page back.
    const elsewhere = () => {
      if (!isPaged) void this.#pageElsewhere(alert);
      isPaged = true;
    };
    // A dead disk: the incident itself is in the store and on its way to the hub.
    if (this.#waiting >= filesMax) {
      elsewhere();
      return;
    }
    this.#waiting += 1;
    const timer = setTimeout(elsewhere, fileMs).unref();
    this.#working = this.#working
      .then(() => this.#write(alert, page))
      .then(told)
      .catch(elsewhere)
      .finally(() => {
        clearTimeout(timer);
        this.#waiting -= 1;
      });
  }

  /** Resolves when all that was raised is written or refused. */
  async close(): Promise<void> {
    await this.#working;
  }

  async #write(alert: AlertFile, page: (path: string) => void): Promise<void> {
    // Two that are of no incident may be of one moment.
    const name = nameOf(alert, this.#raised++);
    const path = join(this.#dir, name);
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    try {
      await writeFile(`${path}.new`, textOf(alert), { mode: 0o600, flush: true });
      await rename(`${path}.new`, path);
    } catch (error) {
      await rm(`${path}.new`, { force: true }).catch(() => undefined);
      throw error;
    }
    const folder = await open(this.#dir, "r");
    await folder.sync().finally(() => folder.close());
    page(path);
    // By a clock that is behind, this one is the oldest.
    const files = (await readdir(this.#dir)).filter((file) => file.endsWith(".json") && file !== name).sort();
    for (const old of files.slice(0, Math.max(0, files.length + 1 - filesMax)))
      await rm(join(this.#dir, old), { force: true });
  }

  async #pageElsewhere(alert: AlertFile): Promise<void> {
    try {
      const folder = await mkdtemp(join(tmpdir(), "blueflame-alert-"));
      const path = join(folder, nameOf(alert, 0));
      await writeFile(path, textOf(alert), { mode: 0o600 });
      this.#pager.page(path, () => void rm(folder, { recursive: true, force: true }).catch(() => undefined));
    } catch {
      // No disk takes it at all: it is still untold, and the next agent tells it.
    }
  }
}

function nameOf({ wallMs, kind, workload, incidentId }: AlertFile, count: number): string {
  const at = new Date(wallMs).toISOString().replaceAll(/[:.]/g, "-");
  return `${at}-${kind}-${workload || "node"}-${incidentId.slice(-6) || count}.json`;
}

function textOf({ wallMs, ...facts }: AlertFile): string {
  return `${JSON.stringify({ at: new Date(wallMs).toISOString(), ...facts }, null, 2)}\n`;
}
