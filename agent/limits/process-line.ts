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

/** Undefined for what is no such line. */
export function parseProcessLine(pid: number, text: string): ProcessLine | undefined {
  // The name may hold blanks and parentheses: fields start after the last one.
  const end = text.lastIndexOf(")");
  const fields = text.slice(end + 2).split(" ");
  if (end < 0 || fields.length < 22) return undefined;
  const figure = (at: number) => Number(fields[at]);
  return {
    pid,
    name: text.slice(text.indexOf("(") + 1, end),
    state: fields[0] ?? "?",
    ppid: figure(1),
    session: figure(3),
    cpuTicks: figure(11) + figure(12),
    threads: figure(17),
    startTicks: figure(19),
    residentPages: figure(21),
  };
}
