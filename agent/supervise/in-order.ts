/** Starts in the order of dependencies: at the agent's start, and when the kill switch goes off. Pure; the waits are the supervisor's. */
import type { WorkloadSpec } from "./spec.ts";
import { hasStarted } from "./stands.ts";
import type { Event, State } from "./state.ts";

/** A dependent waits at most the grace of what it depends on, and this. */
const startMarginMs = 10_000;

/** What of the supervisor is needed. */
export interface Starter {
  spec(name: string): WorkloadSpec;
  post(name: string, event: Event): void;
  /** Resolves when the state satisfies `holds`, at the latest after `limitMs`. */
  until(name: string, holds: (state: State) => boolean, limitMs: number): Promise<boolean>;
}

/**
 * Tells each that waits (`waits`: for whom) once all of those have started, or have had their time; never waits for ever. `order`
 * holds everybody, dependencies first. Resolves when all have started or had their time.
 */
export async function letGoInOrder(
  starter: Starter,
  order: readonly string[],
  waits: ReadonlyMap<string, readonly string[]>,
): Promise<void> {
  const started = new Map<string, Promise<unknown>>();
  for (const name of order) {
    const needs = waits.get(name) ?? [];
    const told =
      needs.length === 0
        ? Promise.resolve()
        : Promise.all(needs.map((need) => started.get(need))).then(() => starter.post(name, { is: "needsMet" }));
    const limitMs = starter.spec(name).startGraceMs + startMarginMs;
    started.set(
      name,
      told.then(() => starter.until(name, hasStarted, limitMs)),
    );
  }
  await Promise.all(started.values());
}
