import { type Errors, takenOver as takenOverErrors } from "../anomaly/burst.ts";
import type { Share } from "./culprit.ts";
import { type Calm, type Doubt, noDoubt } from "./doubt.ts";
import { standsFor } from "./finding.ts";
import type { Figures, Observation } from "./observation.ts";
import type { Handled } from "./schedule.ts";
import { inherited, type Mark, type Stand } from "./stand.ts";
import type { Symptom } from "./symptom.ts";
import type { Trigger } from "./trigger.ts";
import type { Window } from "./window.ts";

/** Whom a trigger stands for. Neither: the node. Never both. */
export interface Subject {
  /** Empty: not a workload. */
  readonly workload: string;
  /** A job that is late. */
  readonly job?: string;
}

/**
 * Everything that is remembered of the triggers. JSON-able. Keys are `TRIGGER node`, `TRIGGER workload/NAME`, `TRIGGER job/NAME`;
 * none of the records has more than {@link keysMax} of them.
 */
export interface State {
  /** Of what is not quiet. */
  readonly stands: Readonly<Record<string, Stand>>;
  readonly marks: Readonly<Record<string, Mark>>;
  readonly windows: Readonly<Record<string, Window>>;
  /** Of triggers on bursts: what is usual. To be durable: a new agent would take usual errors for a burst, and restart who is well. */
  readonly usual: Readonly<Record<string, Errors>>;
  /** By trigger on a shared resource: who took what while it was calm. */
  readonly calm: Readonly<Record<string, Calm>>;
  readonly doubt: Doubt;
  /** Of triggers on a shared resource of the node, by `TRIGGER workload/NAME`: what each workload takes of it. */
  readonly shares?: Readonly<Record<string, Share>>;
  /**
   * By trigger. To be durable, for what was missed while the agent was down is done late; the same object as before as long as
   * nothing in it has changed.
   */
  readonly schedules: Readonly<Record<string, Handled>>;
  /** Of the last look. */
  readonly localOffsetMs?: number;
  /** By trigger, since the agent's start. */
  readonly fired: Readonly<Record<string, number>>;
  /** Findings that were passed over because {@link keysMax} subjects were not quiet already. */
  readonly passedOver: number;
}

/** So many subjects that are not quiet; further ones are passed over until one is, and counted. */
export const keysMax = 2000;

/** What may happen. Times are of the moment in which the event is taken. */
export type Event =
  | { readonly is: "observed"; readonly observation: Observation }
  /**
   * Requests that a workload's server has finished just now, at each request or batch; `figures` are what they make of its
   * latency and error rate now, where that is known already.
   */
  | {
      readonly is: "requests";
      readonly workload: string;
      readonly count: number;
      readonly timeouts: number;
      readonly errors: number;
      readonly figures?: Figures;
    }
  /** Lines with errors in its output. */
  | { readonly is: "errors"; readonly workload: string; readonly count: number }
  /** It has ended, and nobody asked for it; `sandbox`: with an exit code that means that its sandbox has crashed. */
  | { readonly is: "ended"; readonly workload: string; readonly sandbox: boolean; readonly because: string }
  /** It lives and does nothing. */
  | { readonly is: "frozen"; readonly workload: string; readonly because: string }
  | { readonly is: "anomaly"; readonly workload: string; readonly anomalous: boolean; readonly because: string }
  /** `workload` empty: of the node. `etaMs` is the time to the limit; absent: none is in sight. `confidence` is from 0 to 1. */
  | {
      readonly is: "trend";
      readonly workload: string;
      readonly metric: string;
      readonly etaMs?: number;
      readonly confidence: number;
      readonly because: string;
    }
  /** A process of it was started: what was known of the one before is not known of this one. */
  | { readonly is: "born"; readonly workload: string }
  /** Stopped on purpose, finished, or removed: it is forgotten. */
  | { readonly is: "gone"; readonly workload: string }
  /** The agent itself was late by so much; `pausedMs` of it not because it was busy or waited for a core. Absent: all of it. */
  | { readonly is: "late"; readonly byMs: number; readonly pausedMs?: number }
  /** Time has passed. `localOffsetMs`: local time less UTC, now. */
  | { readonly is: "look"; readonly localOffsetMs: number };

/** The answer of the machine. */
export interface Step {
  readonly state: State;
  readonly fired: readonly Symptom[];
  /** Conditions that had fired and are over. */
  readonly cleared: readonly ({ readonly trigger: string } & Subject)[];
  /** Conditions that had fired, and of which nothing is known any more: they are over for the process that they were about. */
  readonly lapsed: readonly ({ readonly trigger: string } & Subject)[];
  /** Conditions that had lapsed and hold again within their cooldown: nothing new, but who waits for their end goes on waiting. */
  readonly holding: readonly ({ readonly trigger: string } & Subject)[];
  /** Conditions that hold and are not our fault: to be told, not to be healed. */
  readonly noted: readonly ({ readonly trigger: string; readonly because: string } & Subject)[];
}

/** Nothing was seen yet. */
export function fresh(): State {
  return {
    stands: {},
    marks: {},
    windows: {},
    usual: {},
    calm: {},
    doubt: noDoubt,
    schedules: {},
    fired: {},
    passedOver: 0,
  };
}

const takenOver: ReadonlySet<string> = new Set<Stand["at"]>(["firing", "clearing", "lapsed"]);

/**
 * The state of an earlier agent process, taken over at the start. Of the same boot, what has fired goes on firing and cools down, and
 * neither fires nor is over before something is known of it again, for which there is as much time as ever; whatever was still
 * counting begins anew, for nobody watched meanwhile, but what was over is over at the first look that says the same. Whom a trigger
 * does not look at any more it does not stand for. Of another boot only the schedules mean anything, and what errors are usual.
 */
export function resumed(stored: State, triggers: readonly Trigger[], sameBoot: boolean, nowMs: number): State {
  const active = new Map(triggers.filter(({ off }) => !off).map((trigger) => [trigger.name, trigger]));
  const known = <T>(record: Readonly<Record<string, T>>) =>
    Object.fromEntries(Object.entries(record).filter(([key]) => active.has(triggerOf(key))));
  const days = Object.entries(known(stored.schedules)).map(([name, { day }]) => [name, { day }] as const);
  const stillOf = (key: string) => {
    const trigger = active.get(triggerOf(key));
    return trigger !== undefined && standsFor(trigger, subjectOf(key));
  };
  const usual = Object.entries(stored.usual).filter(([key]) => stillOf(key));
  const kept = {
    ...fresh(),
    schedules: Object.fromEntries(days),
    usual: Object.fromEntries(usual.map(([key, errors]) => [key, takenOverErrors(errors, nowMs)])),
  };
  if (!sameBoot) return kept;
  // What a newer agent has called otherwise is not known here: an upgrade that is taken back begins anew with it.
  const stands = Object.entries(stored.stands).filter(([key, { at }]) => stillOf(key) && takenOver.has(at));
  const begun = stands.map(([key, stand]) => [key, inherited(stand, nowMs)] as const);
  return { ...kept, stands: Object.fromEntries(begun), marks: known(stored.marks) };
}

/**
 * Must a successor know of this step? A check that was done is not done again after a restart, what has fired cools down over it, and
 * what has begun to be over need not begin anew.
 */
export function mustOutlive(before: State, { state, fired, cleared, lapsed }: Step): boolean {
  if (state.schedules !== before.schedules || fired.length + cleared.length + lapsed.length > 0) return true;
  if (state.stands === before.stands) return false;
  return Object.entries(state.stands).some(([key, stand]) => {
    const was = own(before.stands, key);
    return was !== undefined && stand.at !== "pending" && isOver(stand) !== isOver(was);
  });
}

/** What is usual changes with every error: a successor does without the newest minutes of it. */
const usualEveryMs = 300_000;

/** Is what a successor would know of usual errors, kept at `keptMs`, too old by now? */
export function isUsualOld(kept: State["usual"], keptMs: number, { usual }: State, nowMs: number): boolean {
  return usual !== kept && nowMs >= keptMs + usualEveryMs;
}

function isOver({ at, last }: Stand): boolean {
  return last === "over" && (at === "clearing" || at === "lapsed");
}

/** Where a trigger that has fired stands: holding, not known any more, or over. */
export type Condition = "holds" | "unknown" | "over";

/** Where it stands for the subject. */
export function conditionOf({ stands }: State, trigger: string, subject: Subject): Condition {
  const at = own(stands, keyOf(trigger, subject))?.at ?? "pending";
  if (at === "lapsed") return "unknown";
  return at === "pending" ? "over" : "holds";
}

/** What a record itself has under a key; a trigger may be called `constructor`. */
export function own<T>(record: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}

/** Names a trigger and its subject. */
export function keyOf(trigger: string, subject: Subject): string {
  return `${trigger} ${subjectWords(subject)}`;
}

/** `node`, `workload/NAME` or `job/NAME`. */
export function subjectWords({ workload, job }: Subject): string {
  if (job !== undefined) return `job/${job}`;
  return workload === "" ? "node" : `workload/${workload}`;
}

/** The trigger's name in a key. */
export function triggerOf(key: string): string {
  return key.slice(0, key.indexOf(" ") < 0 ? undefined : key.indexOf(" "));
}

/** The subject in a key. */
export function subjectOf(key: string): Subject {
  const words = key.slice(key.indexOf(" ") + 1);
  const name = words.slice(words.indexOf("/") + 1);
  if (words.startsWith("job/")) return { workload: "", job: name };
  return { workload: words.startsWith("workload/") ? name : "" };
}
