import { readdirSync, readFileSync } from "node:fs";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { parseProcessStatus, parseProcessTimes } from "./proc-text.ts";
import type { Reading } from "./reading.ts";

/** Linux counts CPU time of processes in hundredths of a second on every machine (USER_HZ). */
const ticksPerSecond = 100;

/** Figures of single processes. */
export interface ProcessSensors {
  /**
   * What can be read of these processes now: process_cpu_ratio (of one core, since the last call; missing at the first),
   * process_memory_bytes (resident), process_threads, process_open_files (missing for another user's process). A process
   * that is gone, or a system without /proc, gives nothing.
   */
  read(processes: readonly { readonly subject: string; readonly pid: number }[]): Reading[];
}

interface Seen {
  readonly startTicks: number;
  readonly cpuTicks: number;
  readonly ms: number;
}

/** Figures of processes of this machine; remembers only those that were asked for at the last call. */
export function processSensors(clock: Clock): ProcessSensors {
  let before = new Map<number, Seen>();
  return {
    read(processes) {
      const now = new Map<number, Seen>();
      const readings: Reading[] = [];
      for (const { subject, pid } of processes) {
        const add = (sensor: string, value: number) => readings.push({ sensor, subject, value });
        const times = parseProcessTimes(textOf(pid, "stat") ?? "");
        const status = textOf(pid, "status");
        if (!times || status === undefined) continue;
        const seen: Seen = { ...times, ms: clock.monotonicMs() };
        now.set(pid, seen);
        const last = before.get(pid);
        // The same PID with another start is another process.
        if (last?.startTicks === seen.startTicks && seen.ms > last.ms) {
          add("process_cpu_ratio", ((seen.cpuTicks - last.cpuTicks) / ticksPerSecond / (seen.ms - last.ms)) * 1000);
        }
        const { memoryBytes, threads } = parseProcessStatus(status);
        add("process_memory_bytes", memoryBytes);
        add("process_threads", threads);
        const files = openFiles(pid);
        if (files !== undefined) add("process_open_files", files);
      }
      before = now;
      return readings;
    },
  };
}

function textOf(pid: number, name: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "utf8");
  } catch {
    return undefined;
  }
}

function openFiles(pid: number): number | undefined {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return undefined;
  }
}
