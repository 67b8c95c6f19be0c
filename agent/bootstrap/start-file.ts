import { readFileSync } from "node:fs";
import { join } from "node:path";
import { places } from "../constants.ts";
import { replaceFile, statOr } from "./disk.ts";

const format = 1;

/** How an agent was started. */
export interface Start {
  /** The program: an executable, or a Node and a script. */
  readonly program: readonly string[];
  /** Its arguments, from `up` on. */
  readonly words: readonly string[];
  readonly cwd: string;
  /** Whose process it was; 0 where there are no users. */
  readonly uid: number;
  readonly gid: number;
}

/** Remembers how this agent was started. Never throws; false when the disk refused, and the earlier one is then kept. */
export function keepStart(dataDir: string, start: Start): boolean {
  try {
    replaceFile(join(dataDir, places.start), `${JSON.stringify({ format, ...start })}\n`);
    return true;
  } catch {
    return false;
  }
}

/** How the agent of this data directory was started last; `unread` tells why a file that is there says nothing. Neither: nobody has written it down. Never throws. */
export function readStart(dataDir: string): {
  readonly start?: Start | undefined;
  readonly unread?: string | undefined;
} {
  const path = join(dataDir, places.start);
  try {
    const read = JSON.parse(readFileSync(path, "utf8")) as Partial<Start> & { format?: number };
    const { program, words, cwd, uid, gid } = read;
    if (read.format !== format || !isWords(program) || !isWords(words) || typeof cwd !== "string")
      return { unread: `\`${path}\` cannot be read: it is of another format` };
    return { start: { program, words, cwd, uid: Number(uid ?? 0), gid: Number(gid ?? 0) } };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === "ENOENT" ? {} : { unread: `\`${path}\` cannot be read: ${code ?? message}` };
  }
}

/** Where its processes begin: the folder from which it was started may be gone, and a program without one does not start. */
export function cwdOf({ cwd }: Pick<Start, "cwd">): string {
  return statOr(cwd)?.isDirectory() ? cwd : "/";
}

/** The config that these words name, absolute; undefined when they name none. */
export function configOf(
  { words, cwd }: Pick<Start, "words" | "cwd">,
  resolve: (...parts: string[]) => string,
): string | undefined {
  const own = words.includes("--") ? words.slice(0, words.indexOf("--")) : words;
  const at = own.indexOf("--config");
  const named = at >= 0 ? own[at + 1] : own.find((word) => word.startsWith("--config="))?.slice("--config=".length);
  return named === undefined ? undefined : resolve(cwd, named);
}

function isWords(read: unknown): read is readonly string[] {
  return Array.isArray(read) && read.length > 0 && read.every((word) => typeof word === "string");
}
