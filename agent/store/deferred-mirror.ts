import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { replaceFile } from "@blueflame/shared/store/folder.ts";
import type { OpenedAgentStore } from "./agent-store.ts";
import type { StepWrite } from "./ports.ts";

/** Bumped when the shape of the file changes: an older file is then not used. */
const format = 1;

/**
 * What an agent must know although its store cannot be opened: LevelDB opens nothing on a read-only or a full disk, but this
 * file can be read there. Who the node is, whose families are ours, and what stays down.
 */
export interface Mirror {
  readonly nodeId: string;
  readonly generation: string;
  readonly owner: string;
  readonly incarnation: string;
  readonly session: string;
  /** Workloads at rest, by name, each with what {@link Rests} leaves of its state; an earlier version wrote it whole. */
  readonly resting: Readonly<Record<string, unknown>>;
}

/** The mirror beside the store in `dataDir`; undefined when there is none that this version can read. */
export function readMirror(dataDir: string): Mirror | undefined {
  try {
    const { sum, ...read } = JSON.parse(readFileSync(fileOf(dataDir), "utf8")) as OnDisk;
    const { nodeId, generation, incarnation, session, resting } = read;
    // Without a checksum: an earlier version wrote it.
    if (sum !== undefined && sum !== sumOf(read)) return undefined;
    if (read.format !== format || !nodeId || !generation || !incarnation || !session || !resting) return undefined;
    return { nodeId, generation, owner: read.owner ?? generation, incarnation, session, resting };
  } catch {
    return undefined;
  }
}

/** Replaces it, whole or not at all; durable over a power cut on return. Throws STORE_WRITE_FAILED. */
export function writeMirror(dataDir: string, mirror: Mirror): void {
  const path = fileOf(dataDir);
  try {
    const said = { format, ...mirror };
    replaceFile(path, JSON.stringify({ ...said, sum: sumOf(said) }));
  } catch (cause) {
    throw new Fault("STORE_WRITE_FAILED", `cannot write '${path}': ${(cause as Error).message}`, { cause });
  }
}

/** How the store tells which workloads rest; their states are the supervisor's own. */
export interface Rests {
  /** True of a workload's state that a start without memory must not undo. */
  readonly isAtRest: (state: unknown) => boolean;
  /** What such a start must know of it, itself at rest. It is written in plain text: no word of anybody's may be in it. */
  readonly restOf: (state: unknown) => unknown;
}

interface OnDisk extends Partial<Mirror> {
  readonly format?: number;
  readonly sum?: string;
}

/** A changed bit must not name another owner, life or stop. */
function sumOf(said: Omit<OnDisk, "sum">): string {
  return createHash("sha256").update(JSON.stringify(said)).digest("hex");
}

function fileOf(dataDir: string): string {
  return join(dataDir, "stopped.json");
}

/**
 * The same store, whose steps also keep the mirror: a workload that comes to rest, or leaves it, is in the mirror before
 * `saveStep` resolves, or it rejects with STORE_WRITE_FAILED; a mirror that lags behind is `trouble()` and is written with the
 * next step or by `catchUp`. Writes the mirror of what the store knows now; never throws.
 */
export async function mirrored(
  store: OpenedAgentStore,
  dataDir: string,
  { isAtRest, restOf }: Rests,
): Promise<MirroredStore> {
  const { nodeId, generation, owner, incarnation, session } = store.identity;
  const who = { nodeId, generation, owner, incarnation: String(incarnation), session: String(session) };
  const stored = await store.workloads();
  const resting = new Map(
    stored.filter(({ state }) => isAtRest(state)).map(({ name, state }) => [name, restOf(state)]),
  );
  let lagging: Fault | undefined;
  const write = () => {
    try {
      writeMirror(dataDir, { ...who, resting: Object.fromEntries(resting) });
      lagging = undefined;
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      lagging = error;
    }
  };
  write();
  return {
    ...store,
    async saveStep(step: StepWrite, durability) {
      await store.saveStep(step, durability);
      if (step.state === undefined) return;
      const rests = isAtRest(step.state);
      if (!lagging && rests === resting.has(step.workload)) return;
      if (rests) resting.set(step.workload, restOf(step.state));
      else resting.delete(step.workload);
      write();
      if (lagging) throw new Unmirrored(lagging.code, lagging.saw, { cause: lagging });
    },
    async forgetWorkload(name) {
      await store.forgetWorkload(name);
      if (resting.delete(name)) write();
    },
    trouble: () => store.trouble() ?? lagging?.message,
    catchUp() {
      if (lagging) write();
    },
  };
}

/** The step is in the store, and its mirror lags behind: it is not durable as it has to be. */
export class Unmirrored extends Fault {}

/** A store with its mirror. */
export interface MirroredStore extends OpenedAgentStore {
  /** Writes the mirror when it lags behind; to be called now and then. Never throws. */
  catchUp(): void;
}
