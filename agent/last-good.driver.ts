import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AgentConfig } from "./config.ts";

/** Bumped when the shape of {@link AgentConfig} changes: an older file is then not used. */
const format = 3;

/** Keeps the config that was checked and is in use; a torn or bad file can then not keep the workloads down. Never throws. */
export function keepLastGood(dataDir: string, config: AgentConfig): boolean {
  const path = fileOf(dataDir);
  try {
    writeFileSync(`${path}.new`, JSON.stringify({ format, config }), { mode: 0o600, flush: true });
    renameSync(`${path}.new`, path);
    return true;
  } catch {
    return false;
  }
}

/** The config that was in use last; undefined when there is none that this version can read. */
export function lastGood(dataDir: string): AgentConfig | undefined {
  try {
    const kept = JSON.parse(readFileSync(fileOf(dataDir), "utf8")) as { format?: number; config?: AgentConfig };
    return kept.format === format ? kept.config : undefined;
  } catch {
    return undefined;
  }
}

function fileOf(dataDir: string): string {
  return join(dataDir, "last-good-config.json");
}
