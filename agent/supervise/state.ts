import type { Severity } from "./severity.ts";

/** One life of a workload's process. Identity is (boot, pid, start time); `id` is the marker in its environment. */
export interface Instance {
  readonly id: string;
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks since boot. With pid and boot it names a process for good. */
  readonly startTicks: number;
  readonly sinceMs: number;
  readonly sinceWallMs: number;
  /** Started by an earlier agent process: its exit status will be unknown. */
  readonly adopted: boolean;
  /** A short fingerprint of the command, folder and environment it was started with; absent when nobody knows. */
  readonly startedAs?: string;
}

/**
 * Where supervision of one workload stands.
 *
 *   waiting ── what it depends on is ready ─▶ cleaning          time is up
 *                              ┌──────── backoff ──────────────┐
 *                      cleaned │ (must wait)                   ▼        spawned              ready, or grace over
 *   stopped ──start──▶ cleaning ──────── cleaned ─────────▶ spawning ──────────▶ starting ──────────────▶ running
 *      ▲  ▲               ▲   │                                │ spawn failed     │  │                     │  │
 *      │  └── cleaned ────┼───┴──▶ completed                   │                  │  │                     │  │
 *      │                  ├────────────────────────────────────┴── crash, frozen, never ready ─────────────┘  │
 *      │                  │ gone                                                     │                        │
 *      │                  └───────────────────── stopping ◀──────── stop, restart ───┴────────────────────────┘
 */
export type Phase =
  /** Not running, on purpose: by a person, or because the agent goes down. */
  | { readonly at: "stopped" }
  /** The agent has started, and what this one depends on is not ready yet. */
  | { readonly at: "waiting" }
  /** Its restart policy says that its end was enough. */
  | { readonly at: "completed" }
  /** What the last instance left behind is being released. */
  | {
      readonly at: "cleaning";
      readonly last?: Instance;
      readonly next: "start" | "wait" | "stop" | "complete";
      readonly waitMs?: number;
      readonly retryAtMs?: number;
    }
  /** Waits for its next start. */
  | { readonly at: "backoff"; readonly untilMs: number }
  /** The intent is durable; the process may or may not exist yet, marked with this id. */
  | { readonly at: "spawning"; readonly id: string }
  /** It runs and is not judged until it is ready or the grace is over. */
  | { readonly at: "starting"; readonly instance: Instance; readonly graceUntilMs: number }
  /** It runs and is judged. */
  | { readonly at: "running"; readonly instance: Instance; readonly readySinceMs: number }
  /** It was asked to leave; after `killAtMs` its family is killed. */
  | {
      readonly at: "stopping";
      readonly instance: Instance;
      readonly killAtMs: number;
      readonly next: "start" | "stop";
    };

/** What has been seen of the instance that runs now. */
export interface Evidence {
  readonly lastBeatMs?: number;
  /** What the last beat said of its readiness. */
  readonly beatReady?: boolean;
  readonly beatStatus?: string;
  readonly probes: Readonly<
    Record<string, { readonly passed: boolean; readonly failures: number; readonly because: string }>
  >;
  /** Seen stopped by a signal (state T) since. */
  readonly stoppedSinceMs?: number;
}

/** What an incident is known to be. */
export interface IncidentFacts {
  readonly id: string;
  readonly revision: number;
  readonly at: "open" | "recovering" | "verifying" | "probation" | "closed";
  readonly symptom: Symptom;
  readonly severity: Severity;
  readonly summary: string;
  readonly detectedMs: number;
  readonly faultWallMs: number;
  readonly detectedWallMs: number;
  readonly recoveredWallMs?: number;
  readonly recoverTookMs?: number;
  readonly closedWallMs?: number;
  readonly probationUntilMs?: number;
  readonly needsPerson: boolean;
  readonly timeline: readonly {
    readonly wallMs: number;
    readonly what: string;
    readonly because: string;
    readonly decisionId: string;
  }[];
}

/** What was seen, as a stable word. */
export type Symptom = "crash" | "frozen" | "probe_failed" | "not_started" | "spawn_failed";

/** Everything that is remembered of one workload. JSON-able; stored before its effects run. */
export interface State {
  /** `stopped` is a person's word: only a person takes it back. */
  readonly intent: "run" | "stopped";
  /** Monotonic values below belong to this boot. */
  readonly bootId: string;
  readonly phase: Phase;
  readonly evidence: Evidence;
  /** The stream of chance for backoff. */
  readonly seed: number;
  /** Starts over all time. */
  readonly starts: number;
  /** When the healer started it lately; those within the window count against the budget. */
  readonly recentMs: readonly number[];
  /** Exponent of the next backoff; 0 means at once. */
  readonly attempt: number;
  readonly incident?: IncidentFacts;
  /** Why it is in this phase; one sentence for people. */
  readonly because: string;
}

/** What may happen to a workload. */
export type Event =
  /** The agent has started: what of this workload is alive, and which dependency it has to wait for. */
  | { readonly is: "boot"; readonly bootId: string; readonly found?: Instance; readonly waitFor?: readonly string[] }
  /** What it waits for has started, or has had its time. */
  | { readonly is: "needsMet" }
  | { readonly is: "spawned"; readonly instance: Instance }
  | { readonly is: "spawnFailed"; readonly because: string }
  | { readonly is: "exited"; readonly id: string; readonly code: number | null; readonly signal: string | null }
  /** It is gone, and its parent was an earlier agent: nobody can say how it ended. */
  | { readonly is: "vanished"; readonly id: string }
  | { readonly is: "cleaned"; readonly killed: number; readonly removed: readonly string[]; readonly tookMs: number }
  | { readonly is: "cleanFailed"; readonly because: string }
  | { readonly is: "beat"; readonly ready: boolean; readonly status: string }
  | { readonly is: "probed"; readonly probe: string; readonly ok: boolean; readonly because: string }
  /** The process table says that it is stopped by a signal, or no longer. */
  | { readonly is: "seen"; readonly stopped: boolean }
  | { readonly is: "look" }
  /** The agent itself was away: judge nobody for that time. */
  | { readonly is: "late"; readonly byMs: number }
  | { readonly is: "start"; readonly who: string }
  | { readonly is: "stop"; readonly who: string }
  | { readonly is: "restart"; readonly who: string }
  /** The agent goes down with everything; not a person's stop of this workload. */
  | { readonly is: "down"; readonly who: string };

/** What the driver has to do, in this order. */
export type Effect =
  /** Kills what is left of the family and releases what is declared; answers with cleaned or cleanFailed. */
  | { readonly do: "clean"; readonly last?: Instance }
  /** Answers with spawned or spawnFailed, later with exited. */
  | { readonly do: "spawn"; readonly id: string }
  | { readonly do: "signal"; readonly instance: Instance; readonly signal: string }
  | { readonly do: "incident"; readonly facts: IncidentFacts }
  | {
      readonly do: "audit";
      readonly action: string;
      readonly actor: string;
      readonly because: string;
      readonly outcome: "success" | "failure" | "refused";
      readonly tookMs?: number;
    };

/** The answer of the machine. */
export interface Step {
  readonly state: State;
  readonly effects: readonly Effect[];
}

/** A workload that was never seen before. `seed` is its stream of chance. */
export function fresh(bootId: string, seed: number): State {
  return {
    intent: "run",
    bootId,
    phase: { at: "stopped" },
    evidence: { probes: {} },
    seed,
    starts: 0,
    recentMs: [],
    attempt: 0,
    because: "never started",
  };
}

/** The instance of this phase, when there is one. */
export function instanceOf(phase: Phase): Instance | undefined {
  return phase.at === "starting" || phase.at === "running" || phase.at === "stopping" ? phase.instance : undefined;
}

/** The last process of which this phase speaks, alive or not: a clean-up finds its family by it. */
export function lastOf(phase: Phase): Instance | undefined {
  return phase.at === "cleaning" ? phase.last : instanceOf(phase);
}

/** It does not run because a person or its own end said so; a start of the agent without its memory must not undo that. */
export function isAtRest(state: State): boolean {
  return state.intent === "stopped" || state.phase.at === "completed";
}
