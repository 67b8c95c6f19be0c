/** Busy and total CPU time since boot, in clock ticks of all cores together. */
export interface CpuTimes {
  readonly busy: number;
  readonly total: number;
}

/** From the first line of /proc/stat. Guest time is part of user time already, and is not counted twice. */
export function parseCpu(stat: string): CpuTimes | undefined {
  const figures = /^cpu\s+(.*)$/m.exec(stat)?.[1]?.trim().split(/\s+/).map(Number);
  if (!figures || figures.length < 4) return undefined;
  const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0] = figures;
  const busy = user + nice + system + irq + softirq + steal;
  return { busy, total: busy + idle + iowait };
}

/** Bytes from /proc/meminfo. Used is what cannot be had without swapping: total less available. */
export function parseMemory(
  meminfo: string,
): { totalBytes: number; usedBytes: number; swapUsedBytes: number } | undefined {
  const bytes = (pattern: RegExp): number | undefined => {
    const kib = pattern.exec(meminfo)?.[1];
    return kib === undefined ? undefined : Number(kib) * 1024;
  };
  const totalBytes = bytes(memoryLines.total);
  const available = bytes(memoryLines.available) ?? bytes(memoryLines.free);
  if (totalBytes === undefined || available === undefined) return undefined;
  const swapUsedBytes = (bytes(memoryLines.swapTotal) ?? 0) - (bytes(memoryLines.swapFree) ?? 0);
  return { totalBytes, usedBytes: totalBytes - available, swapUsedBytes };
}
const memoryLines = {
  total: /^MemTotal:\s+(\d+) kB$/m,
  available: /^MemAvailable:\s+(\d+) kB$/m,
  free: /^MemFree:\s+(\d+) kB$/m,
  swapTotal: /^SwapTotal:\s+(\d+) kB$/m,
  swapFree: /^SwapFree:\s+(\d+) kB$/m,
};

/** Bytes since boot of all interfaces but the loopback, from /proc/net/dev. */
export function parseNetwork(dev: string): { receivedBytes: number; sentBytes: number } {
  let receivedBytes = 0;
  let sentBytes = 0;
  for (const line of dev.split("\n")) {
    const [, name, figures] = /^\s*(\S+):\s*(.*)$/.exec(line) ?? [];
    if (!name || !figures || name === "lo") continue;
    const columns = figures.split(/\s+/).map(Number);
    receivedBytes += columns[0] ?? 0;
    sentBytes += columns[8] ?? 0;
  }
  return { receivedBytes, sentBytes };
}

/** The one-minute load, from /proc/loadavg. */
export function parseLoad(loadavg: string): number | undefined {
  const load = Number.parseFloat(loadavg);
  return Number.isFinite(load) ? load : undefined;
}

/** Where the file system that holds `path` is mounted, from /proc/self/mounts; `path` is absolute and has no links. */
export function mountOf(mounts: string, path: string): string {
  let best = "/";
  for (const line of mounts.split("\n")) {
    const point = line
      .split(" ")[1]
      ?.replaceAll(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
    if (!point || point.length <= best.length) continue;
    if (path === point || path.startsWith(`${point}/`)) best = point;
  }
  return best;
}

/** File systems that answer from this machine's memory and its own disks: a dead network cannot make them hang. */
const localTypes = new Set([
  "ext2",
  "ext3",
  "ext4",
  "xfs",
  "btrfs",
  "f2fs",
  "jfs",
  "zfs",
  "bcachefs",
  "tmpfs",
  "ramfs",
  "overlay",
]);

/** Whether a path, absolute and without links, lies on a file system that is {@link localTypes local}, by /proc/self/mounts. */
export function isLocal(mounts: string, path: string): boolean {
  const point = mountOf(mounts, path).replaceAll(
    /[ \t\n\\]/g,
    (letter) => `\\${letter.charCodeAt(0).toString(8).padStart(3, "0")}`,
  );
  // What was mounted last on a point hides what was there before.
  const line = mounts.split("\n").findLast((one) => one.split(" ")[1] === point);
  return localTypes.has(line?.split(" ")[2] ?? "");
}

/** Bytes that a process has read and written by system calls since its start, from /proc/PID/io: files, pipes and sockets alike. */
export function parseProcessIo(io: string): number {
  const figure = (pattern: RegExp): number => Number(pattern.exec(io)?.[1] ?? 0);
  return figure(/^rchar: (\d+)$/m) + figure(/^wchar: (\d+)$/m);
}

/** Microseconds of CPU that a cgroup has used, from cpu.stat; what has ended is in it. */
export function parseCgroupCpu(cpuStat: string): number | undefined {
  const usec = /^usage_usec (\d+)$/m.exec(cpuStat)?.[1];
  return usec === undefined ? undefined : Number(usec);
}

/** Bytes of files that a cgroup could give up at once, from memory.stat. */
export function parseCgroupCache(memoryStat: string): number {
  return Number(/^inactive_file (\d+)$/m.exec(memoryStat)?.[1] ?? 0);
}

/** Whether /proc/net/route (or ipv6_route, by `six`) has a default route over anything but the loopback. */
export function hasDefaultRoute(table: string, six: boolean): boolean {
  return table.split("\n").some((line) => {
    const columns = line.trim().split(/\s+/);
    const [name, destination] = six
      ? [columns[9], `${columns[0]}/${columns[1]}`]
      : [columns[0], `${columns[1]}/${columns[7]}`];
    return name !== undefined && name !== "lo" && destination === (six ? `${"0".repeat(32)}/00` : "00000000/00000000");
  });
}
