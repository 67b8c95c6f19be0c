import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { Fault, isFault } from "@blueflame/shared/errors/fault.ts";
import { boxPlaybooks } from "./box.ts";
import { playbookBytesMax, playbookOf } from "./draft.ts";
import type { Playbook } from "./playbook.ts";

/** More files than this in the operator's folder are not read, and that is said. */
const filesMax = 64;

/** Every playbook that can be used, and what is wrong with those that cannot. */
export interface PlaybookSet {
  /** By name. */
  readonly playbooks: ReadonlyMap<string, Playbook>;
  /** One line each: the file with its problems, and that the box's own playbook stays in force where there is one. */
  readonly problems: readonly string[];
  /** Changes when a file of the folder does. */
  readonly seen: string;
}

/**
 * The playbooks of the box, and those of the folder over them by name. A file that cannot be used is left out and told: it keeps
 * no node down. `folder` empty: the box only. Never rejects; a disk that hangs is the caller's to wait for.
 */
export async function loadPlaybooks(folder: string): Promise<PlaybookSet> {
  const playbooks = new Map<string, Playbook>();
  for (const { json } of boxPlaybooks) {
    // Reading the YAML would cost each start of an agent as much as its config and its store together.
    const playbook = JSON.parse(json) as Playbook;
    playbooks.set(playbook.name, playbook);
  }
  if (folder === "") return { playbooks, problems: [], seen: "" };
  const problems: string[] = [];
  const from = new Map<string, string>();
  for (const path of await filesOf(folder, problems)) {
    try {
      const playbook = playbookOf(await textOf(path), path, true);
      const other = from.get(playbook.name);
      if (other !== undefined) {
        problems.push(`${path}: the playbook '${playbook.name}' stands in ${other} already; this file is not used`);
        continue;
      }
      from.set(playbook.name, path);
      playbooks.set(playbook.name, playbook);
    } catch (error) {
      problems.push(isFault(error) ? error.message : `${path} cannot be read: ${textOfError(error)}`);
    }
  }
  return { playbooks, problems, seen: await playbooksSeen(folder) };
}

/** One file by itself. Rejects with CONFIG_INVALID, CONFIG_NOT_FOUND. */
export async function loadPlaybook(path: string): Promise<Playbook> {
  let text: string;
  try {
    text = await textOf(path);
  } catch (error) {
    if (isFault(error)) throw error;
    throw new Fault("CONFIG_NOT_FOUND", `'${path}' cannot be read: ${textOfError(error)}`, { cause: error });
  }
  return playbookOf(text, path, true);
}

/** Sizes and times of the folder's files, as one text: it changes when one of them does. Never rejects. */
export async function playbooksSeen(folder: string): Promise<string> {
  const parts: string[] = [];
  for (const path of await filesOf(folder, [])) {
    const seen = await stat(path).catch(() => undefined);
    parts.push(`${path}:${seen?.size}:${seen?.mtimeMs}:${seen?.ino}`);
  }
  return parts.join("|");
}

async function filesOf(folder: string, problems: string[]): Promise<string[]> {
  let names: string[];
  try {
    names = (await readdir(folder)).filter((name) => /^[^.].*\.ya?ml$/.test(name)).sort();
  } catch (error) {
    problems.push(`the folder of playbooks '${folder}' cannot be read: ${textOfError(error)}`);
    return [];
  }
  if (names.length > filesMax)
    problems.push(`'${folder}' has ${names.length} playbooks; the first ${filesMax} are read`);
  return names.slice(0, filesMax).map((name) => join(folder, name));
}

/** At most one byte more than is allowed, so that too much is seen as too much. */
async function textOf(path: string): Promise<string> {
  const file = await open(path, "r");
  try {
    if (!(await file.stat()).isFile()) throw new Fault("CONFIG_INVALID", `${path} is not a file`);
    const buffer = Buffer.alloc(playbookBytesMax + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return new TextDecoder("utf-8", { fatal: true }).decode(buffer.subarray(0, length));
  } finally {
    await file.close();
  }
}

function textOfError(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
