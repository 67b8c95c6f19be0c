import { readFileSync } from "node:fs";
import { join } from "node:path";
import { replaceFile } from "@blueflame/shared/store/folder.ts";
import type { AgentConfig } from "./config.ts";
import type { Received } from "./memory.driver.ts";
import { sumOf } from "./stamp.ts";

/** Bumped when the shape of {@link AgentConfig} changes: an older file is then not used. */
const format = 3;

/** A config that was in use, and the text that it was read from. */
export interface LastGood {
  readonly config: AgentConfig;
  /** Absent in a file of an earlier version. */
  readonly given?: Received;
}

/** Keeps the config that was checked and is in use; a torn or bad file can then not keep the workloads down. Never throws. */
export function keepLastGood(dataDir: string, config: AgentConfig, given: Received): boolean {
  try {
    const sum = sumOf(JSON.stringify({ config, given }));
    replaceFile(fileOf(dataDir), JSON.stringify({ format, sum, config, given }));
    return true;
  } catch {
    return false;
  }
}

/** The config that was in use last; undefined when there is none that this version can read and that is as it was written. */
export function lastGood(dataDir: string): LastGood | undefined {
  try {
    const { config, given, ...file } = JSON.parse(readFileSync(fileOf(dataDir), "utf8")) as OnDisk;
    if (file.format !== format || !config) return undefined;
    // Without a checksum: an earlier version wrote it.
    if (file.sum === undefined) return { config };
    return sumOf(JSON.stringify({ config, given })) === file.sum ? { config, ...(given && { given }) } : undefined;
  } catch {
    return undefined;
  }
}

interface OnDisk extends Partial<LastGood> {
  readonly format?: number;
  readonly sum?: string;
}

function fileOf(dataDir: string): string {
  return join(dataDir, "last-good-config.json");
}
