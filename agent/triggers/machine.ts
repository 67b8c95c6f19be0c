/**
 * Which trigger fires, for whom, and why. Pure: the driver hands in what was seen and told, and does what comes out. What is a
 * fact fires in the step that is told of it; what is a figure is judged at each observation. How one condition comes and goes is
 * drawn in `stand.ts`; when it is not our fault, in `doubt.ts`. Deadlines are state, a wake is a hint: an early, late or doubled
 * `look` changes nothing.
 */
import { unreachable } from "@blueflame/shared/errors/fault.ts";
import type { Moment } from "@blueflame/shared/time/clock.ts";
import { printDuration } from "@blueflame/shared/units/units.ts";
import { countErrors, freshErrors, isForgotten } from "../anomaly/burst.ts";
import { calmShare, heldShare, shareFigure } from "./culprit.ts";
import { type Calm, calmed, doubted, isStrangers, lagged, loadOf, widening } from "./doubt.ts";
import {
  burstPolicy,
  countFinding,
  covers,
  endsWithProcess,
  latelyMs,
  levelFinding,
  sharedOf,
  silenceFinding,
  trendFinding,
  trustFinding,
} from "./finding.ts";
import { metricOf } from "./metrics.ts";
import type { Figures, Observation } from "./observation.ts";
import { dueNow, scheduleWords, untilNextMs } from "./schedule.ts";
import { dueMs, type Finding, forgiven, forgottenMs, lastFinding } from "./stand.ts";
import { type Event, keyOf, own, type State, type Step, type Subject, subjectOf, triggerOf } from "./state.ts";
import type { CountTrigger, FactTrigger, LevelTrigger, Trigger } from "./trigger.ts";
import { Turn } from "./turn.ts";
import { counted, type Window } from "./window.ts";

type Now = Pick<Moment, "ms" | "wallMs">;

/** Conditions are looked at this often even when nothing is due (GRC-11). */
const cadenceMs = 10_000;
/** A schedule that is later than this says so. */
const lateMs = 60_000;
const theNode: Subject = { workload: "" };

/** What the triggers make of an event. Never throws; what is of an unknown trigger is forgotten. */
export function step(triggers: readonly Trigger[], state: State, event: Event, now: Now): Step {
  const active = triggers.filter(({ off }) => !off);
  const turn = new Turn(state, now);
  switch (event.is) {
    case "observed":
      return observed(active, state, event.observation, turn);
    case "requests":
      return requested(active, state, event, turn);
    case "errors":
      for (const trigger of active)
        if (trigger.kind === "error_burst") countIn(trigger, state, event.workload, event.count, turn);
      return turn.answer();
    case "ended":
      return ended(active, event, turn);
    case "frozen":
      for (const trigger of active)
        if (trigger.kind === "frozen" && covers(trigger, event.workload))
          turn.strike(trigger, { workload: event.workload }, event.because);
      return turn.answer();
    case "anomaly":
      return unusual(active, state, event, turn);
    case "trend":
      for (const trigger of active)
        if (trigger.kind === "trend" && trigger.metric === event.metric && covers(trigger, event.workload))
          turn.find(trigger, { workload: event.workload }, trendFinding(trigger.withinMs, event));
      return turn.answer();
    case "born":
      newLife(active, event.workload, Number.POSITIVE_INFINITY, turn);
      for (const { name } of active) {
        const key = keyOf(name, { workload: event.workload });
        const share = turn.shares.at(key);
        if (share) turn.shares.put(key, { ...share, sum: 0, readings: 0 });
      }
      passed(active, state, turn);
      return turn.answer();
    case "gone":
      turn.forget({ workload: event.workload });
      return turn.answer();
    case "late":
      for (const [key, stand] of Object.entries(state.stands)) turn.stands.put(key, forgiven(stand, event.byMs));
      return turn.answer({ doubt: lagged(state.doubt, event.byMs, event.pausedMs ?? event.byMs, now.ms) });
    case "look":
      return looked(active, state, event.localOffsetMs, turn, now);
    default:
      return unreachable(event);
  }
}

/**
 * When to come with the next `look`, or better with a fresh observation: at the latest after 10 s. Never before now; right after a
 * look it is later than now.
 */
export function nextLookMs(triggers: readonly Trigger[], state: State, now: Now): number {
  let nextMs = now.ms + cadenceMs;
  const byName = new Map(triggers.map((trigger) => [trigger.name, trigger]));
  for (const [key, stand] of Object.entries(state.stands)) {
    const trigger = byName.get(triggerOf(key));
    if (trigger === undefined || (isFact(trigger) && stand.at !== "clearing")) continue;
    nextMs = Math.min(nextMs, dueMs(trigger, stand, state.marks[key] ?? {}));
  }
  if (state.localOffsetMs !== undefined) {
    for (const trigger of triggers) {
      if (trigger.kind !== "schedule" || trigger.off) continue;
      nextMs = Math.min(nextMs, now.ms + untilNextMs(trigger.at, now.wallMs + state.localOffsetMs));
    }
  }
  return Math.max(now.ms, nextMs);
}

// ── figures ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function observed(active: readonly Trigger[], state: State, seen: Observation, turn: Turn): Step {
  const doubt = doubted(state.doubt, seen.node, seen.heaviestStranger, turn.nowMs);
  const calm: Record<string, Calm> = { ...state.calm };
  for (const [workload, { uptime_ms }] of Object.entries(seen.workloads))
    if (uptime_ms !== undefined) newLife(active, workload, turn.nowMs - uptime_ms, turn);
  for (const trigger of active) {
    switch (trigger.kind) {
      case "threshold":
      case "trust":
        if (metricOf(trigger.metric)?.of === "node") ofNode(trigger, seen, { ...state, doubt }, calm, turn);
        else
          ofWorkloads(trigger, seen, turn, (figures, stands) =>
            (trigger.kind === "trust" ? trustFinding : levelFinding)(
              trigger,
              figures[trigger.metric],
              doubt,
              turn.nowMs,
              stands,
            ),
          );
        break;
      case "beat_silence":
        ofWorkloads(trigger, seen, turn, (figures, stands) =>
          silenceFinding(trigger.withinMs, figures, doubt, turn.nowMs, stands),
        );
        break;
      case "crash":
      case "frozen":
      case "sandbox":
        backAgain(trigger, seen, turn);
        break;
      case "job_late":
        jobs(trigger, seen, turn);
        break;
      // These are told, not observed.
      case "api_timeouts":
      case "error_burst":
      case "anomaly":
      case "schedule":
      case "trend":
        break;
      default:
        return unreachable(trigger);
    }
  }
  const next = { ...state, doubt, calm };
  passed(active, next, turn);
  return turn.answer({ doubt, calm });
}

/** A figure of the node: is it ours to heal? */
function ofNode(trigger: LevelTrigger, seen: Observation, state: State, calm: Record<string, Calm>, turn: Turn): void {
  const { node, heaviestStranger } = seen;
  const resource = metricOf(trigger.metric)?.shared;
  const load = resource && loadOf(resource, node);
  const before = own(state.calm, trigger.name);
  const finding = levelFinding(trigger, node[trigger.metric], state.doubt, turn.nowMs, true, () => {
    if (!resource || !load || trigger.side !== "above" || !isStrangers(resource, load, before)) return undefined;
    const share = Math.round(load.ours * 100);
    return `not by us: ${heaviestStranger || "what is not ours grew most"}; our workloads take ${share}%`;
  });
  // Right after a start nobody knows yet whose load it is: nobody is blamed before.
  if (resource && !load && trigger.side === "above") {
    turn.find(trigger, theNode, { is: "unknown" });
    return;
  }
  if (load && finding.is === "over") calm[trigger.name] = calmed(before, load, turn.nowMs);
  if (load) shared(trigger, seen, finding, turn);
  turn.find(trigger, theNode, finding);
}

/** What each workload takes of it: while it is calm, and while it holds. */
function shared(trigger: LevelTrigger, { workloads }: Observation, { is }: Finding, turn: Turn): void {
  const resource = sharedOf(trigger);
  if (!resource || (is !== "over" && is !== "holds")) return;
  for (const [workload, figures] of Object.entries(workloads)) {
    const value = figures[shareFigure(resource)];
    const key = keyOf(trigger.name, { workload });
    if (value === undefined) continue;
    const before = turn.shares.at(key);
    turn.shares.put(key, is === "over" ? calmShare(before, value, turn.nowMs) : heldShare(before, value));
  }
}

/** A figure of each workload; of those that are not there it is unknown. */
function ofWorkloads(
  trigger: Trigger,
  seen: Observation,
  turn: Turn,
  find: (figures: Figures, stands: boolean) => Finding,
): void {
  const take = (subject: Subject, finding: Finding) =>
    finding.is === "unknown" && endsWithProcess(trigger)
      ? turn.lapse(trigger, subject)
      : turn.find(trigger, subject, finding);
  for (const [workload, figures] of Object.entries(seen.workloads))
    if (covers(trigger, workload))
      take({ workload }, find(figures, turn.stands.at(keyOf(trigger.name, { workload })) !== undefined));
  for (const subject of turn.standing(trigger))
    if (!Object.hasOwn(seen.workloads, subject.workload)) take(subject, { is: "unknown" });
}

/** What was told of a workload is over when it is seen with a newer process, or, frozen, with a newer sign of life. */
function backAgain(trigger: FactTrigger, seen: Observation, turn: Turn): void {
  for (const subject of turn.standing(trigger)) {
    const stand = turn.stands.at(keyOf(trigger.name, subject));
    const figures = own(seen.workloads, subject.workload);
    if (stand === undefined || figures === undefined) continue;
    const sinceMs = turn.nowMs - stand.heldMs;
    const ages = [figures.uptime_ms ?? 0];
    if (trigger.kind === "frozen") ages.push(figures.beat_age_ms ?? sinceMs, figures.progress_age_ms ?? sinceMs);
    const isBack = ages.some((age) => age < sinceMs);
    turn.find(trigger, subject, { is: isBack ? "over" : "between", because: stand.because });
  }
}

function jobs(trigger: Trigger, { lateJobs }: Observation, turn: Turn): void {
  for (const [job, byMs] of Object.entries(lateJobs)) {
    const because = `job ${job} was not picked up and is ${printDuration(Math.round(byMs / 1000) * 1000)} late`;
    turn.find(trigger, { workload: "", job }, { is: "holds", because });
  }
  for (const subject of turn.standing(trigger))
    if (subject.job !== undefined && !Object.hasOwn(lateJobs, subject.job))
      turn.find(trigger, subject, { is: "over", because: "it was picked up" });
}

/** What was counted, or last known, before its process was born says nothing about that process. */
function newLife(active: readonly Trigger[], workload: string, bornMs: number, turn: Turn): void {
  if (turn.stands.isEmpty && turn.windows.isEmpty) return;
  for (const trigger of active) {
    if (!endsWithProcess(trigger)) continue;
    const key = keyOf(trigger.name, { workload });
    const stand = turn.stands.at(key);
    if (stand && stand.knownMs < bornMs) turn.lapse(trigger, { workload });
    const window = turn.windows.at(key);
    if (window)
      keepWindow(
        turn,
        key,
        window.filter(([atMs]) => atMs >= bornMs),
        window,
      );
  }
}

// ── what is told ─────────────────────────────────────────────────────────────────────────────────────────────────────

function requested(active: readonly Trigger[], state: State, event: Event & { is: "requests" }, turn: Turn): Step {
  const { workload, timeouts, errors, figures } = event;
  for (const trigger of active) {
    if (trigger.kind === "api_timeouts") countIn(trigger, state, workload, timeouts, turn);
    if (trigger.kind === "error_burst") countIn(trigger, state, workload, errors, turn);
    if (trigger.kind !== "threshold" || !covers(trigger, workload) || figures === undefined) continue;
    if (metricOf(trigger.metric)?.of !== "workload" || figures[trigger.metric] === undefined) continue;
    turn.find(trigger, { workload }, levelFinding(trigger, figures[trigger.metric], state.doubt, turn.nowMs, true));
  }
  return turn.answer();
}

/** Adds to a count and judges it at once. */
function countIn(trigger: CountTrigger, state: State, workload: string, count: number, turn: Turn): void {
  const key = keyOf(trigger.name, { workload });
  if (!covers(trigger, workload) || (!(count > 0) && turn.stands.at(key) === undefined)) return;
  if (count > 0) {
    turn.windows.put(key, counted(turn.windows.at(key) ?? [], count, trigger.withinMs, turn.nowMs));
    if (trigger.kind === "error_burst")
      turn.usual.put(
        key,
        countErrors(turn.usual.at(key) ?? freshErrors(turn.nowMs), burstPolicy(trigger), count, turn.nowMs),
      );
  }
  judgeCount(trigger, state, workload, turn);
}

function judgeCount(trigger: CountTrigger, { doubt }: State, workload: string, turn: Turn): void {
  const key = keyOf(trigger.name, { workload });
  const finding = countFinding(trigger, turn.windows.at(key) ?? [], turn.usual.at(key), doubt, turn.nowMs);
  const { at, takenMs = Number.NEGATIVE_INFINITY } = turn.stands.at(key) ?? {};
  // What was counted went with the agent before: who has counted nothing yet has not seen few.
  const isEarly = finding.is === "over" && at === "firing" && turn.nowMs < takenMs + latelyMs(trigger);
  turn.find(trigger, { workload }, isEarly ? { ...finding, is: "between" } : finding);
}

function ended(active: readonly Trigger[], event: Event & { is: "ended" }, turn: Turn): Step {
  const { workload, sandbox, because } = event;
  const struck = (kind: Trigger["kind"]) =>
    active.filter((trigger) => trigger.kind === kind && covers(trigger, workload));
  const sandboxed = sandbox ? struck("sandbox") : [];
  for (const trigger of sandboxed.length > 0 ? sandboxed : struck("crash")) turn.strike(trigger, { workload }, because);
  return turn.answer();
}

function unusual(active: readonly Trigger[], { doubt }: State, event: Event & { is: "anomaly" }, turn: Turn): Step {
  const { workload, anomalous, because } = event;
  const excuse = widening(doubt, turn.nowMs).because;
  const finding: Finding = anomalous
    ? { is: "holds", because, ...(excuse !== "" && { excuse }) }
    : { is: "over", because };
  for (const trigger of active)
    if (trigger.kind === "anomaly" && covers(trigger, workload)) turn.find(trigger, { workload }, finding);
  return turn.answer();
}

// ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

function looked(active: readonly Trigger[], state: State, localOffsetMs: number, turn: Turn, now: Now): Step {
  let { schedules } = state;
  for (const trigger of active) {
    if (trigger.kind !== "schedule") continue;
    const before = own(schedules, trigger.name);
    const due = dueNow(trigger.at, before, now.wallMs + localOffsetMs, now.ms);
    if (due.handled !== before) schedules = { ...schedules, [trigger.name]: due.handled };
    if (due.lateMs === undefined) continue;
    const late = due.lateMs > lateMs ? `, ${printDuration(Math.round(due.lateMs / 1000) * 1000)} late` : "";
    turn.tell(trigger, `${scheduleWords(trigger.at)}${late}`);
  }
  passed(active, state, turn);
  return turn.answer({ schedules, localOffsetMs });
}

/** Time has passed for everything that is not quiet. */
function passed(active: readonly Trigger[], state: State, turn: Turn): void {
  const byName = new Map(active.map((trigger) => [trigger.name, trigger]));
  for (const [key, stand] of Object.entries(turn.stands.all)) {
    const trigger = byName.get(triggerOf(key));
    const subject = subjectOf(key);
    if (trigger === undefined) turn.stands.put(key, undefined);
    else if (isCount(trigger)) judgeCount(trigger, state, subject.workload, turn);
    else if (isFact(trigger)) turn.find(trigger, subject, lastFinding(stand));
    else if (turn.nowMs >= forgottenMs(stand)) turn.find(trigger, subject, { is: "unknown" });
    else turn.find(trigger, subject, lastFinding(stand), stand.knownMs);
  }
  for (const [key, window] of Object.entries(turn.windows.all)) {
    const trigger = byName.get(triggerOf(key));
    keepWindow(turn, key, trigger && isCount(trigger) ? counted(window, 0, trigger.withinMs, turn.nowMs) : [], window);
  }
  for (const [key, usual] of Object.entries(turn.usual.all)) {
    const trigger = byName.get(triggerOf(key));
    if (!trigger || !isCount(trigger) || isForgotten(usual, burstPolicy(trigger), turn.nowMs))
      turn.usual.put(key, undefined);
  }
  turn.sweep(byName);
}

/** An empty window is none, and one that is as it was is no change. */
function keepWindow(turn: Turn, key: string, kept: Window, before: Window): void {
  if (kept.length < before.length) turn.windows.put(key, kept.length > 0 ? kept : undefined);
}

function isFact(trigger: Trigger): trigger is FactTrigger {
  return trigger.kind === "crash" || trigger.kind === "frozen" || trigger.kind === "sandbox";
}

function isCount(trigger: Trigger): trigger is CountTrigger {
  return trigger.kind === "api_timeouts" || trigger.kind === "error_burst";
}
