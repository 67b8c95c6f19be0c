/**
 * A trigger has fired for a workload that runs. Restarts go the way of every failure; what works beside the running workload
 * is a treatment: its playbook plays, then the trigger has to be over within {@link verifyMs}, else the ladder goes on. So it is
 * watched after a restart that a trigger has asked for, too. What nothing is known of by then is judged by its health alone. A
 * playbook that is demoted (agent/learning) has its turn when every rung that can help here had one. What is only of low severity
 * never leads to anything harsher than its playbook, and while it rests holds up nothing that is worse; what was left to a person
 * runs on as it is. Pure, a part of `machine.ts`.
 */
import type { Moment } from "@blueflame/shared/time/clock.ts";
import type { Symptom } from "../triggers/symptom.ts";
import { failed } from "./failure.ts";
import { audit, noted, stay } from "./moves.ts";
import { attemptBegun, attemptEnded, recovered, restsLow, revise, struck, workedMs } from "./recovery.ts";
import type { WorkloadSpec } from "./spec.ts";
import {
  type Awaited,
  type Effect,
  type Event,
  type IncidentFacts,
  instanceOf,
  type Remedy,
  type State,
  type Step,
  type Treatment,
} from "./state.ts";

/** A playbook beside a running workload has this long. */
const playMs = 120_000;
/** After it, the trigger has this long to be over: latency and error windows look back up to a minute. */
export const verifyMs = 90_000;

/** Playbooks of the box that are nothing but a restart, or a rung: the machine does them itself. An operator's own of that name is played. */
const restarts: Readonly<Record<string, { readonly gentle: boolean; readonly prefer?: Remedy }>> = {
  "restart-kernel": { gentle: false },
  "restart-service": { gentle: true },
  "rollback-deployment": { gentle: true, prefer: { by: "rung", rung: "config_rollback" } },
  "quarantine-artifacts": { gentle: false, prefer: { by: "playbook", playbook: "quarantine-artifacts" } },
};

/** A trigger has fired. */
export function symptom(spec: WorkloadSpec, state: State, seen: Symptom, now: Moment): Step {
  // What is down is being recovered, what starts is not judged, what a person stopped is none of our business.
  if (state.phase.at !== "running" || spec.restart === "never") return stay(state);
  const { instance } = state.phase;
  const open = state.incident;
  // Whatever was known of its end: it holds again.
  if (open && open.at !== "probation" && open.at !== "closed" && !isFreeFor(state, seen))
    return alsoSeen(holding(state, seen.trigger).state, open, seen, now);
  const relapse = open?.at === "probation";
  const byItself = seen.own ? undefined : restarts[seen.playbook];
  const demoted = seen.severity === "low" ? undefined : seen.demoted;
  const isRestart = byItself && !byItself.prefer;
  const restart = byItself ?? (seen.playbook === "" || relapse || demoted ? { gentle: true } : undefined);
  if (restart && !(relapse && seen.severity === "low")) {
    return failed(
      spec,
      state,
      {
        instance,
        symptom: seen.trigger,
        because: seen.because,
        faultWallMs: now.wallMs - Math.max(0, now.ms - seen.sinceMs),
        trigger: {
          name: seen.trigger,
          playbook: seen.playbook,
          severity: seen.severity,
          awaited: !seen.lasting,
          ...(demoted && !byItself && { turn: "last" }),
        },
        ...restart,
        ...(demoted && { demoted: { because: demoted, ...(isRestart && { restart: seen.playbook }) } }),
      },
      now,
    );
  }
  if (relapse) return alsoSeen(state, open, seen, now);
  return play(state, seen, now);
}

/** No healer is at work on what only rests: what is worse goes on in its incident, unless a person has that in hand. */
function isFreeFor(state: State, { trigger, severity }: Symptom): boolean {
  const other = state.treatment?.trigger !== trigger;
  return restsLow(state) && other && severity !== "low" && !state.incident?.needsPerson;
}

/** One healer at a time: what else is seen meanwhile is written down, once for each trigger. */
function alsoSeen(state: State, open: IncidentFacts, seen: Symptom, now: Moment): Step {
  const words = `${seen.trigger}: ${seen.because}`;
  if (open.trigger === seen.trigger || open.timeline.some(({ because }) => because.startsWith(`${seen.trigger}: `)))
    return stay(state);
  const incident = revise(open, now, "symptom", words);
  return { state: { ...state, incident }, effects: noted(incident) };
}

function play(state: State, seen: Symptom, now: Moment): Step {
  const faultWallMs = now.wallMs - Math.max(0, now.ms - seen.sinceMs);
  const opened: IncidentFacts = {
    ...struck(state, seen.trigger, seen.because, faultWallMs, now),
    severity: seen.severity,
    trigger: seen.trigger,
  };
  const asked = `the trigger asks for ${seen.playbook}`;
  const because = seen.demoted ? `${asked}, and nothing harsher is due (${seen.demoted})` : asked;
  return playFor({ ...state, incident: opened }, opened, seen, { decision: because, audit: seen.because }, now);
}

function playFor(
  state: State,
  opened: IncidentFacts,
  { trigger, playbook, severity, lasting }: Pick<Treatment, "trigger" | "playbook" | "severity" | "lasting">,
  words: { readonly decision: string; readonly audit: string },
  now: Moment,
): Step {
  const begun = attemptBegun(opened, { playbook, because: words.decision }, now);
  const incident = revise({ ...begun, at: "recovering" }, now, "decision", words.decision);
  const id = `${incident.id}/${playbook}/${begun.revision}`;
  const untilMs = now.ms + playMs;
  const asked = { trigger, playbook, severity, ...(lasting && { lasting }) };
  const treatment: Treatment = { ...asked, id, at: "playing", untilMs, over: false };
  const remedy: Remedy = { by: "playbook", playbook };
  const effects: Effect[] = [
    audit(`playbook.${playbook}`, "agent", words.audit, "success"),
    ...noted(incident),
    { do: "remedy", id, remedy, budgetMs: playMs },
  ];
  return { state: { ...state, incident, treatment, because: words.audit }, effects };
}

/** The playbook has ended. */
export function played(spec: WorkloadSpec, state: State, event: Extract<Event, { is: "remedied" }>, now: Moment): Step {
  const { treatment, incident } = state;
  if (treatment?.at !== "playing" || treatment.id !== event.id || !incident) return stay(state);
  // What was passed over on the way is written down: whether the trigger is over decides.
  if (!event.ok && !event.through && !treatment.over)
    return noHelp(spec, state, `${treatment.playbook} failed: ${event.because}`, [], now);
  const words = event.ok ? event.because : `a step was passed over: ${event.because}`;
  const outcome = event.ok ? "success" : "failure";
  const done = audit(`playbook.${treatment.playbook}`, "agent", words, outcome, workedMs(incident, now));
  // A step has restarted it, and it was verified by that: to watch its trigger is no way back.
  const at = incident.at === "probation" ? incident.at : "verifying";
  const noticed = revise({ ...incident, at }, now, "remedy", `${treatment.playbook}: ${words}`);
  const watching: State = {
    ...state,
    incident: noticed,
    treatment: { ...treatment, at: "watching", untilMs: now.ms + verifyMs },
  };
  if (treatment.over && isJudged(state)) return helped(spec, watching, `${treatment.trigger} is over`, [done], now);
  return { state: watching, effects: [done, ...noted(noticed)] };
}

/** The condition of a trigger is over. */
export function cleared(spec: WorkloadSpec, state: State, trigger: string, now: Moment): Step {
  const { treatment, awaited, ...rest } = state;
  if (awaited?.trigger === trigger) return stay({ ...rest, ...(treatment && { treatment }) });
  if (treatment?.trigger !== trigger) return stay(state);
  if (treatment.at === "playing" || !isJudged(state))
    return stay({ ...state, treatment: { ...treatment, over: true } });
  return helped(spec, state, `${trigger} is over`, [], now);
}

/** Nothing is known of the condition any more. What only rests has nothing more to wait for. */
export function lapsed(spec: WorkloadSpec, state: State, trigger: string, now: Moment): Step {
  const { treatment, awaited } = state;
  if (awaited?.trigger === trigger) return stay({ ...state, awaited: { ...awaited, lapsed: true } });
  if (treatment?.trigger !== trigger) return stay(state);
  const noticed: State = { ...state, treatment: { ...treatment, lapsed: true } };
  return treatment.at === "resting" && isJudged(state)
    ? helped(spec, noticed, unknownWords(treatment), [], now)
    : stay(noticed);
}

/** The condition had lapsed, and holds again. */
export function holding(state: State, trigger: string): Step {
  const { treatment, awaited } = state;
  if (awaited?.trigger === trigger) return stay({ ...state, awaited: known(awaited) });
  if (treatment?.trigger !== trigger) return stay(state);
  return stay({ ...state, treatment: { ...known(treatment), over: false } });
}

/**
 * It is up; its incident counts as recovered when the trigger that it waits for is over, and for that it has its time anew. Undefined
 * when nothing is waited for.
 */
export function watched(spec: WorkloadSpec, state: State, because: string, now: Moment): Step | undefined {
  const { treatment, awaited, ...rest } = state;
  const { incident } = state;
  if (!incident || incident.at === "closed" || incident.at === "probation") return undefined;
  if (treatment?.over && treatment.at !== "playing")
    return helped(spec, state, `${treatment.trigger} is over`, [], now);
  if (treatment?.at === "resting" && treatment.lapsed) return helped(spec, state, unknownWords(treatment), [], now);
  const untilMs = now.ms + verifyMs;
  const id = `${incident.id}/watch/${incident.revision}`;
  const before: Treatment | undefined =
    treatment ?? (awaited && { ...awaited, id, at: "watching", untilMs, over: false });
  if (!before) return undefined;
  const words = `${because}; it has recovered when ${before.trigger} is over`;
  const verifying = revise({ ...incident, at: "verifying" }, now, "verification", words);
  const going: Treatment = before.at === "watching" ? { ...before, untilMs } : before;
  return { state: { ...rest, incident: verifying, treatment: going }, effects: noted(verifying) };
}

/** Is the answer of the remedy of this id still waited for? */
export function awaitsRemedy({ phase, treatment }: State, id: string): boolean {
  return (phase.at === "mending" && phase.id === id) || (treatment?.at === "playing" && treatment.id === id);
}

/** While it starts nobody knows whether it helped. */
function isJudged({ phase }: State): boolean {
  return phase.at === "running";
}

function known<A extends Awaited>({ lapsed: _before, ...rest }: A): Omit<A, "lapsed"> {
  return rest;
}

function unknownWords({ trigger }: Awaited): string {
  return `nothing is known of ${trigger} any more, and it is well`;
}

/** Time has passed: is a treatment overdue? Undefined when not. */
export function overdue(spec: WorkloadSpec, state: State, now: Moment): Step | undefined {
  const { treatment } = state;
  // What starts again has its time from when it is up; if it does not come up, that is a failure of its own.
  if (!treatment || treatment.at === "resting" || now.ms < treatment.untilMs || !isJudged(state)) return undefined;
  if (treatment.at === "playing") return playsTooLong(spec, state, treatment, now);
  if (treatment.lapsed) return helped(spec, state, unknownWords(treatment), [], now);
  // What waits for its turn has not been played.
  const what = treatment.turn ? "it was started again" : treatment.playbook || "it was started again";
  return noHelp(spec, state, `${treatment.trigger} still holds ${verifyMs} ms after ${what}`, [], now);
}

function playsTooLong(spec: WorkloadSpec, state: State, treatment: Treatment, now: Moment): Step {
  const { id, playbook, trigger, over } = treatment;
  if (!over && !hasBegun(state)) return goesOnWaiting(state, treatment, now);
  const cancel: Effect = { do: "cancelRemedy", id };
  const because = `${playbook} did not end within ${playMs} ms`;
  if (!over) return noHelp(spec, state, because, [cancel], now);
  // What it was played for is over: it is called off, and nothing harsher has a reason.
  const ended = audit(`playbook.${playbook}`, "agent", because, "failure", workedMs(state.incident, now));
  return helped(spec, state, `${trigger} is over`, [cancel, ended], now);
}

/** A step of its playbook was begun, or anything else was done since the fault. */
function hasBegun({ incident }: State): boolean {
  return incident?.actedWallMs !== undefined;
}

/** Others are at work in its pool, each for a bounded time: nothing was tried, and to stop it for that would be the first harm. */
function goesOnWaiting(state: State, treatment: Treatment, now: Moment): Step {
  const because = `${treatment.playbook} still waits for its place`;
  const incident = state.incident && revise(state.incident, now, "remedy", because);
  const waiting: State = {
    ...state,
    ...(incident && { incident }),
    treatment: { ...treatment, untilMs: now.ms + playMs },
  };
  return { state: waiting, effects: noted(incident) };
}

function helped(spec: WorkloadSpec, before: State, because: string, effects: readonly Effect[], now: Moment): Step {
  const { treatment: _over, incident, ...state } = before;
  if (!incident) return { state, effects };
  const facts = attemptEnded(incident, true, because, now);
  // A step of the playbook has restarted it, and it was verified by that.
  if (incident.at === "probation") {
    const told = revise(facts, now, "verification", because);
    return { state: { ...state, incident: told }, effects: [...effects, ...noted(told)] };
  }
  const verified = recovered(facts, spec.probationMs, because, now);
  return { state: { ...state, incident: verified }, effects: [...effects, ...noted(verified)] };
}

function noHelp(spec: WorkloadSpec, before: State, because: string, effects: readonly Effect[], now: Moment): Step {
  const { treatment, incident, ...rest } = before;
  if (!treatment || !incident) return stay(rest);
  const failure = audit(remedyOf(treatment, incident), "agent", because, "failure", workedMs(incident, now));
  const hasTurn = treatment.turn === "next" && before.phase.at === "running";
  const leftToPerson = incident.needsPerson && before.phase.at === "running" && !hasTurn;
  const words = leftToPerson ? `${because}; a person was called, and it runs on as it is` : because;
  const failedFacts = attemptEnded(incident, false, because, now);
  const ended = revise(leftToPerson ? { ...failedFacts, at: "open" } : failedFacts, now, "remedy", words);
  const instance = instanceOf(before.phase);
  const stays = (next: Treatment): Step => ({
    state: { ...rest, incident: ended, treatment: next },
    effects: [...effects, failure, ...noted(ended)],
  });
  if (hasTurn) {
    const words = `nothing else is left, so ${treatment.playbook} is tried`;
    const next = playFor(rest, ended, treatment, { decision: words, audit: `${because}; ${words}` }, now);
    return { state: next.state, effects: [...effects, failure, ...next.effects] };
  }
  // Every rung had its turn and a person was called: it works, if badly, and one more restart each two minutes would take that too.
  if (treatment.severity === "low" || leftToPerson) {
    // Nothing will be heard of what is not known any more: it would rest for ever.
    if (treatment.lapsed && isJudged(before))
      return helped(spec, { ...before, incident: ended }, unknownWords(treatment), [...effects, failure], now);
    return stays({ ...treatment, at: "resting" });
  }
  // A step of the playbook has just started it anew: whether that helps is seen when it is up.
  if (!instance || before.phase.at !== "running")
    return stays({ ...treatment, at: "watching", untilMs: now.ms + verifyMs });
  const { trigger: name, playbook, severity, lasting, turn } = treatment;
  const next = failed(
    spec,
    { ...rest, incident: ended },
    {
      instance,
      symptom: name,
      because,
      faultWallMs: incident.faultWallMs,
      trigger: { name, playbook, severity, awaited: !lasting, ...(turn && { turn }) },
      gentle: true,
    },
    now,
  );
  return { state: next.state, effects: [...effects, failure, ...next.effects] };
}

/** What has not helped, in the words of the audit. */
function remedyOf({ turn, playbook }: Treatment, { attempts }: IncidentFacts): string {
  const rung = attempts.at(-1)?.rung;
  return turn && rung ? `remedy.${rung}` : `playbook.${playbook}`;
}
