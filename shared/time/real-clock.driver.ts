import { readFileSync } from "node:fs";
import type { Cancel, Clock } from "./clock.ts";

/** setTimeout fires at once for longer delays; a wake is only a hint, so an earlier one is harmless. */
const longestTimeoutMs = 2 ** 31 - 1;

/** From the scale of `performance.now()`, which is CLOCK_MONOTONIC less the process's start, to the machine's. Without BigInts a look at the clock costs a third. */
const startedMs = Math.max(apartMs(), apartMs(), apartMs());

/** Too small by the time between its two looks: 2 ms at the first call in a process. */
function apartMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000 - performance.now();
}

/** Everybody who is to be woken at one moment. */
type Round = Set<{ readonly wake: () => void }>;

/**
 * The machine's own clock. Wakes at the same whole millisecond, which rounds have (`nextRound`), share one timer: rounded each by
 * itself they would be a millisecond apart, and wake the process twice. `bootMs` reads /proc/uptime (10 ms steps); where there is none it equals `monotonicMs`. */
export function realClock(): Clock {
  const monotonicMs = () => startedMs + performance.now();
  const rounds = new Map<number, { readonly all: Round; readonly timer: NodeJS.Timeout }>();
  const begin = (atMs: number, delay: number) => {
    const all: Round = new Set();
    const timer = setTimeout(() => {
      rounds.delete(atMs);
      wakeAll(all);
    }, delay);
    const round = { all, timer };
    rounds.set(atMs, round);
    return round;
  };
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
      if (!Number.isInteger(atMs)) {
        const timer = setTimeout(wake, delay);
        return () => clearTimeout(timer);
      }
      const { all, timer } = rounds.get(atMs) ?? begin(atMs, delay);
      const one = { wake };
      all.add(one);
      return () => {
        if (!all.delete(one) || all.size > 0 || rounds.get(atMs)?.all !== all) return;
        clearTimeout(timer);
        rounds.delete(atMs);
      };
    },
  };
}

/** Who is cancelled by an earlier one is not woken; who throws keeps nobody from it, and throws as from a timer of its own. */
function wakeAll(all: Round): void {
  for (const { wake } of all) {
    try {
      wake();
    } catch (error) {
      setImmediate(() => {
        throw error;
      });
    }
  }
}
