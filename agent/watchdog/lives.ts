/**
 * Which lives of critical workloads a watchdog has begun, in a small file: a program that writes over its environment (nginx, perl)
 * loses the marker, and nobody else would know it. Read by the next watchdog, which starts no second one beside it, and by the next
 * agent, which adopts it or cleans it away.
 */
import { join } from "node:path";
import { places } from "../constants.ts";
import { onPromises } from "./lazily.ts";
import { bootId, lookAt } from "./process.ts";
import type { Identity } from "./state.ts";

const format = 1;
/** One of each workload; no config has more of them that are critical. */
const livesMax = 1000;

/** One life of a workload; of this boot. */
export interface Life extends Identity {
  readonly workload: string;
  /** The last part of the marker that it was given. */
  readonly id: string;
}

/** The file's text. A number is somebody else's after a reboot, and another store's families are not ours. */
export function livesText(owner: string, boot: string, lives: readonly Life[]): string {
  return `${JSON.stringify({ format, owner, boot, lives: lives.slice(-livesMax) })}\n`;
}

/** What it says of this owner and boot; nothing where it cannot be understood. */
export function livesIn(text: string, owner: string, boot: string): readonly Life[] {
  try {
    const read = JSON.parse(text) as { format?: unknown; owner?: unknown; boot?: unknown; lives?: unknown };
    if (read.format !== format || read.owner !== owner || read.boot !== boot || !Array.isArray(read.lives)) return [];
    return read.lives.slice(-livesMax).filter(isLife);
  } catch {
    return [];
  }
}

function isLife(one: unknown): one is Life {
  const { workload, id, pid, startTicks } = (one ?? {}) as Record<string, unknown>;
  return (
    typeof workload === "string" && typeof id === "string" && Number.isInteger(pid) && Number.isInteger(startTicks)
  );
}

/** True while the process is there, and is who it was. */
export function lasts(life: Identity | undefined): boolean {
  return life !== undefined && lookAt(life).sight !== "gone";
}

/** Those that last. Nothing when there is no such file, or a disk that refuses; one that hangs is not waited for here. */
export async function readLives(dataDir: string, owner: string): Promise<readonly Life[]> {
  const text = await onPromises()
    .readFile(join(dataDir, places.criticalLives), "utf8")
    .catch(() => "");
  return livesIn(text, owner, bootId()).filter(lasts);
}

/** Keeps those that last, whole or not at all. Rejects when the disk refuses. */
export async function keepLives(dataDir: string, owner: string, lives: Iterable<Life>): Promise<void> {
  const path = join(dataDir, places.criticalLives);
  const { rename, writeFile } = onPromises();
  await writeFile(`${path}.new`, livesText(owner, bootId(), [...lives].filter(lasts)), { mode: 0o600 });
  await rename(`${path}.new`, path);
}
