import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { replaceFile, syncFolder } from "@blueflame/shared/store/folder.ts";

/** What the next opening has to do before anybody uses the store. */
export interface Suspicion {
  /** `damage`: look at all of it and mend what is damaged. `rolledBack`: an older copy was put back; begin a new life as well. */
  readonly is: "damage" | "rolledBack";
  readonly because: string;
}

/**
 * Leaves word beside the store; never throws. False when there is word already, which stays, or the disk refuses. That an older
 * copy was put back takes the place of word of damage: the opening looks for that too then.
 */
export function suspect(dataDir: string, because: string, is: Suspicion["is"] = "damage"): boolean {
  try {
    const text = JSON.stringify({ is, because });
    if (is === "rolledBack" && suspicion(dataDir)?.is === "damage") replaceFile(fileOf(dataDir), text);
    else {
      writeFileSync(fileOf(dataDir), text, { mode: 0o600, flush: true, flag: "wx" });
      syncFolder(dataDir);
    }
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
