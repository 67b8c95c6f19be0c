/** What a process holds, measured right before it is ended: that is what its end gives back. */
import { readdirSync, readlinkSync } from "node:fs";
import { pageBytes, processLine, shortText } from "../limits/process-table.driver.ts";

export interface Holdings {
  /** Resident; what it shares with others stays with them. */
  readonly memoryBytes: number;
  readonly files: number;
  readonly locks: number;
  /** TCP ports that it listens on. */
  readonly ports: readonly number[];
}

/** What cannot be read (another user's process) counts as nothing. */
export function holdingsOf(pid: number): Holdings {
  const descriptors = openFiles(pid);
  const sockets = new Set(
    descriptors.map((to) => /^socket:\[(\d+)\]$/.exec(to)?.[1]).filter((one) => one !== undefined),
  );
  const locks = (shortText("/proc/locks") ?? "").split("\n").filter((line) => line.trim().split(/\s+/)[4] === `${pid}`);
  return {
    memoryBytes: (processLine(pid)?.residentPages ?? 0) * pageBytes,
    files: descriptors.length,
    locks: locks.length,
    ports: sockets.size > 0 ? portsOf(pid, sockets) : [],
  };
}

function openFiles(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`);
      } catch {
        return "";
      }
    });
  } catch {
    return [];
  }
}

/** State 0A is LISTEN; the table is that of the process's own network. */
function portsOf(pid: number, sockets: ReadonlySet<string>): number[] {
  const ports = new Set<number>();
  for (const table of ["tcp", "tcp6"])
    for (const line of (shortText(`/proc/${pid}/net/${table}`) ?? "").split("\n")) {
      const fields = line.trim().split(/\s+/);
      const port = fields[1]?.split(":").at(-1);
      if (fields[3] === "0A" && port && sockets.has(fields[9] ?? "")) ports.add(Number.parseInt(port, 16));
    }
  return [...ports].sort((a, b) => a - b);
}
