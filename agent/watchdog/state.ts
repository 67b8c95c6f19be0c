/** A process for good: a number alone is given out again. `startTicks` is field 22 of /proc/PID/stat, 0 where there is no /proc. */
export interface Identity {
  readonly pid: number;
  readonly startTicks: number;
}

/** What the guarded one says it is about to do. Only `stop` and `down` keep it from being started again. */
export type Farewell = "stop" | "down" | "agent_restart";

/**
 * Where one process stands that guards another.
 *
 *              ┌────────── its process is gone: a crash ──────────┐ the first at once, then with backoff
 *              ▼                                                  │
 *   waiting ─ time ─▶ starting ── a sign of life ─────────▶ guarded ── says that it leaves ─▶ leaving
 *      ▲               │ │                                   │    ▲                              │
 *      │    failed     │ │ no sign in time    silent: hung,  │    │ somebody starts one          │ gone
 *      ├───────────────┘ │                    or stopped     │    │                              ▼
 *      │                 └───────────▶ ending ◀──────────────┘    └───────────────────── resting, or left
 *      │        gone                     │
 *      ├─────────────────────────────────┘
 *      └── too many ─▶ cooldown ─ time ─▶ emergency ─ ended ─▶ waiting, one slow start after the other, for ever
 *
 * A sign of life of any process leads to `guarded` from everywhere but `leaving` and `ending`.
 */
export type Phase =
  /** A person, or who stopped the service, does not want it: nothing is done until somebody starts one. */
  | { readonly at: "resting"; readonly because: Farewell }
  /** For the next start. `slow`: nobody guards the workloads for long, so the critical ones are tended. */
  | { readonly at: "waiting"; readonly untilMs: number; readonly slow: boolean; readonly tendAtMs: number }
  /** Started, and nothing heard yet. `process` is missing until the start has returned. */
  | { readonly at: "starting"; readonly process?: Identity; readonly untilMs: number }
  /** It lives and is judged; `guards` is false while it says that it still starts. */
  | {
      readonly at: "guarded";
      readonly process: Identity;
      readonly guards: boolean;
      readonly sinceMs: number;
      readonly seenMs: number;
      readonly lookAtMs: number;
      /** How long it had waited for a processor in all, at the newest look, and at the one with or before its last sign of life. */
      readonly waited?: { readonly lookMs: number; readonly seenMs: number };
      /** When everything is forgiven; infinite once it is, or while it still starts. */
      readonly wellAtMs: number;
    }
  /** It was sent SIGKILL, as one that hangs or is not wanted before it guards. `failed`: it had never shown a sign of life. */
  | {
      readonly at: "ending";
      readonly process: Identity;
      readonly lookAtMs: number;
      readonly rounds: number;
      readonly failed: boolean;
      readonly because: string;
    }
  /** It said that it leaves, or was asked to by `thenLeave`. */
  | {
      readonly at: "leaving";
      readonly process: Identity;
      readonly farewell: Farewell;
      readonly untilMs: number;
      readonly lookAtMs: number;
      readonly thenLeave: boolean;
    }
  | { readonly at: "cooldown"; readonly untilMs: number; readonly tendAtMs: number }
  | { readonly at: "emergency"; readonly untilMs: number }
  /** The end of the one who guards. */
  | { readonly at: "left" };

/**
 * What follows the end of the process that lives now, whatever ends it. `going`: nobody, and it is on its way down. `last`: nobody,
 * and it does not know. `next`: it is on its way down, and after it one is wanted again.
 */
export type Word = "going" | "last" | "next";

/** Everything that is known; kept in memory only, for the guarded one's life is in /proc and a person's word in a file. */
export interface State {
  readonly phase: Phase;
  /** Restarts since the last good time. */
  readonly restarts: number;
  /** Starts in a row that came to nothing. */
  readonly failedStarts: number;
  readonly emergencyDone: boolean;
  readonly program: "current" | "good";
  /** A person's newest word, while the process that it is about still lives. */
  readonly word?: Word;
  /** Another one that shows signs of life beside the one that is guarded. */
  readonly other?: { readonly process: Identity; readonly seenMs: number };
}

/** What happens. */
export type Event =
  /** Time has passed: deadlines are compared. */
  | { readonly is: "woke" }
  /** We ourselves were away for so long, and judge nobody for it. */
  | { readonly is: "late"; readonly ms: number }
  /** A sign of life; `guards` is false while it says that it still starts. */
  | { readonly is: "seen"; readonly process: Identity; readonly guards: boolean }
  /** The answer to a look, or an exit that was reported. `quiet`: it ended with code 0. */
  | ({ readonly is: "looked"; readonly process: Identity; readonly quiet?: boolean } & Look)
  | { readonly is: "spawned"; readonly process: Identity }
  | { readonly is: "spawnFailed"; readonly because: string }
  | { readonly is: "told"; readonly process: Identity; readonly farewell: Farewell }
  /** A person asked it to go down, and it has begun to. */
  | { readonly is: "word"; readonly process: Identity }
  /** Init, or a person when no agent answers. `leave`: whoever guards ends too; `run`: one is wanted after all, now. */
  | { readonly is: "ordered"; readonly to: "leave" | "rest" | "run" }
  /** The program that is in use is not what was installed. */
  | { readonly is: "damaged" }
  /** `later`: it may not run again within the hour, and has done nothing. */
  | { readonly is: "emergencyEnded"; readonly ok: boolean; readonly later?: boolean; readonly because: string };

/** `stopped`: by a signal or a debugger. `gone`: also a zombie. */
export type Sight = "running" | "stopped" | "gone";

/** `waitedMs`: so long, since it began, its main thread was ready to run while others held the processors; absent where nobody knows. */
export interface Look {
  readonly sight: Sight;
  readonly waitedMs?: number;
}

/** What is to be done, in this order, after the new state was taken. */
export type Effect =
  | { readonly do: "look"; readonly process: Identity }
  | { readonly do: "spawn"; readonly program: "current" | "good" }
  /** Compare the program with its checksum; the answer, if any, is `damaged`. */
  | { readonly do: "examine" }
  | { readonly do: "signal"; readonly process: Identity; readonly signal: "SIGKILL" | "SIGTERM" }
  | { readonly do: "emergency"; readonly program: "current" | "good" }
  /** A person wants one to run: what an older word has left in its file goes. */
  | { readonly do: "clearWord" }
  /** Start the critical workloads that do not live. */
  | { readonly do: "tend" }
  | { readonly do: "leave" }
  /** One line of the log: a transition, and why. */
  | { readonly do: "note"; readonly from: string; readonly to: string; readonly because: string };

/** A step's answer. */
export interface Step {
  readonly state: State;
  readonly effects: readonly Effect[];
}

/** The moment of a step. `chance` is in [0, 1). */
export interface Now {
  readonly ms: number;
  readonly chance: number;
}

export function same(a: Identity | undefined, b: Identity | undefined): boolean {
  return a !== undefined && b !== undefined && a.pid === b.pid && a.startTicks === b.startTicks;
}
