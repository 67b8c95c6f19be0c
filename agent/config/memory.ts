/**
 * What is remembered of every config that this node was given, newest first.
 *
 *   received ──▶ refused                 it was never run, and why
 *      └──▶ untried ──▶ healthy          the node was well with it for a minute, all the time
 *             └──▶ unhealthy             a workload could not be brought back while it was in use; may still become healthy
 */

/** Who gave it: a file that an operator keeps, the hub, or a person on the command line. */
export type ConfigOrigin = "file" | "hub" | "operator";
export type ConfigVerdict = "untried" | "healthy" | "unhealthy" | "refused";

export interface KeptConfig {
  /** SHA-256 of its text. */
  readonly sum: string;
  readonly bytes: number;
  readonly origin: ConfigOrigin;
  /** The file, the hub's version, or the command. */
  readonly from: string;
  readonly receivedWallMs: number;
  readonly verdict: ConfigVerdict;
  /** Why it was refused, or what was not well. */
  readonly because: string;
}
export interface ConfigMemory {
  readonly versions: readonly KeptConfig[];
  /** The sum of what runs; undefined before the first. */
  readonly inUse: string | undefined;
}
export const noMemory: ConfigMemory = { versions: [], inUse: undefined };

/** So many are kept, beside the one in use and the last healthy one. */
const keptMax = 30;
/** The last part of a reason that is kept. */
const becauseMax = 500;

/** A config that came in; `refused` when it must not run. One that is known keeps its verdict and is the newest again. */
export function received(
  memory: ConfigMemory,
  config: Omit<KeptConfig, "verdict" | "because">,
  refused?: string,
): ConfigMemory {
  const known = memory.versions.find(({ sum }) => sum === config.sum);
  const newest = memory.versions[0] === known && known?.origin === config.origin && known.from === config.from;
  if (known && newest && (refused === undefined) === (known.verdict !== "refused")) return memory;
  const before = known && known.verdict !== "refused" ? known.verdict : "untried";
  const version: KeptConfig = {
    ...config,
    verdict: refused === undefined ? before : "refused",
    because: refused === undefined ? (known?.because ?? "") : refused.slice(0, becauseMax),
  };
  return { ...memory, versions: [version, ...memory.versions.filter((one) => one !== known)] };
}

/** `sum` runs from now on. */
export function used(memory: ConfigMemory, sum: string): ConfigMemory {
  return memory.inUse === sum ? memory : { ...memory, inUse: sum };
}

/** What was found out about the one in use. A healthy one stays healthy: what failed later was not its fault. */
export function judged(memory: ConfigMemory, verdict: "healthy" | "unhealthy", because: string): ConfigMemory {
  const found = memory.versions.find(({ sum }) => sum === memory.inUse);
  if (!found || found.verdict === "healthy" || (found.verdict === verdict && found.because === because)) return memory;
  const next: KeptConfig = { ...found, verdict, because: because.slice(0, becauseMax) };
  return { ...memory, versions: memory.versions.map((one) => (one === found ? next : one)) };
}

/** The newest that was healthy. */
export function lastHealthy(memory: ConfigMemory): KeptConfig | undefined {
  return memory.versions.find(({ verdict }) => verdict === "healthy");
}

/** Drops the oldest beyond the bound, and never the last healthy one or the one in use. */
export function pruned(memory: ConfigMemory): ConfigMemory {
  if (memory.versions.length <= keptMax) return memory;
  const never = [memory.inUse, lastHealthy(memory)?.sum];
  const versions = memory.versions.filter(({ sum }, at) => at < keptMax || never.includes(sum));
  return versions.length === memory.versions.length ? memory : { ...memory, versions };
}
