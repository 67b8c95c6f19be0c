import { accessSync, constants, readdirSync, readFileSync, statSync } from "node:fs";
import { delimiter, isAbsolute, resolve } from "node:path";
import { Fault } from "../errors/fault.ts";
import { configBytesMax } from "./load.ts";
import type { Machine } from "./machine.ts";
import { configFault } from "./problems.ts";

/** This machine. Reads the disk, synchronously: a config is read once, before anything runs. */
export const thisMachine: Machine = {
  findProgram(command, cwd, path) {
    if (/[/\\]/.test(command)) {
      const file = resolve(cwd, command);
      const refused = whyNoProgram(file);
      return refused === undefined ? { file } : { refused };
    }
    let notExecutable: string | undefined;
    for (const folder of foldersOf(path)) {
      const file = resolve(folder, command);
      const refused = whyNoProgram(file);
      if (refused === undefined) return { file };
      if (refused === "it may not be executed") notExecutable ??= `${file} may not be executed`;
    }
    return { refused: notExecutable ?? "it is not on the PATH" };
  },
  programs(path) {
    const names = new Set<string>();
    for (const folder of foldersOf(path)) {
      for (const name of namesIn(folder)) {
        if (names.size >= 10_000) return [...names];
        names.add(name);
      }
    }
    return [...names];
  },
  isFolder(path) {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
  },
};

/** A relative entry of PATH would depend on where the agent was started. */
function foldersOf(path: string): string[] {
  return path.split(delimiter).filter(isAbsolute);
}

function whyNoProgram(file: string): string | undefined {
  try {
    const stats = statSync(file);
    if (!stats.isFile()) return "it is not a file";
    accessSync(file, constants.X_OK);
    return undefined;
  } catch (error) {
    const code = codeOf(error);
    if (code === "ENOENT" || code === "ENOTDIR") return "there is no such file";
    return code === "EACCES" ? "it may not be executed" : `it cannot be looked at (${code})`;
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // A PATH may name folders that are not there.
  }
}

/** The text of a config file. Throws CONFIG_NOT_FOUND, or CONFIG_INVALID when it is too large, no file or no UTF-8. */
export function readConfigFile(path: string): string {
  const refuse = (saw: string, allowed: string) => configFault(path, [{ line: 1, col: 1, path: "", saw, allowed }]);
  let bytes: Buffer;
  try {
    const stats = statSync(path);
    if (!stats.isFile()) throw refuse("not a file", "allowed is a YAML file");
    if (stats.size > configBytesMax) throw refuse("larger than 1 MiB", "allowed is at most 1 MiB");
    bytes = readFileSync(path);
  } catch (error) {
    if (error instanceof Fault) throw error;
    const saw = codeOf(error) === "ENOENT" ? "there is no" : `${codeOf(error)} while opening the`;
    throw new Fault("CONFIG_NOT_FOUND", `${saw} config file '${path}'`, { cause: error });
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw refuse("not readable as text", "allowed is UTF-8");
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : String(error);
}
