import { closeSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";

/** What /proc/PID/stat says of one process. Fields as in proc_pid_stat(5). */
export interface ProcStat {
  readonly pid: number;
  readonly state: string;
  readonly ppid: number;
  readonly session: number;
  /** Field 22, clock ticks after boot. */
  readonly startTicks: number;
}

/** Any line of /proc/PID/stat is shorter. One for all: who reads it here does not wait. */
const line = Buffer.alloc(1024);
/** What follows the command: state, parent, session, start. */
const wanted = /^(\S) (\d+) \S+ (-?\d+) (?:\S+ ){15}(\d+)/;

/** Undefined when there is no such process (or no /proc on this system). */
export function procStat(pid: number): ProcStat | undefined {
  let file: number | undefined;
  try {
    file = openSync(`/proc/${pid}/stat`, "r");
    return statIn(pid, readSync(file, line, 0, line.length, 0));
  } catch {
    return undefined;
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

function statIn(pid: number, length: number): ProcStat | undefined {
  // The command may hold blanks and parentheses: fields start after the last one.
  const found = wanted.exec(line.toString("latin1", line.lastIndexOf(closing, length - 1) + 2, length));
  if (!found) return undefined;
  const [, state = "?", ppid, session, startTicks] = found;
  return { pid, state, ppid: Number(ppid), session: Number(session), startTicks: Number(startTicks) };
}
const closing = ")".charCodeAt(0);

/**
 * One process that is looked at again and again: its file is kept open, so that a look is one system call. A descriptor belongs
 * to the process and not to its number: one that is gone never shows who has the number after it. Whoever opened it closes it.
 */
export class ProcEye {
  readonly startTicks: number;
  readonly #file: number;

  private constructor(startTicks: number, file: number) {
    this.startTicks = startTicks;
    this.#file = file;
  }

  /** Undefined when the process is gone, or the number is another one's by now, or no file can be opened. */
  static open(pid: number, startTicks: number): ProcEye | undefined {
    let file: number;
    try {
      file = openSync(`/proc/${pid}/stat`, "r");
    } catch {
      return undefined;
    }
    try {
      if (statIn(pid, readSync(file, line, 0, line.length, 0))?.startTicks === startTicks)
        return new ProcEye(startTicks, file);
    } catch {
      // It ended in between.
    }
    closeSync(file);
    return undefined;
  }

  /** The letter of proc_pid_stat(5); undefined when somebody has waited for it: it is gone. */
  state(): string | undefined {
    try {
      const length = readSync(this.#file, line, 0, line.length, 0);
      if (length === 0) return undefined;
      return String.fromCharCode(line[line.lastIndexOf(closing, length - 1) + 2] ?? 0);
    } catch {
      return undefined;
    }
  }

  close(): void {
    closeSync(this.#file);
  }
}

/** PF_KTHREAD of linux/sched.h: a thread of the kernel itself. */
const kernelThread = 0x00200000;

/**
 * PID 2, where its line of /proc/PID/stat says that it is the kernel's: the parent of all kernel threads. In a PID namespace the
 * second process is anybody, and may be the agent itself.
 */
export function kernelParentIn(statOfSecond: string): number | undefined {
  const flags = /^\S (?:\S+ ){5}(\d+)/.exec(statOfSecond.slice(statOfSecond.lastIndexOf(")") + 2))?.[1];
  return (Number(flags ?? 0) & kernelThread) === 0 ? undefined : 2;
}

/** Kernel threads are children of this one, have no environment and belong to nobody; undefined where none are seen. */
export const kernelParent: number | undefined = (() => {
  try {
    return kernelParentIn(readFileSync("/proc/2/stat", "latin1"));
  } catch {
    return undefined;
  }
})();

/** The process group of this process; undefined where there is no /proc. */
export function ownGroup(): number | undefined {
  try {
    const text = readFileSync("/proc/self/stat", "latin1");
    return Number(text.slice(text.lastIndexOf(")") + 2).split(" ")[2]);
  } catch {
    return undefined;
  }
}

/** Every process id of this machine. */
export function allPids(): number[] {
  const pids: number[] = [];
  for (const name of readdirSync("/proc")) {
    const code = name.charCodeAt(0);
    if (code >= 48 && code <= 57) pids.push(Number(name));
  }
  return pids;
}

/** The value of one variable in the environment that a process was started with; undefined when unset or not ours to read. */
export function environOf(pid: number, variable: string): string | undefined {
  let environ: Buffer;
  try {
    environ = readFileSync(`/proc/${pid}/environ`);
  } catch {
    return undefined;
  }
  const needle = `${variable}=`;
  let at = environ.indexOf(needle, 0, "latin1");
  while (at > 0 && environ[at - 1] !== 0) at = environ.indexOf(needle, at + 1, "latin1");
  if (at < 0) return undefined;
  const end = environ.indexOf(0, at);
  return environ.toString("utf8", at + needle.length, end < 0 ? environ.length : end);
}

/** The machine's boot id; a new one means that every process was killed. */
export function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return "unknown";
  }
}
