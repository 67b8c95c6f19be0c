/** Bounds the agent itself: its score for the out-of-memory killer, its memory, and what the system lets it have. */
import { readFileSync } from "node:fs";
import { type Cancel, type Clock, nextRound } from "@blueflame/shared/time/clock.ts";
import type { NodeSections } from "../config/sections.ts";
import { protectSelf } from "./oom-score.driver.ts";
import { shortText } from "./process-table.driver.ts";
import { boundWarnings, judgeSelf, type OwnBounds, type SelfMemory } from "./self.ts";

const everyMs = 5000;

export interface SelfGuardOptions {
  readonly self: NodeSections["self"];
  readonly workloads: number;
  readonly clock: Clock;
  /** Its memory has been over its limit for a minute: the agent should start itself anew; workloads go on. */
  readonly restartSelf: (because: string) => void;
  readonly log: (level: "info" | "warn", fields: object, message: string) => void;
  /** The agent's resident memory, unless a test says otherwise. */
  readonly residentBytes?: () => number;
}

/** Guards until it is closed. The score stays. */
export interface SelfGuard {
  /** Lines for people: bounds of the system that are too tight. */
  readonly warnings: readonly string[];
  close(): void;
}

export function guardSelf(options: SelfGuardOptions): SelfGuard {
  const { self, workloads, clock, restartSelf, log, residentBytes = () => process.memoryUsage.rss() } = options;
  const refused = protectSelf(self.oomScore);
  // Without the right to it (not root, a container) that is how it is; nothing to mend, and no warning on every status.
  if (refused) log("info", { oomScore: self.oomScore }, refused);
  const warnings = boundWarnings(ownBounds(), workloads, self.memoryBytes);
  for (const line of warnings) log("warn", {}, line);
  let memory: SelfMemory = {};
  let cancel: Cancel = () => undefined;
  let lookedMs = clock.monotonicMs();
  const look = () => {
    const nowMs = clock.monotonicMs();
    // It was away: what it held meanwhile nobody knows.
    if (nowMs - lookedMs > 2 * everyMs) memory = {};
    lookedMs = nowMs;
    const judged = judgeSelf(self.memoryBytes, residentBytes(), memory, nowMs);
    memory = judged.memory;
    if (judged.because) {
      log("warn", { memoryBytes: self.memoryBytes }, `${judged.because}: it starts itself anew, its workloads go on`);
      restartSelf(judged.because);
    }
    cancel = clock.wakeAt(nextRound(nowMs, everyMs), look);
  };
  look();
  return { warnings, close: () => cancel() };
}

/** As far as /proc and the cgroups of this machine say it. */
export function ownBounds(): OwnBounds {
  const limits = shortText("/proc/self/limits") ?? "";
  const soft = (name: string) => bound(new RegExp(`^${name}\\s+(\\S+)`, "m").exec(limits)?.[1]);
  return {
    openFiles: soft("Max open files"),
    processes: soft("Max processes"),
    cgroupTasks: ownCgroup("pids", "pids.max", "pids.max"),
    cgroupMemoryBytes: ownCgroup("memory", "memory.limit_in_bytes", "memory.max"),
  };
}

/** The tightest bound from the agent's own cgroup up to the top. */
function ownCgroup(controller: string, v1File: string, v2File: string): number | undefined {
  let found: number | undefined;
  for (const line of textOf("/proc/self/cgroup").split("\n")) {
    const [, names, path = ""] = line.split(":");
    const mounts = names === "" ? ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] : [`/sys/fs/cgroup/${names}`];
    if (names !== "" && !names?.split(",").includes(controller)) continue;
    for (const mount of mounts)
      for (let at = path; ; at = at.slice(0, at.lastIndexOf("/"))) {
        const value = bound(shortText(`${mount}${at}/${names === "" ? v2File : v1File}`)?.trim());
        if (value !== undefined) found = Math.min(found ?? Number.POSITIVE_INFINITY, value);
        if (at === "" || at === "/") break;
      }
  }
  return found;
}

/** `max`, `unlimited` and the largest number of version 1 mean no bound. */
function bound(text: string | undefined): number | undefined {
  if (text === undefined || text === "") return undefined;
  const value = Number(text);
  return Number.isNaN(value) || value > Number.MAX_SAFE_INTEGER ? Number.POSITIVE_INFINITY : value;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}
