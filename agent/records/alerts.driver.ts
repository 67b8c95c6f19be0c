import { execFile } from "node:child_process";
import { mkdir, open, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { bornOrdinary } from "../limits/oom-score.driver.ts";
import { withoutServiceManager } from "../notify/inherited.ts";
import type { Alert } from "./alert.ts";

/** Alert files that are kept; the oldest go first. */
const filesMax = 500;
/** A pager that has not ended by then is ended. */
const pagerMs = 30_000;
/** Pages at once; more are written as files only. */
const pagersMax = 4;

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
  readonly #pager: readonly string[];
  #working: Promise<void> = Promise.resolve();
  #paging = 0;
  #waiting = 0;

  /** `dir` is made on the first alert. `pager` is an argv whose last argument will be the file's path; empty: none. */
  constructor(dir: string, pager: readonly string[]) {
    this.#dir = dir;
    this.#pager = pager;
  }

  /** `told` is called when its file is there and its pager runs. */
  raise(alert: AlertFile, told: () => void = () => undefined): void {
    if (this.#waiting >= filesMax) return; // a dead disk: the incident itself is in the store and on its way to the hub
    this.#waiting += 1;
    this.#working = this.#working
      .then(() => this.#write(alert))
      .then(told)
      .catch(() => undefined)
      .finally(() => {
        this.#waiting -= 1;
      });
  }

  /** Resolves when all that was raised is written or refused. */
  async close(): Promise<void> {
    await this.#working;
  }

  async #write(alert: AlertFile): Promise<void> {
    const at = new Date(alert.wallMs).toISOString();
    const name = `${at.replaceAll(/[:.]/g, "-")}-${alert.kind}-${alert.workload || "node"}-${alert.incidentId.slice(-6) || "0"}.json`;
    const path = join(this.#dir, name);
    const { wallMs: _as, ...facts } = alert;
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    await writeFile(`${path}.new`, `${JSON.stringify({ at, ...facts }, null, 2)}\n`, { mode: 0o600, flush: true });
    await rename(`${path}.new`, path);
    const folder = await open(this.#dir, "r");
    await folder.sync().finally(() => folder.close());
    if (alert.page) this.#page(path);
    const files = (await readdir(this.#dir)).filter((file) => file.endsWith(".json")).sort();
    for (const old of files.slice(0, Math.max(0, files.length - filesMax)))
      await rm(join(this.#dir, old), { force: true });
  }

  #page(path: string): void {
    const [file, ...args] = this.#pager;
    if (file === undefined || this.#paging >= pagersMax) return;
    this.#paging += 1;
    const ended = () => {
      this.#paging -= 1;
    };
    const options = { env: withoutServiceManager(process.env), timeout: pagerMs, killSignal: "SIGKILL" } as const;
    try {
      bornOrdinary(() => execFile(file, [...args, path], options, ended)).unref();
    } catch {
      // A program that is just being written (ETXTBSY) is told so, and not by an event. The file is there.
      ended();
    }
  }
}
