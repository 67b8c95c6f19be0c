/** One process as /proc/PID/stat has it; fields as in proc_pid_stat(5). */
export interface ProcessLine {
  readonly pid: number;
  /** At most 15 bytes, and whatever the process calls itself. */
  readonly name: string;
  readonly state: string;
  readonly ppid: number;
  readonly session: number;
  /** User and system time in hundredths of a second (USER_HZ is 100 on every machine). */
  readonly cpuTicks: number;
  readonly threads: number;
  readonly startTicks: number;
  readonly residentPages: number;
}

/** Hundredths of a second. */
export const tickMs = 10;

/** What follows the name: state, parent, session, user and system time, threads, start, resident pages. */
const wanted = /^(\S) (\d+) \S+ (-?\d+) (?:\S+ ){7}(\d+) (\d+) (?:\S+ ){4}(\d+) \S+ (\d+) \S+ (\d+)/;

/** Undefined for what is no such line. */
export function parseProcessLine(pid: number, text: string): ProcessLine | undefined {
  // The name may hold blanks and parentheses: fields start after the last one.
  const end = text.lastIndexOf(")");
  const found = wanted.exec(text.slice(end + 2));
  if (end < 0 || !found) return undefined;
  const [, state = "?", ppid, session, userTicks, systemTicks, threads, startTicks, residentPages] = found;
  return {
    pid,
    name: text.slice(text.indexOf("(") + 1, end),
    state,
    ppid: Number(ppid),
    session: Number(session),
    cpuTicks: Number(userTicks) + Number(systemTicks),
    threads: Number(threads),
    startTicks: Number(startTicks),
    residentPages: Number(residentPages),
  };
}
