/**
 * Looks at paths that operators name, which may lie on a dead disk. All of them go through the desk of the sensors (DOL-9): one
 * look at a path at a time, and few threads however many of them hang. A path that is looked at again meanwhile costs its wait.
 */
import type { StatsFs } from "node:fs";
import { realpath, statfs } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileDesk } from "../sensors/file-desk.driver.ts";
import type { Flight } from "../sensors/single-flight.driver.ts";

/** A path that has not answered by then counts as one of a dead disk. */
const realMs = 1000;
/** What a disk says that is gone: nothing is known of what lies on it. */
const deadCodes: ReadonlySet<unknown> = new Set(["EIO", "ESTALE", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN"]);

/** What the file system of a path has left. Settles within `waitMs`; never rejects. */
export function spaceOf(path: string, waitMs: number): Promise<Flight<StatsFs>> {
  return fileDesk.look(path, "space", () => statfs(path), waitMs);
}

/**
 * The path without symlinks; of what is not there yet, its nearest folder that is, and the rest. Undefined: its disk does not
 * answer within a second, or is gone. Never rejects.
 */
export async function realInTime(path: string): Promise<string | undefined> {
  const flight = await fileDesk.look(path, "real", () => realpath(path), realMs);
  if (flight.is === "answered") return flight.value;
  if (flight.is === "silent" || deadCodes.has((flight.error as NodeJS.ErrnoException).code)) return undefined;
  const above = dirname(path);
  if (above === path) return path;
  const real = await realInTime(above);
  return real && join(real, basename(path));
}
