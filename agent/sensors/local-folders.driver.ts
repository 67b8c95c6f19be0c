import { readFileSync } from "node:fs";
import { realpath } from "node:fs/promises";
import type { FileDesk } from "./file-desk.driver.ts";
import { isLocal } from "./proc-text.ts";

/** A folder may become a link to another disk: asked again this often. */
const knownForMs = 60_000;
/** One that is not there yet, or on a disk that does not answer, may be there then. */
const againMs = 1000;

/**
 * Which folders lie on this machine's own disks. What was written there a moment ago is in memory: a look at such a file needs
 * no thread and is over in microseconds, a twentieth of what a look through the desk costs. Asked through the desk, so that a
 * dead disk holds nobody up; remembers as many folders as are asked for.
 */
export class LocalFolders {
  readonly #desk: FileDesk;
  readonly #known = new Map<string, boolean>();

  constructor(desk: FileDesk) {
    this.#desk = desk;
  }

  /** Does the folder of this absolute path lie on a local disk? False while nobody knows; never waits. */
  hold(path: string): boolean {
    const folder = path.slice(0, Math.max(1, path.lastIndexOf("/")));
    const known = this.#known.get(folder);
    if (known === undefined) this.#ask(folder);
    return known ?? false;
  }

  #ask(folder: string): void {
    this.#known.set(folder, false);
    const ask = async () => isLocal(mountTable(), await realpath(folder));
    void this.#desk.look(folder, "mount", ask, againMs).then((flight) => {
      if (flight.is === "answered") this.#known.set(folder, flight.value);
      setTimeout(() => this.#known.delete(folder), flight.is === "answered" ? knownForMs : againMs).unref();
    });
  }
}

function mountTable(): string {
  try {
    return readFileSync("/proc/self/mounts", "utf8");
  } catch {
    return ""; // another system: nothing is known to be local
  }
}
