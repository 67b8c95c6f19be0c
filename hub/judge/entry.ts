import type { Heartbeat, Status } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import type { Policy } from "../escalation/policy.ts";
import { deadline, type Health, heardAt, type State } from "../escalation/state.ts";
import type { NodeRow } from "../store/rows.ts";

/** One node in memory. The times of its beats are in the {@link Beats}, under its slot. */
export interface Entry {
  readonly id: string;
  readonly slot: number;
  readonly policy: Policy;
  row: NodeRow;
  state: State;
  health: Health;
  /** True while a session is open. */
  connected: boolean;
  heartbeat: Heartbeat | undefined;
  status: Status | undefined;
}

/**
 * The last beat and the next deadline of every node, as arrays of numbers: a beat in the steady state writes one of them,
 * and a sweep reads both in order. Monotonic milliseconds.
 */
export class Beats {
  #lastMs = new Float64Array(64).fill(Number.NEGATIVE_INFINITY);
  #dueMs = new Float64Array(64);

  add(slot: number): void {
    if (slot < this.#lastMs.length) return;
    const grow = (from: Float64Array) => {
      const to = new Float64Array(from.length * 2).fill(Number.NEGATIVE_INFINITY);
      to.set(from);
      return to;
    };
    this.#lastMs = grow(this.#lastMs);
    this.#dueMs = grow(this.#dueMs);
  }
  beat(slot: number, atMs: number): void {
    this.#lastMs[slot] = atMs;
  }
  /** -Infinity before the first beat. */
  lastMs(slot: number): number {
    return this.#lastMs[slot] ?? Number.NEGATIVE_INFINITY;
  }
  /** The state with the last beat in it, as a machine has to see it. */
  heard(entry: Entry): State {
    return heardAt(entry.state, this.lastMs(entry.slot));
  }
  /** To be called whenever the state has changed. */
  plan(entry: Entry): void {
    this.#dueMs[entry.slot] = deadline(entry.policy, this.heard(entry));
  }
  /** True when a sweep has something to do for the node. A beat since the last plan only moves the plan. */
  due(entry: Entry, nowMs: number): boolean {
    if (nowMs <= (this.#dueMs[entry.slot] ?? 0)) return false;
    this.plan(entry);
    return nowMs > (this.#dueMs[entry.slot] ?? 0);
  }
}
