import type { TimeOfDay } from "../config/sections.ts";
import type { Severity } from "../supervise/severity.ts";

/** What every trigger has. */
interface Common {
  /** Unique. */
  readonly name: string;
  readonly severity: Severity;
  /** The playbook that it asks for; empty: the diagnosis chooses, or nothing beyond the supervision is needed. */
  readonly playbook: string;
  /** Switched off in the config: listed, never looked at. */
  readonly off: boolean;
  /** It is not one of the box. */
  readonly added: boolean;
  /** Only these workloads; empty: all. */
  readonly workloads: readonly string[];
  /** The condition must hold this long without a break before it fires; 0: at once. */
  readonly holdMs: number;
  /** The condition must be over this long without a break before it counts as over. */
  readonly clearHoldMs: number;
  /**
   * After it has fired for a subject, not again for this long. While its condition goes on holding, it fires again each time
   * that this has passed; with 0 only when it was over in between. Trust that falls no further fires again each time later: it
   * comes back within days, by time alone.
   */
  readonly cooldownMs: number;
}

/** A figure and where it becomes bad. `clear` is on the good side of `threshold`, or equal to it. */
interface Level {
  readonly metric: string;
  readonly side: "above" | "below";
  readonly threshold: number;
  readonly clear: number;
}

interface Counted {
  readonly count: number;
  readonly withinMs: number;
}

/** A figure is beyond its threshold. */
export type LevelTrigger = Common & Level & { readonly kind: "threshold" | "trust" };
/** No beat of a workload for `withinMs`, or for its own `beat.timeout` where that is longer. */
type SilenceTrigger = Common & { readonly kind: "beat_silence"; readonly withinMs: number };
/** `count` of them within `withinMs`; an error burst must also be far more than usual. */
export type CountTrigger = Common & Counted & { readonly kind: "api_timeouts" | "error_burst" };
/** A fact: it fires when told, and is over when its workload is seen alive again. */
export type FactTrigger = Common & { readonly kind: "crash" | "frozen" | "sandbox" };
type AnomalyTrigger = Common & { readonly kind: "anomaly" };
/** By the machine's own clock. */
export type ScheduleTrigger = Common & { readonly kind: "schedule"; readonly at: TimeOfDay };
/** A figure will reach its limit within `withinMs`. */
export type TrendTrigger = Common & { readonly kind: "trend"; readonly metric: string; readonly withinMs: number };
type JobTrigger = Common & { readonly kind: "job_late" };

/** A condition that is watched, and what it asks for. */
export type Trigger =
  | LevelTrigger
  | SilenceTrigger
  | CountTrigger
  | FactTrigger
  | AnomalyTrigger
  | ScheduleTrigger
  | TrendTrigger
  | JobTrigger;

/** The playbooks of the box (GRC-3). */
export const boxPlaybooks: readonly string[] = [
  "restart-kernel",
  "restart-service",
  "performance-optimization",
  "resource-cleanup",
  "rollback-deployment",
  "quarantine-artifacts",
  "run-diagnostics",
  "daily-maintenance",
  "weekly-maintenance",
];

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;

const plain = { off: false, added: false, workloads: [] } as const;
const times = (holdMs: number, clearHoldMs: number, cooldownMs: number) => ({ holdMs, clearHoldMs, cooldownMs });

/**
 * Where the machine is read every 5 s a hold of 3 s makes 8 s at most from the threshold to the symptom (GRC-11: below 10 s),
 * and a driver that reads again when the hold is over has two readings. What a remedy has to end cools down in less than the
 * default probation of 5 minutes, so that a relapse is seen in it.
 */
const sampled = times(3 * second, 5 * second, 2 * minute);

/** The triggers of the box, all active (GRC-2). Thresholds are the source's own; clear thresholds and times are ours. */
export const catalogue: readonly Trigger[] = [
  {
    ...plain,
    name: "workload-silent",
    kind: "beat_silence",
    withinMs: minute,
    severity: "high",
    playbook: "restart-kernel",
    ...times(0, 5 * second, minute),
  },
  // The supervision restarts these two by itself, at once: they are listed and counted.
  {
    ...plain,
    name: "workload-crashed",
    kind: "crash",
    severity: "high",
    playbook: "",
    ...times(0, 2 * second, 0),
  },
  {
    ...plain,
    name: "workload-frozen",
    kind: "frozen",
    severity: "high",
    playbook: "",
    ...times(0, 2 * second, 0),
  },
  {
    ...plain,
    name: "api-timeouts",
    kind: "api_timeouts",
    count: 5,
    withinMs: minute,
    severity: "high",
    playbook: "restart-service",
    ...times(0, 5 * second, minute),
  },
  {
    ...plain,
    name: "high-latency",
    kind: "threshold",
    metric: "p95_latency_ms",
    side: "above",
    threshold: 1000,
    clear: 900,
    severity: "medium",
    playbook: "performance-optimization",
    ...sampled,
  },
  {
    ...plain,
    name: "cpu-high",
    kind: "threshold",
    metric: "cpu_busy_ratio",
    side: "above",
    threshold: 0.85,
    clear: 0.75,
    severity: "medium",
    playbook: "performance-optimization",
    ...sampled,
  },
  {
    ...plain,
    name: "memory-high",
    kind: "threshold",
    metric: "memory_used_ratio",
    side: "above",
    threshold: 0.8,
    clear: 0.75,
    severity: "high",
    playbook: "resource-cleanup",
    ...sampled,
  },
  {
    ...plain,
    name: "disk-high",
    kind: "threshold",
    metric: "disk_used_ratio",
    side: "above",
    threshold: 0.9,
    clear: 0.85,
    severity: "high",
    playbook: "resource-cleanup",
    ...times(3 * second, 5 * second, 4 * minute),
  },
  {
    ...plain,
    name: "trust-drop",
    kind: "trust",
    metric: "trust",
    side: "below",
    threshold: 0.7,
    clear: 0.75,
    severity: "high",
    playbook: "rollback-deployment",
    ...times(0, 5 * second, 4 * minute),
  },
  {
    ...plain,
    name: "sandbox-crash",
    kind: "sandbox",
    severity: "high",
    playbook: "quarantine-artifacts",
    ...times(0, 2 * second, 10 * second),
  },
  {
    ...plain,
    name: "error-burst",
    kind: "error_burst",
    count: 20,
    withinMs: minute,
    severity: "medium",
    playbook: "run-diagnostics",
    ...times(0, 10 * second, 4 * minute),
  },
  {
    ...plain,
    name: "anomaly",
    kind: "anomaly",
    severity: "low",
    playbook: "run-diagnostics",
    ...times(3 * second, 15 * second, 10 * minute),
  },
  {
    ...plain,
    name: "memory-leak",
    kind: "trend",
    metric: "process_memory_bytes",
    withinMs: 15 * minute,
    severity: "medium",
    playbook: "restart-service",
    ...times(3 * second, 15 * second, 30 * minute),
  },
  {
    ...plain,
    name: "disk-filling",
    kind: "trend",
    metric: "disk_used_ratio",
    withinMs: hour,
    severity: "medium",
    playbook: "resource-cleanup",
    ...times(3 * second, 15 * second, 30 * minute),
  },
  {
    ...plain,
    name: "job-late",
    kind: "job_late",
    severity: "medium",
    playbook: "",
    ...times(0, 0, 10 * minute),
  },
  {
    ...plain,
    name: "daily-check",
    kind: "schedule",
    at: { hour: 3, minute: 0 },
    severity: "low",
    playbook: "daily-maintenance",
    ...times(0, 0, 0),
  },
  {
    ...plain,
    name: "weekly-check",
    kind: "schedule",
    at: { hour: 3, minute: 30, weekday: 0 },
    severity: "low",
    playbook: "weekly-maintenance",
    ...times(0, 0, 0),
  },
];
