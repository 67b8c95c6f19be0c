import { readFileSync } from "node:fs";
import type { Cancel, Clock } from "./clock.ts";

/** setTimeout fires at once for longer delays; a wake is only a hint, so an earlier one is harmless. */
const longestTimeoutMs = 2 ** 31 - 1;

/** From the scale of `performance.now()`, which is CLOCK_MONOTONIC less the process's start, to the machine's. Without BigInts a look at the clock costs a third. */
const startedMs = Number(process.hrtime.bigint() / 1000n) / 1000 - performance.now();

/** The machine's own clock. `bootMs` reads /proc/uptime (10 ms steps); where there is none it equals `monotonicMs`. */
export function realClock(): Clock {
  const monotonicMs = () => startedMs + performance.now();
  return {
    monotonicMs,
    bootMs() {
      try {
        return Number.parseFloat(readFileSync("/proc/uptime", "utf8")) * 1000;
      } catch {
        return monotonicMs();
      }
    },
    wallMs: () => Date.now(),
    wakeAt(atMs, wake): Cancel {
      const delay = Math.min(Math.max(0, Math.ceil(atMs - monotonicMs())), longestTimeoutMs);
      const timer = setTimeout(wake, delay);
      return () => clearTimeout(timer);
    },
  };
}
