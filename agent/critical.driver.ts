import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { places } from "./constants.ts";
import { inTime } from "./remedies/patience.driver.ts";
import { isAtRest } from "./supervise/rest.ts";
import type { WorkloadSpec } from "./supervise/spec.ts";
import { inSafeMode } from "./supervise/start-spec.ts";
import { instanceOf, type State } from "./supervise/state.ts";
import { type CriticalWorkload, criticalText } from "./watchdog/critical.ts";
import { type Life, readLives } from "./watchdog/lives.ts";

/** A disk that has not answered by then holds up no start of the agent. */
const readWithinMs = 500;

/** What is written of the critical workloads, and where they lie. */
export interface CriticalParts {
  readonly dataDir: string;
  /** The first part of the markers of our families. */
  readonly owner: string;
  readonly specs: readonly WorkloadSpec[];
  readonly state: (workload: string) => State;
  /** What the agent adds to the environment of each of its workloads, without secrets: the watchdog adds a token of its own. */
  readonly envFor: (workload: string) => Readonly<Record<string, string>>;
  readonly outputOf: (workload: string) => string;
}

/**
 * Keeps the file from which the watchdog starts critical workloads while there is no agent. To be called after each change; it
 * writes only what has changed (also between safe mode and full), one write at a time, and never throws: a disk that refuses leaves
 * the older file, by which a workload is started as it was then.
 */
export function criticalFile(parts: CriticalParts): () => void {
  const path = join(parts.dataDir, places.critical);
  const specs = parts.specs.filter((spec) => spec.critical);
  let written = "";
  let busy = false;
  const write = async () => {
    for (let text = textOf(parts, specs); text !== written; text = textOf(parts, specs)) {
      try {
        await writeFile(`${path}.new`, text, { mode: 0o600 });
        await rename(`${path}.new`, path);
      } catch {
        return; // with the next change
      }
      written = text;
    }
  };
  return () => {
    if (busy) return;
    busy = true;
    void write().finally(() => {
      busy = false;
    });
  };
}

function textOf(parts: CriticalParts, specs: readonly WorkloadSpec[]): string {
  const wanted = specs.filter(({ name }) => !isAtRest(parts.state(name)));
  return criticalText(
    parts.owner,
    wanted.map((whole): CriticalWorkload => {
      const { mode, phase } = parts.state(whole.name);
      // What runs reduced comes back reduced: the next agent adopts it as such.
      const { name, command, cwd, env } = mode === "safe" ? inSafeMode(whole) : whole;
      const instance = instanceOf(phase);
      return {
        name,
        command,
        cwd,
        env: { ...env, ...parts.envFor(name) },
        output: parts.outputOf(name),
        ...(instance && { process: { pid: instance.pid, startTicks: instance.startTicks } }),
      };
    }),
  );
}

/** Asks what a watchdog has started and still lives: it may carry our marker no more. Never rejects, and waits for no disk. */
export function startedByWatchdog(dataDir: string, owner: string, clock: Clock): () => Promise<readonly Life[]> {
  return async () => {
    const read = await inTime(clock, readWithinMs, readLives(dataDir, owner));
    return read.is === "done" ? read.value : [];
  };
}
