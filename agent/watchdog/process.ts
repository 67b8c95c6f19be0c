/** The world's side of an identity: what /proc says of a process, and the one way to signal it. */
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync, statSync } from "node:fs";
import type { Identity, Look } from "./state.ts";

interface Stat {
  readonly state: string;
  readonly session: number;
  readonly startTicks: number;
}

function readOr(path: string): string | undefined {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return undefined;
  }
}

/** Any line of /proc/PID is shorter. Node's own way takes 64 KiB for each question, which is asked every second. */
const line = Buffer.alloc(1024);

function lineOf(path: string): string | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(path, "r");
    return line.toString("latin1", 0, readSync(fd, line, 0, line.length, 0));
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function statOf(pid: number): Stat | undefined {
  const text = lineOf(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  // The command may hold blanks and parentheses: fields start after the last one, with field 3 of proc_pid_stat(5).
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { state: fields[0] ?? "?", session: Number(fields[3]), startTicks: Number(fields[19]) };
}

/** True where processes can be told apart for good. */
const hasProc = readOr("/proc/self/stat") !== undefined;

/** Who this number names now; start 0 when nobody does. */
export function identify(pid: number): Identity {
  return { pid, startTicks: statOf(pid)?.startTicks ?? 0 };
}

/** True while the process lives and leads its session, as everything that we or the agent start does. */
export function leads(pid: number): boolean {
  const stat = statOf(pid);
  return stat !== undefined && stat.session === pid && stat.state !== "Z" && stat.state !== "X";
}

/** The machine's boot id: a word that held for one boot is void in the next. */
export function bootId(): string {
  return readOr("/proc/sys/kernel/random/boot_id")?.trim() ?? "unknown";
}

/** What /proc says of it now. */
export function lookAt(process: Identity): Look {
  if (!hasProc) return { sight: numberLives(process.pid) ? "running" : "gone" };
  const stat = statOf(process.pid);
  if (!stat || stat.startTicks !== process.startTicks || stat.state === "Z" || stat.state === "X")
    return { sight: "gone" };
  if (stat.state === "T" || stat.state === "t") return { sight: "stopped" };
  // Nanoseconds on a processor, nanoseconds waiting for one; of the main thread, which is the one that has to beat.
  const waited = lineOf(`/proc/${process.pid}/task/${process.pid}/schedstat`)?.split(" ")[1];
  return { sight: "running", ...(waited !== undefined && { waitedMs: Number(waited) / 1e6 }) };
}

function numberLives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Signals the process if it still is who it was. */
export function signalProcess(to: Identity, signal: "SIGKILL" | "SIGTERM"): void {
  if (hasProc) {
    const stat = statOf(to.pid);
    if (!stat || stat.startTicks !== to.startTicks || stat.state === "Z") return;
  }
  try {
    process.kill(to.pid, signal);
    // A stopped process takes no other signal before it goes on.
    if (signal !== "SIGKILL") process.kill(to.pid, "SIGCONT");
  } catch {
    // Gone between the look and the signal.
  }
}

/** Every process id of this machine; none where there is no /proc. */
export function allPids(): number[] {
  try {
    return readdirSync("/proc")
      .filter((name) => /^[0-9]/.test(name))
      .map(Number);
  } catch {
    return [];
  }
}

/** The value of one variable in the environment that a process was started with; undefined when unset, gone, or not ours to read. */
export function environOf(pid: number, variable: string): string | undefined {
  const pairs = readOr(`/proc/${pid}/environ`)?.split("\0") ?? [];
  return pairs.find((pair) => pair.startsWith(`${variable}=`))?.slice(variable.length + 1);
}

/** True when the process is our own user's and holds the socket with this inode. */
export function holdsSocket(pid: number, inode: string): boolean {
  const folder = `/proc/${pid}/fd`;
  try {
    if (statSync(`/proc/${pid}`).uid !== process.geteuid?.()) return false; // root could read a stranger's, too
    return readdirSync(folder).some((fd) => {
      try {
        return readlinkSync(`${folder}/${fd}`) === `socket:[${inode}]`;
      } catch {
        return false; // closed meanwhile
      }
    });
  } catch {
    return false;
  }
}

/** The inode of the socket that listens under this abstract name; undefined when nobody does. */
export function listenerOf(name: string): string | undefined {
  // Num RefCount Protocol Flags Type St Inode Path; the flag 00010000 is a listener's.
  for (const line of readOr("/proc/net/unix")?.split("\n") ?? []) {
    const fields = line.trim().split(/\s+/);
    if (fields[7] === `@${name}` && fields[3] === "00010000") return fields[6];
  }
  return undefined;
}

/** The folder that this process works in; undefined when it was removed. */
export function ownFolder(): string | undefined {
  try {
    return process.cwd();
  } catch {
    return undefined;
  }
}
