/**
 * What the kernel can hold by itself: memory, tasks and CPU of each workload's family, in cgroups of version 2 where their
 * controllers can be had, else of version 1. A process enters right after its start; what it forked before that is brought
 * in by `gather`. Where a controller cannot be had, `missing` says why, and the driver watches instead.
 */
import {
  accessSync,
  constants,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { writeFile } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { asideFolder, cgroupBase } from "../supervise/family.driver.ts";
import type { FamilyLimits, FamilySight, Held } from "./judge.ts";
import { shortText } from "./process-table.driver.ts";

export type Controller = keyof Held;

/** In the order in which a new process enters: an explosion is the fastest. */
const controllers: readonly Controller[] = ["tasks", "memory", "cpu"];
const kernelNames = { memory: "memory", cpu: "cpu", tasks: "pids" } as const;
/** Of a quota of CPU: what the kernel takes when nothing is said. */
const periodUs = 100_000;
/** Less is refused by the kernel. */
const quotaUsMin = 1000;

/** One controller's tree: our folder in it, which holds a folder for each workload. */
interface Place {
  readonly version: 1 | 2;
  readonly root: string;
}

/** The machine as a fence looks at it; a test gives another one. */
export interface FenceMachine {
  /** The texts of /proc/self/mounts and /proc/self/cgroup. */
  readonly mounts: string;
  readonly cgroups: string;
  readonly pid: number;
  readonly parentPid: number;
}

/** Which limits of a workload the kernel holds, and why not the others. */
export interface Fenced {
  readonly held: Held;
  readonly missing: Readonly<Partial<Record<Controller, string>>>;
  /** What a living family exceeds already: to be set at its next start, and not to be judged before. */
  readonly later: readonly Controller[];
  /** The kernel refused one just now: memory of a life that has just ended is given back a moment later. */
  readonly again: boolean;
}

/** Cgroups of one agent's workloads. */
export class Fences {
  readonly #places = new Map<Controller, Place>();
  readonly #missing: Partial<Record<Controller, string>> = {};
  readonly #fenced = new Map<string, Fenced>();

  /** `folder` is unique to the agent's store; `v2Root` is where the families' own cgroups of version 2 are, if anywhere. */
  constructor(folder: string, v2Root: string | undefined, machine: FenceMachine = thisMachine()) {
    for (const controller of controllers) {
      const place = v2Place(controller, v2Root, machine) ?? v1Place(controller, folder, machine);
      if (typeof place === "string") this.#missing[controller] = place;
      else this.#places.set(controller, place);
    }
  }

  /**
   * Sets the limits of a workload; 0 is none. With `spareLiving`, a limit that its living family exceeds already is left to its
   * next start: the kernel would end one of it on the spot.
   */
  set(workload: string, limits: FamilyLimits, spareLiving: boolean): Fenced {
    const held = { memory: false, cpu: false, tasks: false };
    const missing: Partial<Record<Controller, string>> = {};
    const later: Controller[] = [];
    let again = false;
    for (const controller of controllers) {
      const value = controller === "memory" ? limits.memoryBytes : limits[controller];
      const place = this.#places.get(controller);
      if (!place) {
        if (value > 0) missing[controller] = this.#missing[controller] ?? "";
        continue;
      }
      const path = `${place.root}/${workload}`;
      try {
        // Most workloads have no bound of memory and CPU: no folder, and nothing to enter, for those.
        if (value === 0 && !isThere(path)) continue;
        mkdirSync(path, { recursive: true });
        if (spareLiving && value > 0 && (usageOf(place, controller, path) ?? 0) > value) {
          later.push(controller);
          missing[controller] = "it uses more than that already; from its next start";
          continue;
        }
        for (const [file, text] of settings(place, controller, value)) writeFileSync(`${path}/${file}`, text);
        held[controller] = value > 0;
      } catch (error) {
        if (value === 0) continue;
        missing[controller] = (error as Error).message;
        again = true;
      }
    }
    const fenced = { held, missing, later, again };
    this.#fenced.set(workload, fenced);
    return fenced;
  }

  /** What was set last; undefined before. */
  fenced(workload: string): Fenced | undefined {
    return this.#fenced.get(workload);
  }

  /**
   * Puts a process where everything it forks is bounded. The kernel may take 15 ms after a quiet time: one after the other, so
   * that only one thread waits. Never rejects.
   */
  async enter(workload: string, pid: number): Promise<void> {
    for (const path of this.#folders(workload)) await enter(path, pid);
  }

  /** Brings in who of `pids` is outside; answers how many were. */
  async gather(workload: string, pids: readonly number[]): Promise<number> {
    let outside = 0;
    for (const path of this.#folders(workload)) {
      const inside = new Set(pidsIn(path));
      for (const pid of pids) {
        if (inside.has(pid)) continue;
        outside++;
        await enter(path, pid);
      }
    }
    return outside;
  }

  /** What the kernel has counted; what it does not hold is missing. */
  counted(workload: string): FamilySight {
    const held = this.#fenced.get(workload)?.held;
    const [tasks, memory] = [this.#places.get("tasks"), this.#places.get("memory")];
    const sight: { -readonly [key in keyof FamilySight]: FamilySight[key] } = {};
    const put = (key: keyof FamilySight, value: number | undefined) => {
      if (value !== undefined) sight[key] = value;
    };
    if (held?.tasks && tasks) {
      put("tasks", number(shortText(`${tasks.root}/${workload}/pids.current`)));
      put("refusedForks", counter(shortText(`${tasks.root}/${workload}/pids.events`), "max"));
    }
    if (held?.memory && memory) {
      const file = memory.version === 2 ? "memory.events" : "memory.oom_control";
      put("oomKills", counter(shortText(`${memory.root}/${workload}/${file}`), "oom_kill"));
    }
    return sight;
  }

  /** Removes the folders that are empty, and ours when it is. Those of version 2 are the families' to remove. */
  dismiss(): void {
    for (const { version, root } of this.#places.values()) {
      if (version === 2) continue;
      for (const path of [...folders(root).map((name) => `${root}/${name}`), root]) {
        try {
          rmdirSync(path);
        } catch {
          // Somebody lives in it.
        }
      }
    }
  }

  #folders(workload: string): string[] {
    const held = this.#fenced.get(workload)?.held;
    return controllers.flatMap((controller) => {
      const place = this.#places.get(controller);
      return place?.version === 1 && held?.[controller] ? [`${place.root}/${workload}`] : [];
    });
  }
}

function thisMachine(): FenceMachine {
  const text = (path: string) => {
    try {
      return readFileSync(path, "utf8");
    } catch {
      return "";
    }
  };
  const { pid, ppid: parentPid } = process;
  return { mounts: text("/proc/self/mounts"), cgroups: text("/proc/self/cgroup"), pid, parentPid };
}

// ── where ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Undefined when this tree does not have the controller, or will not give it. */
function v2Place(controller: Controller, root: string | undefined, machine: FenceMachine): Place | undefined {
  if (!root) return undefined;
  const base = dirname(root);
  const name = kernelNames[controller];
  if (!wordsOf(`${base}/cgroup.controllers`).includes(name)) return undefined;
  try {
    if (!wordsOf(`${base}/cgroup.subtree_control`).includes(name)) enable(base, name, machine);
    if (!wordsOf(`${root}/cgroup.subtree_control`).includes(name))
      writeFileSync(`${root}/cgroup.subtree_control`, `+${name}`);
    return { version: 2, root };
  } catch {
    return undefined;
  }
}

/** The kernel gives no controllers below a cgroup in which processes live (but the topmost): the agent itself steps aside. */
function enable(base: string, name: string, machine: FenceMachine): void {
  try {
    writeFileSync(`${base}/cgroup.subtree_control`, `+${name}`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EBUSY") throw error;
    const own = pidsIn(base);
    // Its parent is the watchdog when it runs the same program; somebody's shell is not ours to move.
    const mayMove = (pid: number) =>
      pid === machine.pid || (pid === machine.parentPid && program(pid) === program(machine.pid));
    if (!own.every(mayMove)) throw error;
    mkdirSync(`${base}/${asideFolder}`, { recursive: true });
    for (const pid of own) writeFileSync(`${base}/${asideFolder}/cgroup.procs`, String(pid));
    writeFileSync(`${base}/cgroup.subtree_control`, `+${name}`);
  }
}

/** A sentence when there is none. */
function v1Place(controller: Controller, folder: string, machine: FenceMachine): Place | string {
  const name = kernelNames[controller];
  const mount = machine.mounts
    .split("\n")
    .map((line) => line.split(" "))
    .find((fields) => fields[2] === "cgroup" && fields[3]?.split(",").includes(name))?.[1];
  if (!mount) return `no ${name} controller of cgroups can be had here`;
  const own = machine.cgroups
    .split("\n")
    .map((line) => line.split(":"))
    .find((fields) => fields[1]?.split(",").includes(name))?.[2];
  const base = `${mount}${cgroupBase(own ?? "/")}`;
  try {
    // Folders are made when somebody needs one: most agents bound tasks only.
    accessSync(base, constants.W_OK);
    return { version: 1, root: `${base}/${folder}` };
  } catch (error) {
    return `the ${name} cgroup cannot be written: ${(error as Error).message}`;
  }
}

// ── what ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The files of a workload's folder, in the order in which they are written. */
function settings({ version }: Place, controller: Controller, value: number): [file: string, text: string][] {
  const none = value === 0;
  if (controller === "tasks") return [["pids.max", none ? "max" : `${value}`]];
  if (controller === "cpu") {
    const quotaUs = none ? undefined : Math.max(quotaUsMin, Math.round(value * periodUs));
    if (version === 2) return [["cpu.max", `${quotaUs ?? "max"} ${periodUs}`]];
    return [
      ["cpu.cfs_period_us", `${periodUs}`],
      ["cpu.cfs_quota_us", `${quotaUs ?? -1}`],
    ];
  }
  if (version === 1) return [["memory.limit_in_bytes", none ? "-1" : `${value}`]];
  return [
    ["memory.max", none ? "max" : `${value}`],
    // All of the family or nobody: half a family is neither well nor ended.
    ["memory.oom.group", none ? "0" : "1"],
  ];
}

function usageOf({ version }: Place, controller: Controller, path: string): number | undefined {
  if (controller === "cpu") return undefined; // it slows down, and nobody is ended
  if (controller === "tasks") return number(shortText(`${path}/pids.current`));
  return number(shortText(`${path}/${version === 2 ? "memory.current" : "memory.usage_in_bytes"}`));
}

async function enter(path: string, pid: number): Promise<void> {
  try {
    await writeFile(`${path}/cgroup.procs`, String(pid));
  } catch {
    // It has ended already.
  }
}

function pidsIn(path: string): number[] {
  const text = shortText(`${path}/cgroup.procs`) ?? "";
  // A list of many thousands is cut: never within a number.
  return text
    .slice(0, text.lastIndexOf("\n") + 1)
    .split("\n")
    .filter(Boolean)
    .map(Number);
}

function wordsOf(path: string): string[] {
  return (shortText(path) ?? "").trim().split(/\s+/);
}

function isThere(path: string): boolean {
  return folders(dirname(path)).includes(basename(path));
}

function folders(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  } catch {
    return [];
  }
}

function program(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return undefined;
  }
}

function number(text: string | undefined): number | undefined {
  const value = Number(text?.trim() || Number.NaN);
  return Number.isFinite(value) ? value : undefined;
}

/** `NAME 5` on a line of its own. */
function counter(text: string | undefined, name: string): number | undefined {
  return number(new RegExp(`^${name} (\\d+)$`, "m").exec(text ?? "")?.[1]);
}
