import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { places } from "./constants.ts";
import { isAtRest } from "./supervise/rest.ts";
import type { WorkloadSpec } from "./supervise/spec.ts";
import { instanceOf, type State } from "./supervise/state.ts";
import { type CriticalWorkload, criticalText } from "./watchdog/critical.ts";

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
 * writes only what has changed, one write at a time, and never throws: a disk that refuses leaves the older file, by which a
 * workload is started as it was then.
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
    wanted.map((spec): CriticalWorkload => {
      const instance = instanceOf(parts.state(spec.name).phase);
      return {
        name: spec.name,
        command: spec.command,
        cwd: spec.cwd,
        env: { ...spec.env, ...parts.envFor(spec.name) },
        output: parts.outputOf(spec.name),
        ...(instance && { process: { pid: instance.pid, startTicks: instance.startTicks } }),
      };
    }),
  );
}
