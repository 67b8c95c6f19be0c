import { readdirSync, readFileSync } from "node:fs";

/** What /proc/PID/stat says of one process. Fields as in proc_pid_stat(5). */
export interface ProcStat {
  readonly pid: number;
  readonly state: string;
  readonly ppid: number;
  readonly session: number;
  /** Field 22, clock ticks after boot. */
  readonly startTicks: number;
}

/** Undefined when there is no such process (or no /proc on this system). */
export function procStat(pid: number): ProcStat | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return undefined;
  }
  // The command may hold blanks and parentheses: fields start after the last one.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return {
    pid,
    state: fields[0] ?? "?",
    ppid: Number(fields[1]),
    session: Number(fields[3]),
    startTicks: Number(fields[19]),
  };
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
