import { constants, readFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { beatDesk, behindLinks } from "../sensors/file-desk.driver.ts";
import { isLocal } from "../sensors/proc-text.ts";
import type { WorkloadSpec } from "./spec.ts";

/** A disk that has not answered by then hangs. */
const reachMs = 1000;
/** What is mounted where, and where links lead, is asked again this often. */
const knownMs = 60_000;

/**
 * Whether the folder and the program of a workload can be reached. Starting a process there waits for the disk, and with it waits the
 * whole agent (DOL-7, DOL-9): so a disk that is not of this machine is asked before.
 */
export class Reach {
  /** By path; as many as workloads name. */
  readonly #local = new Map<string, { readonly is: boolean; readonly untilMs: number }>();
  /** By workload, what did not answer at the last look. */
  readonly #silent = new Map<string, string>();

  /** Settles within a second; never rejects. */
  async look({ name, cwd, command }: Pick<WorkloadSpec, "name" | "cwd" | "command">): Promise<void> {
    const looks = [cwd, command[0]]
      .filter((path) => !this.#isLocal(path))
      .map(async (path) => {
        const flight = await beatDesk.look(path, "reach", () => touch(path), reachMs);
        return flight.is === "silent" ? path : undefined;
      });
    const silent = (await Promise.all(looks)).find((path) => path !== undefined);
    if (silent === undefined) this.#silent.delete(name);
    else this.#silent.set(name, silent);
  }

  /** To be called now and then for what waits for its next start: keeps what is known of it young. Nothing is asked of local disks. */
  watch(spec: Pick<WorkloadSpec, "name" | "cwd" | "command">): void {
    if ([spec.cwd, spec.command[0]].some((path) => this.#local.get(path)?.is !== true)) void this.look(spec);
  }

  /** What of it did not answer at the last look, which is repeated then: the next start may find it well. */
  silent(spec: Pick<WorkloadSpec, "name" | "cwd" | "command">): string | undefined {
    const silent = this.#silent.get(spec.name);
    if (silent !== undefined) void this.look(spec);
    return silent;
  }

  #isLocal(path: string): boolean {
    const nowMs = performance.now();
    const known = this.#local.get(path);
    if (known && nowMs < known.untilMs) return known.is;
    const mounts = mountTable();
    const is = mounts === undefined || isLocal(mounts, behindLinks(mounts, path));
    this.#local.set(path, { is, untilMs: nowMs + knownMs });
    return is;
  }
}

/** Undefined on another system: there all count as local. */
function mountTable(): string | undefined {
  try {
    return readFileSync("/proc/self/mounts", "utf8"); // memory, not a disk
  } catch {
    return undefined;
  }
}

/** More than what the kernel remembers of it: the disk itself is asked. */
async function touch(path: string): Promise<void> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  await file.close();
}
