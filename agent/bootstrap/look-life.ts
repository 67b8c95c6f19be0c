/** What lives: the watchdog, the agent, the workloads, and a person's word about them. */
import { existsSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import { markVariable, places } from "../constants.ts";
import { run } from "./child.ts";
import { lstatOr, namesIn } from "./disk.ts";
import type { Findings, ProcessFound, WorkloadFound } from "./findings.ts";
import type { GoodManifest } from "./good-copy.ts";
import { allPids, bootId, environOf, type Identity, listenerOn, living, readOr, wordsOf } from "./proc.ts";
import type { Start } from "./start-file.ts";

const answerMs = 15_000;
const connectMs = 1000;
const unitFolders = [
  "/etc/systemd/system",
  "/usr/local/lib/systemd/system",
  "/usr/lib/systemd/system",
  "/lib/systemd/system",
];

interface LifeParts {
  readonly dataDir: string;
  readonly works: readonly string[] | undefined;
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
  /** The disk takes no socket: who lives cannot be asked. */
  readonly mute: boolean;
}
type Alive = Pick<Findings, "watchdog" | "agent" | "workloads" | "socket" | "lock"> & {
  readonly troubles: readonly string[];
};

interface Said {
  readonly warnings?: readonly string[];
  readonly workloads?: readonly { readonly name: string; readonly phase?: string; readonly because?: string }[];
}

export class Life {
  readonly #parts: LifeParts;

  constructor(parts: LifeParts) {
    this.#parts = parts;
  }

  /** `names` are the workloads of the config that was in use last. */
  async look(names: readonly string[]): Promise<Alive> {
    const watchdog = this.watchdog();
    const process_ = this.agent();
    const socket = await this.#socket();
    const said = process_ && socket === "listens" ? await this.#status() : undefined;
    const agent = agentFound(process_, said, socket !== "listens" && this.#parts.mute);
    return {
      watchdog: watchdog
        ? { is: isStopped(watchdog) ? "silent" : "answers", pid: watchdog.pid, because: `pid ${watchdog.pid}` }
        : { is: "dead", pid: undefined, because: "no watchdog lives" },
      agent,
      socket,
      lock: this.#lock(process_),
      workloads: said ? saidWorkloads(said) : this.#seenWorkloads(names),
      troubles: said?.warnings ?? [],
    };
  }

  watchdog(): Identity | undefined {
    const name = this.#guardName();
    return name === undefined ? undefined : listenerOn(`@${name}`);
  }

  /** By the lock of its store, or the name by which it is guarded; only one that is an agent by its command. */
  agent(): Identity | undefined {
    const name = this.#guardName();
    const found = [this.#lockedBy(), name && listenerOn(`@${name}-agent`)];
    return found.find((one): one is Identity => typeof one === "object" && wordsOf(one.pid).includes("up"));
  }

  word(): Findings["word"] {
    try {
      const { word, boot } = JSON.parse(readFileSync(join(this.#parts.dataDir, places.intent), "utf8")) as Record<
        string,
        unknown
      >;
      if (word === "down") return word;
      return word === "stop" && boot === bootId() ? word : undefined;
    } catch {
      return undefined;
    }
  }

  killSwitch(): boolean {
    return existsSync(join(this.#parts.dataDir, places.killSwitch));
  }

  /** `unread`: why what was written down about the last start says nothing. */
  startedBy(
    start: Start | undefined,
    manifest: GoodManifest | undefined,
    unread: string | undefined,
  ): Findings["start"] {
    const unit = unitOf(this.#parts.dataDir);
    if (unit) return { by: "init", ...unit };
    if (start || manifest?.files.some(({ name }) => /\.ya?ml$/.test(name))) return { by: "words" };
    return { by: "nobody", ...(unread !== undefined && { unread }) };
  }

  #guardName(): string | undefined {
    try {
      const { name } = JSON.parse(readFileSync(join(this.#parts.dataDir, places.guardKey), "utf8")) as {
        name?: unknown;
      };
      return typeof name === "string" && name !== "" ? name : undefined;
    } catch {
      return undefined;
    }
  }

  #lockedBy(): Identity | undefined {
    try {
      const text = readFileSync(join(this.#parts.dataDir, `${places.store}.lock`), "utf8");
      const { pid, started, boot } = JSON.parse(text) as { pid: number; started: string; boot: string };
      const found = boot === bootId() ? living(pid) : undefined;
      return found?.startTicks === started ? found : undefined;
    } catch {
      return undefined;
    }
  }

  #lock(agent: Identity | undefined): Findings["lock"] {
    if (!existsSync(join(this.#parts.dataDir, `${places.store}.lock`))) return "none";
    return agent || this.#lockedBy() ? "held" : "left-over";
  }

  async #socket(): Promise<Findings["socket"]> {
    const path = join(this.#parts.dataDir, places.socket);
    const found = lstatOr(path);
    if (!found) return "none";
    if (!found.isSocket()) return "no-socket";
    // Root gets in anyway, and the agent's own user does not.
    if ((found.mode & 0o200) === 0) return "barred";
    return (await takesCalls(path)) ? "listens" : "left-over";
  }

  async #status(): Promise<Said | undefined> {
    const { works, dataDir, owner } = this.#parts;
    if (!works) return undefined;
    const asked = await run([...works, "status", "-o", "json", "--data-dir", dataDir], {
      timeoutMs: answerMs,
      as: owner,
    });
    try {
      return asked.code === 0 ? (JSON.parse(asked.out) as Said) : undefined;
    } catch {
      return undefined;
    }
  }

  /** By the marks in their environments, and by what is known to rest. */
  #seenWorkloads(names: readonly string[]): WorkloadFound[] {
    const { dataDir } = this.#parts;
    const resting = restingIn(dataDir);
    const alive = new Map<string, number>();
    for (const pid of allPids()) {
      if (environOf(pid, "BLUEFLAME_SOCKET") !== join(dataDir, places.socket) || !living(pid)?.leads) continue;
      const name = environOf(pid, markVariable)?.split(":")[1];
      if (name !== undefined) alive.set(name, pid);
    }
    return names.map((name): WorkloadFound => {
      const pid = alive.get(name);
      if (pid !== undefined) return { name, is: "runs", because: `pid ${pid}, without its agent` };
      if (resting.has(name)) return { name, is: "rests", because: "a person stopped it, or its job is done" };
      return { name, is: "down", because: "no process of it lives" };
    });
  }
}

/** True when somebody listens there, even if he is too busy or stopped to talk. */
export function takesCalls(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const done = (listens: boolean) => {
      socket.destroy();
      resolve(listens);
    };
    socket.setTimeout(connectMs, () => done(true));
    socket.once("connect", () => done(true));
    // EAGAIN: the queue of a listener is full. Anything else: nobody listens.
    socket.once("error", (error: NodeJS.ErrnoException) => done(error.code === "EAGAIN" || error.code === "EACCES"));
  });
}

function isStopped({ pid }: Identity): boolean {
  return ["T", "t"].includes(living(pid)?.state ?? "");
}

function agentFound(process_: Identity | undefined, said: Said | undefined, mute: boolean): ProcessFound {
  if (!process_) return { is: "dead", pid: undefined, because: "no agent lives" };
  const { pid } = process_;
  if (said) return { is: "answers", pid, because: `pid ${pid} answers` };
  if (isStopped(process_)) return { is: "silent", pid, because: `the agent (pid ${pid}) was stopped by a signal` };
  // It guards all the same.
  if (mute) return { is: "answers", pid, because: `pid ${pid} lives, without a socket to ask it by` };
  return { is: "silent", pid, because: `the agent (pid ${pid}) does not answer` };
}

function saidWorkloads({ workloads = [] }: Said): WorkloadFound[] {
  return workloads.map(({ name, phase = "", because = "" }): WorkloadFound => {
    const word = phase.replace("WORKLOAD_PHASE_", "").toLowerCase();
    const said = because === "" ? word : `${word}: ${because}`;
    if (word === "running") return { name, is: "runs", because: said };
    return { name, is: word === "stopped" || word === "completed" ? "rests" : "down", because: said };
  });
}

function restingIn(dataDir: string): ReadonlySet<string> {
  try {
    const { resting } = JSON.parse(readFileSync(join(dataDir, places.mirror), "utf8")) as { resting?: object };
    return new Set(Object.keys(resting ?? {}));
  } catch {
    return new Set();
  }
}

/** The unit of systemd that guards this data directory, while systemd runs. */
function unitOf(dataDir: string): { readonly unit: string; readonly user: boolean } | undefined {
  if (!existsSync("/run/systemd/system")) return undefined;
  const own = join(process.env.XDG_CONFIG_HOME ?? join(homedir(), ".config"), "systemd", "user");
  const user = process.getuid?.() !== 0;
  for (const folder of user ? [own] : unitFolders) {
    for (const unit of namesIn(folder).filter((name) => /^blueflame.*\.service$/.test(name))) {
      const text = readOr(join(folder, unit));
      const named = /^ExecStart=.*--data-dir[= ]"?([^"\s]+)/m.exec(text)?.[1];
      if (/^ExecStart=.*\bwatchdog\b/m.test(text) && (named ?? "/var/lib/blueflame") === dataDir) return { unit, user };
    }
  }
  return undefined;
}
