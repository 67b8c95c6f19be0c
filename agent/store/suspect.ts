import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** What the next opening has to do before anybody uses the store. */
export interface Suspicion {
  /** `damage`: look at all of it and mend what is damaged. `rolledBack`: an older copy was put back; begin a new life. */
  readonly is: "damage" | "rolledBack";
  readonly because: string;
}

/** Leaves word beside the store; never throws. False when there is word already, which stays, or the disk refuses. */
export function suspect(dataDir: string, because: string, is: Suspicion["is"] = "damage"): boolean {
  try {
    writeFileSync(fileOf(dataDir), JSON.stringify({ is, because }), { mode: 0o600, flush: true, flag: "wx" });
    return true;
  } catch {
    return false;
  }
}

/** What was left; undefined when nothing was. One that cannot be read counts as damage. */
export function suspicion(dataDir: string): Suspicion | undefined {
  if (!existsSync(fileOf(dataDir))) return undefined;
  try {
    const { is, because } = JSON.parse(readFileSync(fileOf(dataDir), "utf8")) as Suspicion;
    return { is: is === "rolledBack" ? is : "damage", because: String(because) };
  } catch {
    return { is: "damage", because: "the store was suspect, and nobody can read why" };
  }
}

/** It was looked into. */
export function clear(dataDir: string): void {
  rmSync(fileOf(dataDir), { force: true });
}

function fileOf(dataDir: string): string {
  return join(dataDir, "store.suspect");
}
