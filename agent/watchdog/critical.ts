/**
 * Workloads marked critical, while no agent can be had: started when they do not live, with the marker by which the next agent
 * adopts them, and written down for those that overwrite it (`lives.ts`). Nothing else is done for them here: no probes, no ladder,
 * no stop. The kill switch keeps everything down.
 */
import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync, writeFileSync } from "node:fs";
import { constants, setPriority } from "node:os";
import { join } from "node:path";
import { fromServiceManager, markVariable, places } from "../constants.ts";
import { random } from "./key.ts";
import { onPromises } from "./lazily.ts";
import { keepLives, type Life, lasts, readLives } from "./lives.ts";
import { allPids, environOf, identify, leads } from "./process.ts";
import type { Identity } from "./state.ts";

const format = 1;
/** What ends again at once is started again ever more rarely. */
const again = { firstMs: 5000, lastMs: 300_000 };

/** How one of them is started; written by the agent, which leaves out what a person has stopped. */
export interface CriticalWorkload {
  readonly name: string;
  readonly command: readonly [file: string, ...args: string[]];
  readonly cwd: string;
  /** Added to our own environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Absolute; stdout and stderr are appended to it. */
  readonly output: string;
  /** Its process, when the agent last saw it: it may have written over its environment, and with it the marker. */
  readonly process?: Identity;
}

/** The file's text. `owner` is whose families these are: the first part of their markers. */
export function criticalText(owner: string, workloads: readonly CriticalWorkload[]): string {
  return `${JSON.stringify({ format, owner, workloads })}\n`;
}

/** Looks after the critical workloads of one data directory. */
export class Critical {
  readonly #dataDir: string;
  readonly #said: (msg: string, fields: Readonly<Record<string, unknown>>) => void;
  readonly #nextMs = new Map<string, { readonly atMs: number; readonly waitMs: number }>();
  /** By workload, the newest that a watchdog has started; absent until they were read. */
  #lives: Map<string, Life> | undefined;
  #unwritten = false;
  #busy = false;

  constructor(dataDir: string, said: (msg: string, fields: Readonly<Record<string, unknown>>) => void) {
    this.#dataDir = dataDir;
    this.#said = said;
  }

  /** Starts those that do not live. One round at a time: a disk that hangs holds up no other. `still` is asked again before each start. */
  async tend(nowMs: number, still: () => boolean): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    try {
      if (await isThere(join(this.#dataDir, places.killSwitch))) return;
      const { owner, workloads } = parse(await onPromises().readFile(join(this.#dataDir, places.critical), "utf8"));
      this.#lives ??= new Map((await readLives(this.#dataDir, owner)).map((life) => [life.workload, life]));
      const lives = this.#lives;
      const marked = livingOf(owner);
      for (const workload of workloads) {
        if (!still()) break;
        const { name, process } = workload;
        if (!marked.has(name) && !lasts(process) && !lasts(lives.get(name))) this.#start(owner, workload, nowMs, lives);
      }
      // After all of them: a disk that hangs keeps none of them down.
      if (!this.#unwritten) return;
      await keepLives(this.#dataDir, owner, lives.values());
      this.#unwritten = false;
    } catch {
      // No such file, or one that cannot be read: nothing here is critical. Or a disk that refuses: written with the next round.
    } finally {
      this.#busy = false;
    }
  }

  #start(owner: string, workload: CriticalWorkload, nowMs: number, lives: Map<string, Life>): void {
    const next = this.#nextMs.get(workload.name);
    if (next && nowMs < next.atMs) return;
    const waitMs = next ? Math.min(2 * next.waitMs, again.lastMs) : again.firstMs;
    this.#nextMs.set(workload.name, { atMs: nowMs + waitMs, waitMs });
    const id = newId();
    const started = launch(workload, `${owner}:${workload.name}:${id}`);
    if ("pid" in started) {
      lives.set(workload.name, { workload: workload.name, id, ...identify(started.pid) });
      this.#unwritten = true;
    }
    this.#said(
      "pid" in started
        ? "a critical workload is started: nobody else guards it"
        : "a critical workload cannot be started",
      { workload: workload.name, ...started },
    );
  }
}

function launch(workload: CriticalWorkload, mark: string): { pid: number } | { because: string } {
  const [file, ...args] = workload.command;
  let output: number | "ignore" = "ignore";
  try {
    output = openSync(workload.output, "a", 0o600);
  } catch {
    // A disk that refuses keeps nothing from running; its output is lost.
  }
  try {
    const child = spawn(file, args, {
      cwd: workload.cwd,
      // The token is good for the next agent: it reads it from the environment of what it adopts.
      env: { ...ownEnvironment(), ...workload.env, BLUEFLAME_TOKEN: random(32), [markVariable]: mark },
      detached: true,
      stdio: ["ignore", output, output],
    });
    child.on("error", () => undefined); // said by the missing PID
    child.unref();
    if (child.pid === undefined) return { because: `cannot start ${file}` };
    ordinary(child.pid);
    return { pid: child.pid };
  } catch (error) {
    return { because: error instanceof Error ? error.message : String(error) };
  } finally {
    if (typeof output === "number") closeSync(output);
  }
}

/** Ours without what init has told us, and only us. */
function ownEnvironment(): NodeJS.ProcessEnv {
  const env = { ...process.env };
  for (const name of Object.keys(env)) if (fromServiceManager.test(name)) delete env[name];
  return env;
}

/** What we start is not as important to the system as we are. */
export function ordinary(pid: number): void {
  try {
    setPriority(pid, constants.priority.PRIORITY_NORMAL);
    if (existsSync(`/proc/${pid}/oom_score_adj`)) writeFileSync(`/proc/${pid}/oom_score_adj`, "0");
  } catch {
    // It has ended already, or was ordinary before.
  }
}

function livingOf(owner: string): ReadonlySet<string> {
  const living = new Set<string>();
  for (const pid of allPids()) {
    const [of, workload] = environOf(pid, markVariable)?.split(":") ?? [];
    if (of === owner && workload !== undefined && leads(pid)) living.add(workload);
  }
  return living;
}

function parse(text: string): { owner: string; workloads: readonly CriticalWorkload[] } {
  const read = JSON.parse(text) as { format?: unknown; owner?: unknown; workloads?: unknown };
  if (read.format !== format || typeof read.owner !== "string" || !Array.isArray(read.workloads)) {
    throw new Error("not written by this version");
  }
  return { owner: read.owner, workloads: read.workloads };
}

function isThere(path: string): Promise<boolean> {
  return onPromises()
    .access(path)
    .then(
      () => true,
      () => false,
    );
}

/** A UUIDv7 (RFC 9562): later than every id that the agent has given so far, as long as the clock was not set back. */
function newId(): string {
  const time = Date.now().toString(16).padStart(12, "0");
  const chance = random(10);
  const variant = "89ab"[Number.parseInt(chance.charAt(3), 16) % 4];
  return `${time.slice(0, 8)}-${time.slice(8)}-7${chance.slice(0, 3)}-${variant}${chance.slice(4, 7)}-${chance.slice(7, 19)}`;
}
