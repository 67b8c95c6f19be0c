import { readFileSync } from "node:fs";
import { readdir, readFile, realpath, statfs } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import {
  type CpuTimes,
  hasDefaultRoute,
  mountOf,
  parseCpu,
  parseLoad,
  parseMemory,
  parseNetwork,
} from "./proc-text.ts";
import type { Reading } from "./reading.ts";
import { singleFlight } from "./single-flight.driver.ts";

/** A local disk answers in microseconds; one that needs longer is told as silent and asked again at the next reading. */
const diskWaitMs = 500;

/** The machine's figures. */
export interface SystemSensors {
  /**
   * What can be read now, within about a second even if a disk hangs. Rates and `cpu_busy_ratio` are of the time since the
   * last call and missing at the first. What this system does not have is missing. Never rejects.
   *
   * cpu_busy_ratio, load_1m_ratio (load per core), memory_used_bytes, memory_total_bytes, swap_used_bytes,
   * network_received_bytes_per_second, network_sent_bytes_per_second, network_up_ratio (1 while there is a default route, else
   * 0), temperature_celsius (the hottest), and of the file
   * system that holds the data directory: disk_free_bytes (to us), disk_total_bytes, disk_free_inodes, or
   * disk_silent_seconds when it does not answer.
   */
  read(): Promise<readonly Reading[]>;
}

/** Figures of this machine. `dataDir` names the file system that is watched. */
export function systemSensors(dataDir: string, clock: Clock): SystemSensors {
  const procThere = proc("stat") !== undefined;
  const quick = procThere ? procReader(clock) : libraryReader();
  const disk = diskReader(dataDir);
  const heat = procThere ? singleFlight(hottest, diskWaitMs) : undefined;
  return {
    async read() {
      const [figures, space, celsius] = await Promise.all([quick(), disk(), heat?.()]);
      const readings = [...figures, ...space];
      if (celsius?.is === "answered" && celsius.value !== undefined)
        add(readings, "temperature_celsius", celsius.value);
      return readings;
    },
  };
}

function add(readings: Reading[], sensor: string, value: number | undefined, subject = ""): void {
  if (value !== undefined && Number.isFinite(value)) readings.push({ sensor, subject, value });
}

function proc(name: string): string | undefined {
  try {
    return readFileSync(`/proc/${name}`, "utf8");
  } catch {
    return undefined;
  }
}

/** Reads /proc synchronously: it is memory, and cheaper so than one trip through the thread pool. */
function procReader(clock: Clock): () => Promise<Reading[]> {
  const cores = availableParallelism();
  let before: { cpu: CpuTimes | undefined; network: ReturnType<typeof parseNetwork>; ms: number } | undefined;
  return async () => {
    const readings: Reading[] = [];
    const now = {
      cpu: parseCpu(proc("stat") ?? ""),
      network: parseNetwork(proc("net/dev") ?? ""),
      ms: clock.monotonicMs(),
    };
    if (before?.cpu && now.cpu && now.cpu.total > before.cpu.total) {
      add(readings, "cpu_busy_ratio", (now.cpu.busy - before.cpu.busy) / (now.cpu.total - before.cpu.total));
    }
    const load = parseLoad(proc("loadavg") ?? "");
    add(readings, "load_1m_ratio", load === undefined ? undefined : load / cores);
    const memory = parseMemory(proc("meminfo") ?? "");
    add(readings, "memory_used_bytes", memory?.usedBytes);
    add(readings, "memory_total_bytes", memory?.totalBytes);
    add(readings, "swap_used_bytes", memory?.swapUsedBytes);
    if (before && now.ms > before.ms) {
      const perSecond = (after: number, first: number) =>
        (Math.max(0, after - first) * 1000) / (now.ms - (before?.ms ?? 0));
      add(
        readings,
        "network_received_bytes_per_second",
        perSecond(now.network.receivedBytes, before.network.receivedBytes),
      );
      add(readings, "network_sent_bytes_per_second", perSecond(now.network.sentBytes, before.network.sentBytes));
    }
    before = now;
    const routed =
      hasDefaultRoute(proc("net/route") ?? "", false) || hasDefaultRoute(proc("net/ipv6_route") ?? "", true);
    add(readings, "network_up_ratio", routed ? 1 : 0);
    return readings;
  };
}

/** Without /proc the figures come from a library that starts processes: at most one question is under way. */
export function libraryReader(): () => Promise<Reading[]> {
  const cores = availableParallelism();
  const asked = singleFlight(async () => {
    const { default: system } = await import("systeminformation");
    const [load, memory] = await Promise.all([system.currentLoad(), system.mem()]);
    const readings: Reading[] = [];
    add(readings, "cpu_busy_ratio", load.currentLoad / 100);
    add(readings, "load_1m_ratio", load.avgLoad / cores);
    add(readings, "memory_used_bytes", memory.total - memory.available);
    add(readings, "memory_total_bytes", memory.total);
    add(readings, "swap_used_bytes", memory.swapused);
    return readings;
  }, 2 * diskWaitMs);
  return async () => {
    const flight = await asked();
    return flight.is === "answered" ? flight.value : [];
  };
}

/** Space on the file system of `dataDir`; `ask` is the real disk unless a test says otherwise. */
export function diskReader(
  dataDir: string,
  ask: (path: string) => Promise<DiskSpace> = spaceOf,
): () => Promise<Reading[]> {
  const asked = singleFlight(() => ask(dataDir), diskWaitMs);
  let subject = dataDir;
  return async () => {
    const flight = await asked();
    const readings: Reading[] = [];
    if (flight.is === "silent") add(readings, "disk_silent_seconds", flight.sinceMs / 1000, subject);
    if (flight.is !== "answered") return readings;
    subject = flight.value.mount;
    add(readings, "disk_free_bytes", flight.value.freeBytes, subject);
    add(readings, "disk_total_bytes", flight.value.totalBytes, subject);
    add(readings, "disk_free_inodes", flight.value.freeInodes, subject);
    return readings;
  };
}

/** What a file system has left; `freeInodes` is NaN where the file system has no fixed number of them. */
export interface DiskSpace {
  readonly mount: string;
  readonly freeBytes: number;
  readonly totalBytes: number;
  readonly freeInodes: number;
}

async function spaceOf(path: string): Promise<DiskSpace> {
  const { bavail, blocks, bsize, files, ffree } = await statfs(path);
  const mounts = proc("self/mounts");
  const mount = mounts === undefined ? path : mountOf(mounts, await realpath(path));
  return { mount, freeBytes: bavail * bsize, totalBytes: blocks * bsize, freeInodes: files > 0 ? ffree : Number.NaN };
}

/** Degrees of the hottest thermal zone; undefined where there is none. Not in /proc: a zone may ask slow firmware. */
async function hottest(): Promise<number | undefined> {
  const zones = (await readdir("/sys/class/thermal")).filter((name) => name.startsWith("thermal_zone"));
  const degrees = await Promise.all(
    zones.slice(0, 32).map(async (zone) => {
      try {
        return Number.parseInt(await readFile(join("/sys/class/thermal", zone, "temp"), "utf8"), 10) / 1000;
      } catch {
        return Number.NaN; // A zone that is switched off answers with an error.
      }
    }),
  );
  const there = degrees.filter(Number.isFinite);
  return there.length > 0 ? Math.max(...there) : undefined;
}
