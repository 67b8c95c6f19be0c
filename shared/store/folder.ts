import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, writeFileSync } from "node:fs";
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

/** Names that were made, changed or removed in the folder survive a power cut on return. Throws the disk's own error. */
export function syncFolder(path: string): void {
  const folder = openSync(path, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** Replaces a file of mode 0600, whole or not at all, by way of `<path>.new`; durable on return. Throws the disk's own error. */
export function replaceFile(path: string, content: string | Uint8Array): void {
  const draft = `${path}.new`;
  rmSync(draft, { force: true }); // one that was left over keeps the mode that it had
  writeFileSync(draft, content, { mode: 0o600, flag: "wx", flush: true });
  renameSync(draft, path);
  syncFolder(dirname(path));
}
