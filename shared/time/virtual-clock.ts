import type { Cancel, Clock } from "./clock.ts";

interface Wake {
  readonly atMs: number;
  readonly order: number;
  readonly wake: () => void;
}

/**
 * A clock that moves only when told to. `advance` runs due wakes in the order of their time, also those that are set on
 * the way. Starts at `startMs` on the monotonic scale; the wall stands `wallOffsetMs` ahead of it and can be stepped.
 */
export class VirtualClock implements Clock {
  #nowMs: number;
  #sleptMs = 0;
  #wallOffsetMs: number;
  #wakes: Wake[] = [];
  #order = 0;

  constructor(startMs = 0, wallOffsetMs = Date.UTC(2026, 0, 1)) {
    this.#nowMs = startMs;
    this.#wallOffsetMs = wallOffsetMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }
  bootMs(): number {
    return this.#nowMs + this.#sleptMs;
  }
  wallMs(): number {
    return this.#nowMs + this.#sleptMs + this.#wallOffsetMs;
  }
  wakeAt(atMs: number, wake: () => void): Cancel {
    const entry = { atMs, order: this.#order++, wake };
    this.#wakes.push(entry);
    return () => {
      const at = this.#wakes.indexOf(entry);
      if (at >= 0) this.#wakes.splice(at, 1);
    };
  }

  /** Lets `ms` pass and runs what falls due, in order. */
  advance(ms: number): void {
    const until = this.#nowMs + ms;
    for (;;) {
      const next = this.#nextDue(until);
      if (!next) break;
      this.#wakes.splice(this.#wakes.indexOf(next), 1);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.wake();
    }
    this.#nowMs = until;
  }

  /** Lets `ms` pass without running anything: the process was stopped or starved. The next `advance` runs what is late. */
  stall(ms: number): void {
    this.#nowMs += ms;
  }
  /** The machine was suspended: boot and wall time pass, monotonic time does not. */
  suspend(ms: number): void {
    this.#sleptMs += ms;
  }
  /** Somebody set the wall clock. */
  stepWall(ms: number): void {
    this.#wallOffsetMs += ms;
  }

  #nextDue(until: number): Wake | undefined {
    let next: Wake | undefined;
    for (const wake of this.#wakes) {
      if (wake.atMs > until) continue;
      if (!next || wake.atMs < next.atMs || (wake.atMs === next.atMs && wake.order < next.order)) next = wake;
    }
    return next;
  }
}
