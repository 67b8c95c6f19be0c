import type { FamilyLimits, FamilySight, Held } from "./judge.ts";

/** Near a limit: one second is soon enough, for the node itself is asked every 250 ms. */
const nearMs = 1000;
const watchedMs = 5000;
/** What nothing but the kernel bounds is looked at to keep the figures true. */
const restMs = 60_000;
const tasksNear = 0.8;
/** It may double between two looks. */
const memoryNear = 0.5;

/** How long a family may go without a look, after this one. */
export function lookAgainMs(limits: FamilyLimits, held: Held, sight: FamilySight): number {
  const { tasks = 0, memoryBytes = 0 } = sight;
  if (limits.tasks > 0 && tasks >= tasksNear * limits.tasks) return nearMs;
  if (limits.memoryBytes > 0) {
    if (held.memory) return watchedMs; // what the kernel did is to be told
    return memoryBytes >= memoryNear * limits.memoryBytes ? nearMs : watchedMs;
  }
  return limits.cpu > 0 && !held.cpu ? watchedMs : restMs;
}

/** How long the whole node may go without a look: while memory is plenty nobody needs to know who holds it. */
export function lookAtAllAgainMs(availableBytes: number, totalBytes: number): number {
  return availableBytes < plentyRatio * totalBytes ? watchedMs : restMs;
}

const plentyRatio = 0.25;
