import type { JobSpec } from "../config/sections.ts";
import type { MetaHealth } from "./meta-health.ts";

/** One thing to do when the node is DEAD. */
export interface RecoveryMove {
  readonly step: "control_plane" | "process" | "job";
  /** A workload; for `job` a job. */
  readonly name: string;
  /** The workload's process is missing: start it; else it lives and does not do its work: restart it. */
  readonly missing: boolean;
  /** A clause for people. */
  readonly because: string;
}

/** What the order is made from. */
export interface RecoveryGround {
  readonly controlPlane: readonly string[];
  /** All workloads that are not stopped on purpose, what others depend on first. */
  readonly order: readonly string[];
  readonly jobs: readonly JobSpec[];
  /** Jobs that are late, as {@link lateJobs} tells them. */
  readonly late: Readonly<Record<string, number>>;
}

/**
 * DOL-3: what is done when the node is DEAD, and in which order: the control plane, then the processes that are missing, then
 * the managed jobs. Of the jobs, those with a command that run at an interval (they may run at any moment), and those with a
 * time of day when they are late. Nothing unless the status is DEAD; no workload that was stopped on purpose.
 */
export function recoverOrder(meta: MetaHealth, ground: RecoveryGround): RecoveryMove[] {
  if (meta.status !== "DEAD") return [];
  const missing = new Set(meta.missing);
  const refused = meta.m4ControlPlane < 1;
  const inOrder = (names: readonly string[]) => ground.order.filter((name) => names.includes(name));
  const first = inOrder(ground.controlPlane).filter((name) => refused || missing.has(name));
  const then = ground.order.filter((name) => missing.has(name) && !first.includes(name));
  const jobs = ground.jobs.filter(
    ({ name, command, everyMs }) => command && (everyMs !== undefined || Object.hasOwn(ground.late, name)),
  );
  return [
    ...first.map((name) => ({
      step: "control_plane" as const,
      name,
      missing: missing.has(name),
      because: missing.has(name) ? "the control plane's process is missing" : "a port of the control plane refuses",
    })),
    ...then.map((name) => ({
      step: "process" as const,
      name,
      missing: true,
      because: "its process is missing",
    })),
    ...jobs.map(({ name }) => ({
      step: "job" as const,
      name,
      missing: false,
      because: Object.hasOwn(ground.late, name) ? "it is late" : "it runs at an interval, and the node was DEAD",
    })),
  ];
}
