import type { Diagnosis } from "../diagnosis/diagnose.ts";
import type { Facts } from "../diagnosis/facts.ts";
import type { Rung } from "../ladder/rungs.ts";
import type { PreparedRung } from "../remedies/ports.ts";
import type { Symptom as Triggered } from "../triggers/symptom.ts";
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
 *
 *   A second failure within an incident is diagnosed before the next start, and the ladder chooses:
 *
 *   cleaning ── cleaned ─▶ deciding ── examined ─▶ spawning | backoff            quick restart, safe mode, slow retry
 *                              ▲        └────────▶ mending ── remedied ─▶ spawning   the rungs that prepare something
 *                              └──── it failed, or its budget is over ───┘
 *
 *   While it runs, a trigger's playbook may be at work on it (`treatment`): playing ─▶ watching ─▶ over, or the ladder. What a
 *   trigger has asked for counts as recovered when that is over (`awaited`), not when the process is up: then it is watched, too.
 */
export type Phase =
  /** Not running, on purpose: by a person, or because the agent goes down. */
  | { readonly at: "stopped" }
  /** The agent has started, or the kill switch went off, and what this one depends on is not ready yet. */
  | { readonly at: "waiting" }
  /** Its restart policy says that its end was enough. */
  | { readonly at: "completed" }
  /** What the last instance left behind is being released. */
  | {
      readonly at: "cleaning";
      readonly last?: Instance;
      readonly next: "start" | "wait" | "stop" | "complete" | "decide";
      readonly waitMs?: number;
      readonly retryAtMs?: number;
      /** How often it has failed. */
      readonly failures?: number;
      /** With next "decide": what the ladder will have to know. */
      readonly ask?: Ask;
    }
  /** It is down and clean; the facts for the diagnosis are being gathered. */
  | { readonly at: "deciding"; readonly ask: Ask }
  /** It is down; a rung or a playbook prepares its next start. */
  | { readonly at: "mending"; readonly id: string; readonly untilMs: number; readonly remedy: Remedy }
  /** Waits for its next start. */
  | {
      readonly at: "backoff";
      readonly untilMs: number;
      /** The wait of a slow retry: only a person ends it sooner, or what it waits for. */
      readonly slow?: true;
      /** Its failure began in this other workload: once that is well again it starts at once. */
      readonly waitsFor?: string;
      /** Of {@link Ask}: only what has come up since can have been what it lacked. */
      readonly triedMs?: number;
    }
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
      readonly next: "start" | "wait" | "stop" | "decide";
      readonly waitMs?: number;
      readonly ask?: Ask;
    };

/** What the choice of a rung has to know of the moment of the failure. */
export interface Ask {
  /** It had been up and healthy long enough: its backoff starts anew. */
  readonly stable: boolean;
  /** It failed on probation. */
  readonly relapse: boolean;
  /** It had been ready since its last start. */
  readonly wasReady: boolean;
  /** When the process that failed was started, or its start or its remedy failed; absent: before a reboot. */
  readonly triedMs?: number;
  /** The trigger's playbook asks for this. */
  readonly prefer?: Remedy;
  /** It asks for a playbook that others go before: why. */
  readonly demoted?: {
    readonly because: string;
    /** Its name, when it is nothing but the quick restart. */
    readonly restart?: string;
  };
}

/** What prepares the next start. */
export type Remedy =
  | { readonly by: "rung"; readonly rung: PreparedRung }
  | { readonly by: "playbook"; readonly playbook: string };

/** A trigger whose end says that a recovery has helped. */
export interface Awaited {
  readonly trigger: string;
  /** What it asks for; may be empty. */
  readonly playbook: string;
  readonly severity: Severity;
  /** Nothing is known of its condition since it had held: what it was about is gone. */
  readonly lapsed?: true;
  /** Of a playbook that others go before. last: they do. next: they had their turn, and it is played if the restart does not help either. */
  readonly turn?: "last" | "next";
}

/** A playbook at work on a workload that runs, or the look whether something has helped. */
export interface Treatment extends Awaited {
  /** Of the run; of a look alone nobody asks. */
  readonly id: string;
  /** playing: its steps run. watching: done, and the trigger has to be over by `untilMs`. resting: it did not help, and nothing harsher is due. */
  readonly at: "playing" | "watching" | "resting";
  readonly untilMs: number;
  /** The trigger's condition is over already. */
  readonly over: boolean;
  /** See {@link Triggered}. */
  readonly lasting?: true;
}

/** One remedy that was tried. */
export interface AttemptFacts {
  /** Absent: a playbook alone. */
  readonly rung?: Rung;
  readonly playbook?: string;
  readonly wallMs: number;
  readonly ms: number;
  /** Undefined while it is not known. */
  readonly ok?: boolean;
  readonly because: string;
  readonly tookMs?: number;
  /** It was verified, and what it had healed came again on probation. */
  readonly relapsed?: true;
}

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
  /** A {@link Symptom}, or the name of a trigger. */
  readonly symptom: string;
  readonly severity: Severity;
  readonly summary: string;
  /** The trigger that opened it. */
  readonly trigger?: string;
  readonly playbook?: string;
  readonly diagnosis?: Diagnosis;
  /** At most 16, the middle ones go first. */
  readonly attempts: readonly AttemptFacts[];
  readonly failures: number;
  /** Its phases are those of its newest failure: a relapse is counted from its own fault, the time before it was well. */
  readonly faultWallMs: number;
  readonly detectedMs: number;
  readonly detectedWallMs: number;
  readonly decidedWallMs?: number;
  /** When the first deed after that began: a clean-up, a signal, a start, a step of a remedy. */
  readonly actedWallMs?: number;
  readonly recoveredWallMs?: number;
  /** From each detection to the verification after it, all failures together: time in which it was well is not in it. */
  readonly recoverTookMs?: number;
  /** What of it came before the newest failure. */
  readonly downBeforeMs?: number;
  readonly closedWallMs?: number;
  readonly probationUntilMs?: number;
  readonly needsPerson: boolean;
  /** For nothing but a clean-up that fails: once that has worked, nobody is needed. */
  readonly neededToClean?: true;
  /** A person was needed at some time in it, and stays so when nobody is any more. */
  readonly personCalled?: boolean;
  readonly timeline: readonly {
    readonly wallMs: number;
    readonly what: string;
    readonly because: string;
    readonly decisionId: string;
  }[];
}

/** What was seen, as a stable word. */
export type Symptom =
  | "crash"
  | "frozen"
  | "probe_failed"
  | "not_started"
  | "spawn_failed"
  | "not_cleaned"
  | "no_progress"
  | "over_limit"
  | "sandbox_crash";

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
  /** It runs with its reduced config until a person restarts it. */
  readonly mode?: "safe";
  /** The kill switch is on: not started by anything, whatever the intent. */
  readonly held?: true;
  readonly treatment?: Treatment;
  /** While it is not up: what has to be over before its incident counts as recovered. Once it is up, the treatment knows. */
  readonly awaited?: Awaited;
  /** Why it is in this phase; one sentence for people. */
  readonly because: string;
}

/** What may happen to a workload. */
export type Event =
  /** The agent has started: what of this workload is alive, and which dependency it has to wait for. */
  | {
      readonly is: "boot";
      readonly bootId: string;
      readonly found?: Instance;
      readonly waitFor?: readonly string[];
      readonly needsDown?: readonly string[];
      /** When the agent before this one was last seen at work; absent: nobody knows. */
      readonly guardedUntilWallMs?: number | undefined;
    }
  /** What it waits for has started, or has had its time. */
  | { readonly is: "needsMet" }
  /** The workload in which its failure began, and all that it depends on, are well again. */
  | { readonly is: "rootWell" }
  | { readonly is: "spawned"; readonly instance: Instance }
  | { readonly is: "spawnFailed"; readonly because: string }
  | {
      readonly is: "exited";
      readonly id: string;
      readonly code: number | null;
      readonly signal: string | null;
      readonly needsDown?: readonly string[];
    }
  /** It is gone, and its parent was an earlier agent: nobody can say how it ended. */
  | {
      readonly is: "vanished";
      readonly id: string;
      readonly needsDown?: readonly string[];
      /** Until when it is known to have lived; absent: until now. */
      readonly livedUntilWallMs?: number;
    }
  | { readonly is: "cleaned"; readonly killed: number; readonly removed: readonly string[]; readonly tookMs: number }
  | { readonly is: "cleanFailed"; readonly because: string }
  | { readonly is: "beat"; readonly ready: boolean; readonly status: string }
  | { readonly is: "probed"; readonly probe: string; readonly ok: boolean; readonly because: string }
  /** The process table says that it is stopped by a signal, or no longer. */
  | { readonly is: "seen"; readonly stopped: boolean }
  | { readonly is: "look" }
  /** Somebody else has judged it: no progress, over a limit. */
  | { readonly is: "unwell"; readonly symptom: Symptom; readonly because: string }
  /** A trigger has fired for it. */
  | { readonly is: "symptom"; readonly symptom: Triggered }
  /** What a trigger had fired for is over; is unknown, for its process is gone or silent; holds again after that, too soon to fire. */
  | { readonly is: "cleared" | "lapsed" | "holding"; readonly trigger: string }
  /** What the diagnosis needs. */
  | { readonly is: "examined"; readonly facts: Facts }
  /** The remedy of this id has ended; `through`: it came to its end, although a step that may fail has failed. */
  | {
      readonly is: "remedied";
      readonly id: string;
      readonly ok: boolean;
      readonly because: string;
      readonly through?: true;
    }
  /** What was decided for its incident is being done from now on. */
  | { readonly is: "acted" }
  /** The agent itself was away: judge nobody for that time. */
  | { readonly is: "late"; readonly byMs: number }
  | { readonly is: "start"; readonly who: string }
  | { readonly is: "stop"; readonly who: string }
  /** `safe`: with its reduced config, where one is declared. */
  | { readonly is: "restart"; readonly who: string; readonly safe?: true }
  /** The kill switch goes on or off; then what it depends on may have to be ready first (`waitFor`). */
  | { readonly is: "hold"; readonly who: string }
  | { readonly is: "release"; readonly who: string; readonly waitFor?: readonly string[] }
  /** The agent goes down with everything; not a person's stop of this workload. */
  | { readonly is: "down"; readonly who: string };

/** What the driver has to do, in this order. */
export type Effect =
  /** Kills what is left of the family and releases what is declared; answers with cleaned or cleanFailed. */
  | { readonly do: "clean"; readonly last?: Instance }
  /** Answers with spawned or spawnFailed, later with exited. */
  | { readonly do: "spawn"; readonly id: string; readonly safe?: true }
  /** Answers with examined, within about a second. */
  | { readonly do: "examine" }
  /** Prepares the next start, or runs a playbook beside the workload; answers with remedied. Harmless when asked twice. */
  | { readonly do: "remedy"; readonly id: string; readonly remedy: Remedy; readonly budgetMs: number }
  | { readonly do: "cancelRemedy"; readonly id: string }
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

/** The instance that an earlier agent process has started: its end is no event, and its status will be unknown. */
export function adoptedIn({ phase }: State): Instance | undefined {
  const instance = instanceOf(phase);
  return instance?.adopted ? instance : undefined;
}

/** The last process of which this phase speaks, alive or not: a clean-up finds its family by it. */
export function lastOf(phase: Phase): Instance | undefined {
  return phase.at === "cleaning" ? phase.last : instanceOf(phase);
}

/** Is there anything in this step that has to be written down? Evidence alone is not: it is gathered anew after a restart. */
export function isKept(before: State, { state, effects }: Step): boolean {
  const differs = (part: "phase" | "intent" | "treatment" | "awaited") => before[part] !== state[part];
  return effects.length > 0 || differs("phase") || differs("intent") || differs("treatment") || differs("awaited");
}

/** May anything but a person start it? */
export function mayRun(state: State): boolean {
  return state.intent === "run" && state.held !== true;
}

/** A state as this version reads it: what an earlier version did not write is filled in. */
export function remembered(state: State): State {
  if (!state.incident || state.incident.attempts !== undefined) return state;
  return { ...state, incident: { ...(state.incident as IncidentFacts), attempts: [], failures: 1 } };
}
