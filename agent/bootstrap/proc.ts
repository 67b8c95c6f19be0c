/** What the kernel says of processes and names; the bootstrap's own eyes, for it imports nothing of ours. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";

/** A process for good: a number alone is given out again. */
export interface Identity {
  readonly pid: number;
  readonly startTicks: string;
}
interface Stat {
  readonly state: string;
  readonly session: number;
  readonly startTicks: string;
}

export function readOr(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

function statOf(pid: number): Stat | undefined {
  const text = readOr(`/proc/${pid}/stat`);
  if (text === "") return undefined;
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { state: fields[0] ?? "?", session: Number(fields[3]), startTicks: fields[19] ?? "" };
}

/** Who lives under this number; undefined when nobody does, or nobody that could do anything any more. */
export function living(pid: number): (Identity & { readonly state: string; readonly leads: boolean }) | undefined {
  const stat = statOf(pid);
  if (!stat || stat.state === "Z" || stat.state === "X") return undefined;
  return { pid, startTicks: stat.startTicks, state: stat.state, leads: stat.session === pid };
}

export function bootId(): string {
  return readOr("/proc/sys/kernel/random/boot_id").trim();
}

/** The command line of a process as words. */
export function wordsOf(pid: number): string[] {
  return readOr(`/proc/${pid}/cmdline`).split("\0").slice(0, -1);
}

export function environOf(pid: number, variable: string): string | undefined {
  const pairs = readOr(`/proc/${pid}/environ`).split("\0");
  return pairs.find((pair) => pair.startsWith(`${variable}=`))?.slice(variable.length + 1);
}

export function allPids(): number[] {
  try {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
  } catch {
    return [];
  }
}

/** Who listens on this socket: a path, or `@name` for one without a file. Undefined: nobody, or nobody that we may look at. */
export function listenerOn(name: string): Identity | undefined {
  // Num RefCount Protocol Flags Type St Inode Path; the flag 00010000 is a listener's.
  const lines = readOr("/proc/net/unix").split("\n");
  const line = lines.map((one) => one.trim().split(/\s+/)).find((one) => one[7] === name && one[3] === "00010000");
  const inode = line?.[6];
  if (inode === undefined) return undefined;
  const pid = allPids().find((one) => holdsSocket(one, inode));
  return pid === undefined ? undefined : living(pid);
}

function holdsSocket(pid: number, inode: string): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`) === `socket:[${inode}]`;
      } catch {
        return false; // closed meanwhile
      }
    });
  } catch {
    return false;
  }
}

/** Who holds a lock on the file with this inode, by /proc/locks. */
export function lockHolder(inode: bigint): number | undefined {
  for (const line of readOr("/proc/locks").split("\n")) {
    const fields = line.trim().split(/\s+/);
    if (fields.at(5)?.endsWith(`:${inode}`)) return Number(fields[4]);
  }
  return undefined;
}

/** SIGKILL, if it still is who it was; resolves when it is gone, or false after `forMs`. */
export async function end(process_: Identity, forMs: number): Promise<boolean> {
  const isThere = () => living(process_.pid)?.startTicks === process_.startTicks;
  if (!isThere()) return true;
  try {
    process.kill(process_.pid, "SIGKILL");
  } catch {
    return !isThere();
  }
  for (const endMs = performance.now() + forMs; performance.now() < endMs; await pause(20)) if (!isThere()) return true;
  return !isThere();
}
