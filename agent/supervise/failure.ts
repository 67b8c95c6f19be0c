/** A life of the workload ends, or has to: what was seen, and what comes first. Pure, a part of `machine.ts`. */
import type { Moment } from "@blueflame/shared/time/clock.ts";
import { audit, callingOff, cleanThen, leave, noted, stay, withoutIncident } from "./moves.ts";
import { attemptBegun, planRestart, quickLeft, revise, struck } from "./recovery.ts";
import type { Severity } from "./severity.ts";
import type { WorkloadSpec } from "./spec.ts";
import {
  type Ask,
  type Awaited,
  type Event,
  type IncidentFacts,
  type Instance,
  instanceOf,
  type Remedy,
  type State,
  type Step,
} from "./state.ts";

/** One failure, as it was seen. */
export interface Seen {
  /** Absent: there is no process. */
  readonly instance: Instance | undefined;
  readonly symptom: string;
  readonly because: string;
  readonly faultWallMs: number;
  /** The trigger that saw it, with what it asks for. */
  readonly trigger?: {
    readonly name: string;
    readonly playbook: string;
    readonly severity: Severity;
    /** The recovery has helped when it is over. */
    readonly awaited?: boolean;
    readonly turn?: Awaited["turn"];
  };
  /** Asked for by the trigger's playbook. */
  readonly prefer?: Remedy;
  readonly demoted?: Ask["demoted"];
  /** It lives and listens: it is asked to leave before it is killed. */
  readonly gentle?: boolean;
  /** What it depends on is not up: the failure began there. */
  readonly needsDown?: readonly string[];
}

/** The process has ended by itself, or as it was asked to. */
export function gone(
  spec: WorkloadSpec,
  state: State,
  event: Extract<Event, { is: "exited" | "vanished" }>,
  how: string,
  now: Moment,
): Step {
  const instance = instanceOf(state.phase);
  if (!instance || instance.id !== event.id) return stay(state);
  if (state.phase.at === "stopping") {
    return cleanThen(state, state.phase.next, instance, state.because, [], state.phase);
  }
  const code = event.is === "exited" ? event.code : null;
  if (code === 0 && spec.restart !== "always") {
    const words = `${how}; its restart policy is ${spec.restart}`;
    const effects = [...callingOff(state), audit("workload.complete", "agent", words, "success")];
    return cleanThen(state, "complete", instance, how, effects);
  }
  const seen: Seen = {
    instance,
    symptom: "crash",
    because: how,
    faultWallMs: endedWallMs(state, instance, event, now),
  };
  if (spec.restart === "never") return endedForGood(state, seen, instance, severityOf(event), now);
  if (code !== null && spec.sandboxExitCodes.includes(code)) {
    const playbook = "quarantine-artifacts";
    return failed(
      spec,
      state,
      {
        ...seen,
        symptom: "sandbox_crash",
        because: `${how}: its sandbox has crashed`,
        trigger: { name: "sandbox-crash", playbook, severity: "high" },
        prefer: { by: "playbook", playbook },
      },
      now,
    );
  }
  return failed(spec, state, { ...seen, ...(event.needsDown && { needsDown: event.needsDown }) }, now);
}

/** One failure: the incident, the plan, and the clean-up that comes before any start. */
export function failed(spec: WorkloadSpec, before: State, seen: Seen, now: Moment): Step {
  const { instance, symptom, because } = seen;
  if (spec.restart === "never" && instance) return endedForGood(before, seen, instance, "medium", now);
  const open = before.incident !== undefined && before.incident.at !== "closed";
  const opened = withTrigger(struck(before, symptom, because, seen.faultWallMs, now), seen, open);
  const asks = seen.prefer ?? seen.demoted;
  const first = !open && !asks && !seen.needsDown?.length && quickLeft(spec, before, now.ms);
  const { treatment: _over, awaited: _known, ...left } = before;
  const awaited = awaitedAfter(before, seen);
  const rest: State = { ...left, ...(awaited && { awaited }) };
  return first ? firstTime(spec, rest, before, seen, opened, now) : again(spec, rest, before, seen, opened, now);
}

/**
 * It runs once and may have done half of its work: twice is worse than not. Nothing is left for the healer to do, so its incident
 * ends as it begins, and people are told by that: {@link alertsOf}.
 */
function endedForGood(before: State, seen: Seen, instance: Instance, severity: Severity, now: Moment): Step {
  const { symptom } = seen;
  const because = `${seen.because}; it runs once, so it is not started again`;
  const facts = struck(before, symptom, because, seen.faultWallMs, now);
  const closed = { ...facts, severity, at: "closed", closedWallMs: now.wallMs, needsPerson: false } as const;
  const effects = [
    ...callingOff(before),
    audit(`workload.${symptom}`, "agent", because, "failure"),
    ...noted(revise(closed, now, "closed", because)),
  ];
  return cleanThen(withoutIncident(before), "complete", instance, because, effects);
}

/** When it ended, as good as it is known: while no agent was there, right after it was known to live for the last time. */
function endedWallMs(
  { incident }: State,
  { sinceWallMs }: Instance,
  event: Extract<Event, { is: "exited" | "vanished" }>,
  now: Moment,
): number {
  const livedUntilMs = event.is === "vanished" ? event.livedUntilWallMs : undefined;
  if (livedUntilMs === undefined) return now.wallMs;
  return Math.min(now.wallMs, Math.max(livedUntilMs, sinceWallMs, incident?.recoveredWallMs ?? 0));
}

/** What killed it is worse than its own word; of what nobody saw, nobody knows whether it failed. */
function severityOf(event: Extract<Event, { is: "exited" | "vanished" }>): Severity {
  if (event.is === "vanished") return "low";
  return event.signal === null ? "medium" : "high";
}

/** What has to be over before the incident counts as recovered: the trigger that fired, or the one that was awaited already. */
function awaitedAfter({ awaited, treatment }: State, { trigger }: Seen): Awaited | undefined {
  if (trigger?.awaited) {
    const { name, playbook, severity, turn } = trigger;
    return { trigger: name, playbook, severity, ...(turn && { turn }) };
  }
  if (!treatment || treatment.over || treatment.lasting) return awaited;
  const { trigger: name, playbook, severity, lapsed, turn } = treatment;
  return { trigger: name, playbook, severity, ...(lapsed && { lapsed }), ...(turn && { turn }) };
}

/** The first failure of an incident is answered at once: clean up and start again (SYN-4). */
function firstTime(
  spec: WorkloadSpec,
  state: State,
  before: State,
  seen: Seen,
  opened: IncidentFacts,
  now: Moment,
): Step {
  const plan = planRestart(spec, state, isStable(spec, before, now.ms) || before.starts === 0, now);
  const playbook = seen.trigger?.playbook;
  const begun = attemptBegun(
    opened,
    { rung: "quick_restart", because: plan.because, ...(playbook && { playbook }) },
    now,
  );
  const incident = revise({ ...begun, at: "recovering" }, now, "decision", plan.because);
  const after: State = { ...plan.state, incident };
  const wait = plan.waitMs > 0 ? { waitMs: plan.waitMs } : {};
  return depart(spec, after, before, seen, plan.waitMs > 0 ? "wait" : "start", wait, plan.because, incident, now);
}

/** It failed again, or something asks for more than a restart: the facts are gathered first, and the ladder chooses. */
function again(spec: WorkloadSpec, state: State, before: State, seen: Seen, opened: IncidentFacts, now: Moment): Step {
  const ask: Ask = {
    stable: isStable(spec, before, now.ms) || before.starts === 0,
    relapse: before.incident?.at === "probation",
    wasReady: before.phase.at === "running",
    triedMs: seen.instance?.sinceMs ?? now.ms,
    ...(seen.prefer && { prefer: seen.prefer }),
    ...(seen.demoted && { demoted: seen.demoted }),
  };
  const incident: IncidentFacts = { ...opened, at: "recovering" };
  return depart(
    spec,
    { ...state, incident },
    before,
    seen,
    "decide",
    { ask },
    "what to do is being decided",
    incident,
    now,
  );
}

function depart(
  spec: WorkloadSpec,
  after: State,
  before: State,
  seen: Seen,
  next: "start" | "wait" | "decide",
  more: { readonly waitMs?: number; readonly ask?: Ask },
  plan: string,
  incident: IncidentFacts,
  now: Moment,
): Step {
  const { instance, symptom, because } = seen;
  const effects = [
    ...callingOff(before),
    audit(`workload.${symptom}`, "agent", because, "failure"),
    ...noted(incident),
  ];
  const words = `${because}; ${plan}`;
  if (instance && seen.gentle) return leave(spec, after, instance, next, words, effects, now, more);
  return cleanThen(after, next, instance, words, effects, more);
}

function withTrigger(facts: IncidentFacts, { trigger }: Seen, open: boolean): IncidentFacts {
  if (!trigger) return facts;
  const { name, playbook, severity } = trigger;
  return { ...facts, trigger: name, ...(playbook && { playbook }), ...(!open && { severity }) };
}

function isStable(spec: WorkloadSpec, state: State, nowMs: number): boolean {
  return state.phase.at === "running" && nowMs >= state.phase.readySinceMs + spec.backoff.resetAfterMs;
}
