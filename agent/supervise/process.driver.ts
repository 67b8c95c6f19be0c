import { type BigIntStats, readFileSync } from "node:fs";
import { rm, stat } from "node:fs/promises";
import { connect } from "node:net";
import type { Cancel, Clock } from "@blueflame/shared/time/clock.ts";
import { bornOrdinary } from "../limits/oom-score.driver.ts";
import { withoutServiceManager } from "../notify/inherited.ts";
import { beatDesk } from "../sensors/file-desk.driver.ts";
import { type Found, type FoundOf, together } from "./adopt.ts";
import { EndWatch } from "./ended.driver.ts";
import { Families, markVariable } from "./family.driver.ts";
import { bestLauncher, type Launcher } from "./launch.driver.ts";
import { type OutputLost, Outputs } from "./output.driver.ts";
import { ownGroup, ProcEye, procStat } from "./proc.driver.ts";
import type { Cleanable, Cleaned, ProcessPort, Sight, SpawnRequest } from "./process.ts";
import { Reach } from "./reach.driver.ts";
import type { WorkloadSpec } from "./spec.ts";
import type { Instance } from "./state.ts";
import { mayHaveStoppedChild } from "./stopped.driver.ts";

/** A family that lives longer than this after SIGKILL cannot be killed (state D): told, and tried again later. */
const killLimitMs = 3000;
/** Looked again at first after 5 ms, for most are gone by then, and ever later: a look walks over all processes. */
const killPoll = { firstMs: 5, lastMs: 200 };
/** A disk that has not answered for the declared files by then hangs: told, and tried again later. */
const releaseLimitMs = 3000;
/** A port that is held is looked at for this long before its holder counts as a stranger. */
const portMs = 1000;
const portPollMs = 20;
const unanswered = `the disk of its declared files has not answered for ${releaseLimitMs} ms`;
/** So long after a spawn the strays of its first moments are gathered: later than any program forks by itself at its start. */
const gatherAfterMs = 100;
/** A socket file whose owner does not answer within this time is a left-over. */
const socketAnswerMs = 200;

/**
 * Real processes of this machine. `owner` is unique to the agent's store; `logDir` gets the output files while the disk takes them;
 * `others` are living main processes of ours that somebody else has started and that may carry our marker no more.
 */
export function realProcesses(options: {
  readonly owner: string;
  readonly logDir: string;
  readonly clock: Clock;
  readonly outputLost?: OutputLost;
  /** Who watches over this agent: nobody's family. */
  readonly guards?: () => readonly number[];
  readonly others?: Others;
}): ProcessPort & { readonly families: Families } {
  const { owner, logDir, clock, outputLost, guards, others } = options;
  const families = new Families(owner, guards);
  families.stepOut();
  return new RealProcesses(families, new Outputs(logDir, outputLost), clock, others);
}

type Others = () => Promise<readonly FoundOf[]>;

class RealProcesses implements ProcessPort {
  /** Who belongs to whom; limits and exorcism look at the same families. */
  readonly families: Families;
  readonly #outputs: Outputs;
  readonly #clock: Clock;
  readonly #others: Others | undefined;
  /** Taken once: reading it costs tens of microseconds, and a spawn is on the way from crash to restart. */
  readonly #ownEnv = withoutServiceManager(process.env);
  readonly #launch: Launcher = bestLauncher();
  /** By PID, those that were looked at and live. */
  readonly #eyes = new Map<number, ProcEye>();
  readonly #ends = new EndWatch();
  readonly #reach = new Reach();
  #closed = false;
  #cancelGather: Cancel | undefined;
  #exited: (id: string, code: number | null, signal: string | null) => void = () => undefined;

  constructor(families: Families, outputs: Outputs, clock: Clock, others: Others | undefined) {
    this.families = families;
    this.#outputs = outputs;
    this.#clock = clock;
    this.#others = others;
  }

  onExit(exited: (id: string, code: number | null, signal: string | null) => void): void {
    this.#exited = exited;
  }

  spawn({ spec, id, env }: SpawnRequest) {
    const [file, ...args] = spec.command;
    const silent = this.#reach.silent(spec);
    if (silent !== undefined) return { failed: `cannot start ${file}: the disk of ${silent} does not answer` };
    let output: number | undefined;
    try {
      output = this.#outputs.open(spec.name);
      const launch = {
        file,
        args,
        cwd: spec.cwd,
        env: { ...this.#ownEnv, ...spec.env, ...env, [markVariable]: this.families.mark(spec.name, id) },
        output,
        exited: (code: number | null, signal: string | null) => this.#ended(id, code, signal),
      };
      const started = bornOrdinary(() => this.#launch(launch));
      if ("failed" in started) return { failed: `cannot start ${file}: ${started.failed}` };
      const leader = { pid: started.pid, startTicks: procStat(started.pid)?.startTicks ?? 0 };
      this.families.enlist(spec.name, leader);
      this.#gatherSoon();
      return leader;
    } catch (error) {
      return { failed: `cannot start ${file}: ${(error as Error).message}` };
    } finally {
      if (output !== undefined) this.#outputs.close(output);
    }
  }

  #ended(id: string, code: number | null, signal: string | null): void {
    if (!this.#closed) this.#exited(id, code, signal);
  }

  #gatherSoon(): void {
    this.#cancelGather ??= this.#clock.wakeAt(this.#clock.monotonicMs() + gatherAfterMs, () => {
      this.#cancelGather = undefined;
      void this.families.gather();
    });
  }

  signal(instance: Instance, signal: string): void {
    if (this.look(instance) === "gone") return;
    // Its whole group, unless it has started us into it.
    const to = instance.pid === ownGroup() ? instance.pid : -instance.pid;
    try {
      process.kill(to, signal as NodeJS.Signals);
      // A stopped process takes no other signal before it goes on.
      if (signal !== "SIGKILL" && signal !== "SIGSTOP") process.kill(to, "SIGCONT");
    } catch {
      // Gone between the look and the signal.
    }
  }

  look(instance: Instance): Sight {
    const known = this.#eyes.get(instance.pid);
    const eye = known?.startTicks === instance.startTicks ? known : this.#open(instance);
    const state = eye?.state();
    if (isDead(state)) {
      this.#shut(instance.pid);
      return "gone";
    }
    return state === "T" ? "stopped" : "running";
  }

  mayBeStopped(): boolean {
    return mayHaveStoppedChild();
  }

  mayHaveEnded(instances: readonly Instance[]): boolean {
    return this.#ends.mayHaveEnded(instances);
  }

  #open({ pid, startTicks }: Instance): ProcEye | undefined {
    // Nobody looks any more at those that have ended; there are as many as workloads, and a new one is rare.
    for (const [other, eye] of this.#eyes) if (isDead(eye.state())) this.#shut(other);
    const eye = ProcEye.open(pid, startTicks);
    if (eye) this.#eyes.set(pid, eye);
    return eye;
  }

  #shut(pid: number): void {
    this.#eyes.get(pid)?.close();
    this.#eyes.delete(pid);
  }

  async clean(spec: Cleanable, last?: Instance): Promise<Cleaned> {
    const beganMs = this.#clock.monotonicMs();
    const reached = "cwd" in spec ? this.#reach.look(spec) : undefined;
    try {
      const killed = this.families.mayLive(spec.name) ? await this.#killFamily(spec.name, last, beganMs) : 0;
      const declared = spec.clean.files.length + spec.clean.sockets.length + spec.clean.ports.length > 0;
      const removed = declared ? await this.#release(spec) : [];
      await reached;
      return { ok: true, killed, removed, tookMs: this.#clock.monotonicMs() - beganMs };
    } catch (error) {
      return { ok: false, because: (error as Error).message };
    }
  }

  async #killFamily(workload: string, last: Instance | undefined, beganMs: number): Promise<number> {
    const seen = new Set<number>();
    for (let pollMs = killPoll.firstMs; ; pollMs = Math.min(2 * pollMs, killPoll.lastMs)) {
      const members = await this.families.members(workload, last);
      if (members.length === 0) return seen.size;
      // Killed again in each round: a member may have forked between the walk and the signal.
      this.families.kill(members);
      for (const member of members) seen.add(member.pid);
      if (this.#clock.monotonicMs() > beganMs + killLimitMs) {
        throw new Error(
          `${members.length} processes survive SIGKILL: ${members.map((member) => `${member.pid} (state ${procStat(member.pid)?.state ?? "gone"})`).join(", ")}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
  }

  /** As `release`, for a bounded time; what comes of a question that hangs is then no longer acted upon. */
  async #release(spec: Pick<WorkloadSpec, "clean">): Promise<string[]> {
    const late = new AbortController();
    const { promise, reject } = Promise.withResolvers<never>();
    const cancel = this.#clock.wakeAt(this.#clock.monotonicMs() + releaseLimitMs, () => {
      late.abort();
      reject(new Error(unanswered));
    });
    try {
      return await Promise.race([release(spec, late.signal), promise]);
    } finally {
      cancel();
    }
  }

  async find() {
    const others = (await this.#others?.()) ?? [];
    for (const one of others) this.families.claim(one.workload, one);
    const seen = (await this.families.leaders()).map(({ instance: id, ...one }) => ({ ...one, id }));
    const found = new Map<string, Found[]>();
    for (const { workload, id, pid, startTicks } of together(seen, others))
      found.set(workload, [...(found.get(workload) ?? []), { id, pid, startTicks }]);
    return found;
  }

  async rotate(spec: WorkloadSpec): Promise<void> {
    this.#reach.watch(spec);
    await this.#outputs.rotate(spec.name, spec.output.maxBytes, spec.output.files);
  }

  close(): void {
    this.#cancelGather?.();
    this.#closed = true;
    for (const pid of [...this.#eyes.keys()]) this.#shut(pid);
    this.#ends.close();
    this.families.dismiss();
  }
}

/** By its state in the process table; undefined: it is not there. */
function isDead(state: string | undefined): boolean {
  return state === undefined || state === "Z" || state === "X";
}

/** Removes declared files and sockets that nobody else holds. Throws when one of them is held. Removes nothing once `late` aborts. */
async function release(spec: Pick<WorkloadSpec, "clean">, late: AbortSignal): Promise<string[]> {
  const removed: string[] = [];
  for (const path of [...spec.clean.files, ...spec.clean.sockets]) {
    const found = await leftOver(path);
    if (!found) continue;
    const holder = found.isSocket()
      ? (await answers(path))
        ? "a process that answers on it"
        : undefined
      : lockHolder(found.ino);
    if (holder) throw new Error(`${path} is held by ${holder}, which is not of this workload's family`);
    await remove(path, late);
    removed.push(path);
  }
  for (const port of spec.clean.ports) {
    if (await staysHeld(port, late))
      throw new Error(`port ${port} is held by a process that is not of this workload's family`);
  }
  return removed;
}

/** A program whose first thread has ended by SIGKILL holds its port until the last one has: on a busy machine that is a moment later. */
async function staysHeld(port: number, late: AbortSignal): Promise<boolean> {
  for (let waitedMs = 0; listens(port); waitedMs += portPollMs) {
    if (late.aborted || waitedMs >= portMs) return true;
    await new Promise((resolve) => setTimeout(resolve, portPollMs));
  }
  return false;
}

/** Undefined: it is not there. A disk that hangs is not asked again by the next clean-up, which is seconds away (DOL-9). */
async function leftOver(path: string): Promise<BigIntStats | undefined> {
  const flight = await beatDesk.look(path, "left-over", () => stat(path, { bigint: true }), releaseLimitMs);
  if (flight.is === "silent") throw new Error(unanswered);
  return flight.is === "answered" ? flight.value : undefined;
}

/** Throws when it could not; so it does for who waits with a clean-up whose time was over before the disk answered. */
async function remove(path: string, late: AbortSignal): Promise<void> {
  const unlessLate = async () => {
    // By now the next instance may live, and the file may be its own.
    if (late.aborted) throw new Error(unanswered);
    await rm(path, { force: true });
  };
  const flight = await beatDesk.look(path, "remove", unlessLate, releaseLimitMs);
  if (flight.is === "silent") throw new Error(unanswered);
  if (flight.is === "failed" && (flight.error as NodeJS.ErrnoException).code !== "ENOENT") throw flight.error;
}

/** The living process that holds a lock on this inode, by /proc/locks. */
function lockHolder(inode: bigint): string | undefined {
  let locks: string;
  try {
    locks = readFileSync("/proc/locks", "latin1");
  } catch {
    return undefined;
  }
  for (const line of locks.split("\n")) {
    const fields = line.trim().split(/\s+/);
    const pid = fields.at(4);
    if (fields.at(5)?.endsWith(`:${inode}`) && pid && procStat(Number(pid))) return `pid ${pid}`;
  }
  return undefined;
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const done = (answered: boolean) => {
      socket.destroy();
      resolve(answered);
    };
    socket.setTimeout(socketAnswerMs, () => done(false));
    socket.once("connect", () => done(true));
    socket.once("error", () => done(false));
  });
}

/** Does anybody on this machine listen on the TCP port? State 0A in /proc/net/tcp is LISTEN. */
function listens(port: number): boolean {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    try {
      for (const line of readFileSync(table, "latin1").split("\n")) {
        const fields = line.trim().split(/\s+/);
        if (fields[1]?.endsWith(suffix) && fields[3] === "0A") return true;
      }
    } catch {
      // No such table here: the bind of the workload itself will tell.
    }
  }
  return false;
}
