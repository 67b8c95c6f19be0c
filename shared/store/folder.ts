import { existsSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { Fault } from "../errors/fault.ts";

/** Makes the folder and what is missing above it, for this user alone. Throws DATA_DIR_UNUSABLE. */
export function makeFolder(path: string): void {
  try {
    make(path);
  } catch (cause) {
    throw new Fault("DATA_DIR_UNUSABLE", `cannot use ${path}: ${(cause as Error).message}`, { cause });
  }
}

/** Not Node's `recursive`: where a system says of a new entry in a folder that is there that it is missing (/proc), that never ends. */
function make(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return;
    if (code !== "ENOENT" || existsSync(dirname(path))) throw error;
    make(dirname(path));
    mkdirSync(path, { mode: 0o700 });
  }
}
