/**
 * Keeps the agent's own files out of its workloads. Node opens all of its own with close-on-exec, LevelDB opens its log, lock
 * and tables without (measured, classic-level 3): a workload would hold them for its whole life, could write into the agent's
 * memory, and would keep a full disk full and a read-only one from being mounted so.
 */
import { openSync, readdirSync, readFileSync } from "node:fs";

/** In /proc/PID/fdinfo/N. */
const closeOnExec = 0o2000000;
let nothing: number | undefined;

/** Descriptors from 3 on that would outlive an exec; none where there is no /proc. */
export function inheritable(): number[] {
  let names: string[];
  try {
    names = readdirSync("/proc/self/fd");
  } catch {
    return [];
  }
  return names.map(Number).filter((fd) => fd > 2 && survivesExec(fd));
}

/** For Node's spawn, which cannot close any: no input, `output` for both others, and /dev/null in place of what it would inherit. */
export function stdioOf(output: number): ("ignore" | number)[] {
  const leaks = inheritable();
  const stdio = Array.from({ length: Math.max(2, ...leaks) + 1 }, (): "ignore" | number => "ignore");
  stdio[1] = output;
  stdio[2] = output;
  for (const fd of leaks) {
    nothing ??= openSync("/dev/null", "r+");
    stdio[fd] = nothing;
  }
  return stdio;
}

function survivesExec(fd: number): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "latin1"))?.[1];
    return flags !== undefined && (Number.parseInt(flags, 8) & closeOnExec) === 0;
  } catch {
    return false; // closed meanwhile, as the one that listed the folder was
  }
}
