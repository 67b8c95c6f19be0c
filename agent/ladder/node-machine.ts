/**
 * What the agent does about the node itself: its disk, its memory, its daily checks. One case for each trigger that has fired,
 * one playbook at a time over all of them, the worst first; checks that come by the clock have a turn of their own.
 *
 *   waiting ── its turn ─▶ playing ── ended ─▶ watching ── over ─▶ probation ── well ─▶ closed
 *                             │                    │                   │
 *                             └── broke off ───────┴── still holds ─▶ told: a person has to look ── over ─▶ probation
 *
 * What was passed over on the way (`on_failure: continue`) is written down, and calls nobody: whether the trigger is over decides.
 * A maintenance check (daily, weekly) is no incident: it plays and is over, and only its failure opens one, which the next check
 * that goes well verifies. Nothing here restarts a workload by itself: the playbook's steps do what authority lets them, and the
 * workload that is the cause of a bad figure is healed by its own machine, for which the case waits (`culprit`). While the
 * kill switch is on nothing is played: what fires is told at once, and has its turn when it goes off. Pure; deadlines are state, a
 * wake is a hint.
 */
import { unreachable } from "@blueflame/shared/errors/fault.ts";
import type { Moment } from "@blueflame/shared/time/clock.ts";
import {
  actedOn,
  attemptBegun,
  attemptEnded,
  inThisBoot,
  recovered,
  revise,
  struck,
  workedMs,
} from "../supervise/recovery.ts";
import type { Severity } from "../supervise/severity.ts";
import type { IncidentFacts } from "../supervise/state.ts";
import type { Symptom } from "../triggers/symptom.ts";
import type { Case, NodeEffect, NodeEvent, NodeState, NodeStep } from "./node-state.ts";

/** A playbook on the node has this long. */
const playMs = 10 * 60_000;
/** A check has as long as its playbook allows, at most this: a weekly backup may take hours. */
const checkMs = 6 * 3_600_000;
/** After it, the trigger has this long to be over. */
const verifyMs = 120_000;
/** As a workload's: a relapse within it is the same incident. */
const probationMs = 300_000;
/** More cases than triggers there cannot be; the config allows 200 and the box has 17. */
const casesMax = 256;
/** How a playbook ends that was at work, or waited for its turn, when the kill switch went on. */
const heldWords = "held by the kill switch";

/** What happens to the node now. */
export function stepNode(state: NodeState, event: NodeEvent, now: Moment): NodeStep {
  const moved = handle(state, event, now);
  const healing = beginNext(moved.state, false, now);
  // What heals never waits for a check, however long that takes.
  const checking = beginNext(healing.state, true, now);
  return { state: checking.state, effects: [...moved.effects, ...healing.effects, ...checking.effects] };
}

function handle(state: NodeState, event: NodeEvent, now: Moment): NodeStep {
  switch (event.is) {
    case "boot":
      return booted(state, event, now);
    case "symptom":
      return fired(state, event.symptom, event.maintenance, now);
    case "cleared": {
      const one = state.cases[event.trigger];
      return one ? cleared(state, event.trigger, one, now) : stay(state);
    }
    case "retired": {
      const one = state.cases[event.trigger];
      return one ? retired(state, event.trigger, one, now) : stay(state);
    }
    case "played": {
      const found = Object.entries(state.cases).find(([, { at, id }]) => at === "playing" && id === event.id);
      return found ? played(state, found[0], found[1], event, now) : stay(state);
    }
    case "acted":
      return stay(mapped(state, (one) => (one.at === "playing" && one.id === event.id ? acted(one, now) : one)));
    case "late":
      return late(state, event.byMs);
    case "held":
      return held(state, now);
    case "released":
      return released(state);
    case "look":
      return looked(state, now);
    default:
      return unreachable(event);
  }
}

/** What played goes on at its step; what was watched has its time anew. The switch may have been turned while no agent was there. */
function booted(before: NodeState, event: Extract<NodeEvent, { is: "boot" }>, now: Moment): NodeStep {
  const here = event.rebooted ? mapped(before, (one) => ofThisBoot(one, now)) : before;
  if (event.held) return held(here, now);
  const state = before.held ? released(here).state : here;
  return { state, effects: Object.values(state.cases).flatMap((one) => (one.at === "playing" ? [playOf(one)] : [])) };
}

function held(before: NodeState, now: Moment): NodeStep {
  let step: NodeStep = stay({ ...before, held: true });
  for (const [trigger, one] of Object.entries(before.cases)) {
    if (one.at !== "playing" && one.at !== "waiting") continue;
    const plays = one.at === "playing";
    const effects: NodeEffect[] = plays
      ? [{ do: "cancel", id: one.id }, audit(`playbook.${one.playbook}`, heldWords, "refused", playedMs(one, now))]
      : [];
    const ended = plays && one.incident ? attemptEnded(one.incident, false, heldWords, now) : one.incident;
    const incident = ended && revise({ ...ended, at: "open" }, now, "decision", heldWords);
    const rests: Case = { ...one, at: "told", ...(incident && { incident }) };
    const next = put(step.state, trigger, rests, [...effects, ...noted(incident)]);
    step = { state: next.state, effects: [...step.effects, ...next.effects] };
  }
  return step;
}

function ofThisBoot(one: Case, now: Moment): Case {
  const incident = one.incident && inThisBoot(one.incident, now);
  return { ...one, untilMs: now.ms + spanOf(one), sinceMs: now.ms, ...(incident && { incident }) };
}

function acted(one: Case, now: Moment): Case {
  return one.incident ? { ...one, incident: actedOn(one.incident, now) } : one;
}

/** What was played or watched was so for less time than it seems. */
function late(state: NodeState, byMs: number): NodeStep {
  return stay(mapped(state, (one) => ({ ...one, untilMs: one.untilMs + byMs })));
}

function released({ held: _over, ...free }: NodeState): NodeStep {
  return stay(mapped(free, (one) => (one.at === "told" && one.playbook !== "" ? { ...one, at: "waiting" } : one)));
}

function mapped(state: NodeState, change: (one: Case) => Case): NodeState {
  const cases = Object.entries(state.cases).map(([trigger, one]) => [trigger, change(one)] as const);
  return { ...state, cases: Object.fromEntries(cases) };
}

/** For how long its playbook has been at work. */
function playedMs(one: Case, now: Moment): number {
  return workedMs(one.incident, now) ?? Math.max(0, now.ms - (one.untilMs - spanOf(one)));
}

function spanOf({ at, maintenance }: Case): number {
  if (at === "playing") return maintenance ? checkMs : playMs;
  return at === "watching" ? verifyMs : probationMs;
}

function fired(state: NodeState, symptom: Symptom, maintenance: boolean, now: Moment): NodeStep {
  const { trigger, playbook, severity, because, sinceMs } = symptom;
  const open = state.cases[trigger];
  // At work on it already, or a person was told: the same again adds nothing. A check is due again whatever came of the last one.
  if (open && open.at !== "probation" && !(maintenance && open.at === "told"))
    return open.over ? put(state, trigger, { ...open, over: false }, []) : stay(state);
  if (!open && Object.keys(state.cases).length >= casesMax) return stay(state);
  // A check is something that is done: the next one comes by the clock.
  if (maintenance && state.held) return stay(state);
  const base = { playbook, severity, because, sinceMs, untilMs: 0, id: "", over: false, maintenance };
  const earlier = open?.incident && { incident: open.incident };
  if (maintenance) return put(state, trigger, { ...base, at: "waiting", ...earlier }, []);
  const faultWallMs = now.wallMs - Math.max(0, now.ms - sinceMs);
  const struckFacts = struck(open?.incident ? { incident: open.incident } : {}, trigger, because, faultWallMs, now);
  const incident: IncidentFacts = { ...struckFacts, trigger, ...(!open && { severity }) };
  const opened = noted(incident);
  const told: Case = { ...base, at: "told", incident };
  // Whoever of ours is the cause is being healed by its own machine: the node has nothing to play, and waits.
  if (playbook === "" && symptom.culprit !== undefined && !state.held)
    return put(state, trigger, { ...told, at: "watching", untilMs: now.ms + verifyMs }, opened);
  if (playbook === "") return tell(state, trigger, told, `nothing is declared for ${trigger}`, opened, now);
  if (state.held) {
    // The alert goes out as ever; no page asks for a person, for one has the node in hand.
    const known = revise(incident, now, "decision", "the kill switch is on: nothing is done about it");
    return put(state, trigger, { ...told, incident: known }, noted(known));
  }
  return put(state, trigger, { ...base, at: "waiting", incident }, opened);
}

/** One playbook at a time: the worst case that waits, and of those the oldest. */
function beginNext(state: NodeState, checks: boolean, now: Moment): NodeStep {
  if (state.held) return stay(state);
  const all = Object.entries(state.cases).filter(([, { maintenance }]) => maintenance === checks);
  if (all.some(([, { at }]) => at === "playing")) return stay(state);
  const waiting = all.filter(([, { at }]) => at === "waiting");
  const [next] = waiting.sort(([, a], [, b]) => weight(b.severity) - weight(a.severity) || a.sinceMs - b.sinceMs);
  if (!next) return stay(state);
  const [trigger, one] = next;
  const because = `${trigger}: ${one.because}`;
  const incident =
    one.incident &&
    revise(
      {
        ...attemptBegun(one.incident, { playbook: one.playbook, because: `the trigger asks for ${one.playbook}` }, now),
        at: "recovering",
      },
      now,
      "decision",
      `the trigger asks for ${one.playbook}`,
    );
  const playing: Case = { ...one, at: "playing", id: `${now.id}/${trigger}`, ...(incident && { incident }) };
  const effects: NodeEffect[] = [
    audit(`playbook.${one.playbook}`, because, "success"),
    ...noted(incident),
    playOf(playing),
  ];
  return put(state, trigger, { ...playing, untilMs: now.ms + spanOf(playing) }, effects);
}

function played(
  state: NodeState,
  trigger: string,
  one: Case,
  { ok, because, through }: Pick<Extract<NodeEvent, { is: "played" }>, "ok" | "because" | "through">,
  now: Moment,
): NodeStep {
  const done = audit(`playbook.${one.playbook}`, because, ok ? "success" : "failure", playedMs(one, now));
  // A check has no condition whose end could say more than its steps.
  const mayHelp = ok || (!one.maintenance && (through === true || one.over));
  if (!mayHelp) return tell(state, trigger, one, `${one.playbook} failed: ${because}`, [done], now);
  if (!one.incident) return drop(state, trigger, [done]);
  const words = ok ? because : `a step was passed over: ${because}`;
  const incident = revise({ ...one.incident, at: "verifying" }, now, "remedy", `${one.playbook}: ${words}`);
  const watching: Case = { ...one, at: "watching", untilMs: now.ms + verifyMs, incident };
  // Nothing but the check itself says that what it looks for is well.
  if (one.over || one.maintenance) return verified(state, trigger, watching, [done], now);
  return put(state, trigger, watching, [done, ...noted(incident)]);
}

function cleared(state: NodeState, trigger: string, one: Case, now: Moment): NodeStep {
  switch (one.at) {
    case "waiting":
      // Over before anything was done: it is verified by itself.
      return verified(state, trigger, one, [], now);
    case "playing":
      return put(state, trigger, { ...one, over: true }, []);
    case "watching":
    case "told":
      return verified(state, trigger, one, [], now);
    case "probation":
      return stay(state);
  }
}

function retired(state: NodeState, trigger: string, one: Case, now: Moment): NodeStep {
  const cancel: NodeEffect[] = one.at === "playing" ? [{ do: "cancel", id: one.id }] : [];
  if (!one.incident) return drop(state, trigger, cancel);
  const closed = { ...one.incident, at: "closed" as const, closedWallMs: now.wallMs, needsPerson: false };
  const because = `the config does not have the trigger ${trigger} any more`;
  return drop(state, trigger, [...cancel, ...noted(revise(closed, now, "closed", because))]);
}

function verified(state: NodeState, trigger: string, one: Case, effects: readonly NodeEffect[], now: Moment): NodeStep {
  if (!one.incident) return drop(state, trigger, effects);
  const ended = attemptEnded(one.incident, one.at !== "told", `${trigger} is over`, now);
  const because = one.maintenance ? `${one.playbook} went well` : `${trigger} is over`;
  const incident = recovered(ended, probationMs, because, now);
  const probation: Case = { ...one, at: "probation", untilMs: now.ms + probationMs, incident };
  return put(state, trigger, probation, [...effects, ...noted(incident)]);
}

/** It did not help, and a person has to look. Low severity is told in the incident and asks for nobody. */
function tell(
  state: NodeState,
  trigger: string,
  one: Case,
  because: string,
  effects: readonly NodeEffect[],
  now: Moment,
): NodeStep {
  const { severity } = one;
  const needsPerson = severity !== "low";
  // A check has none before it fails.
  const struckNow = () => ({
    ...struck({}, trigger, because, now.wallMs, now),
    severity,
    trigger,
    playbook: one.playbook,
  });
  const open: IncidentFacts = { ...(one.incident ?? struckNow()), at: "open", needsPerson };
  const ended = attemptEnded(open, false, because, now);
  const incident = revise(ended, now, "decision", because);
  return put(state, trigger, { ...one, at: "told", incident }, [...effects, ...noted(incident)]);
}

function looked(state: NodeState, now: Moment): NodeStep {
  let step: NodeStep = stay(state);
  for (const [trigger, one] of Object.entries(state.cases)) {
    if (one.at === "waiting" || one.at === "told" || now.ms < one.untilMs) continue;
    const next = overdue(step.state, trigger, one, now);
    step = { state: next.state, effects: [...step.effects, ...next.effects] };
  }
  return step;
}

function overdue(state: NodeState, trigger: string, one: Case, now: Moment): NodeStep {
  const what = one.playbook || "its cause was told";
  switch (one.at) {
    case "playing": {
      const because = `${one.playbook} did not end within ${spanOf(one)} ms`;
      const cancel: NodeEffect = { do: "cancel", id: one.id };
      if (!one.over || one.maintenance) return tell(state, trigger, one, because, [cancel], now);
      // What it was played for is over, and nobody is needed for the rest of it.
      const ended = audit(`playbook.${one.playbook}`, because, "failure", playedMs(one, now));
      return verified(state, trigger, one, [cancel, ended], now);
    }
    case "watching":
      return tell(state, trigger, one, `it still holds ${verifyMs} ms after ${what}: ${one.because}`, [], now);
    default: {
      if (!one.incident) return drop(state, trigger, []);
      const closed = { ...one.incident, at: "closed" as const, closedWallMs: now.wallMs, needsPerson: false };
      return drop(
        state,
        trigger,
        noted(revise(closed, now, "closed", `well through a probation of ${probationMs} ms`)),
      );
    }
  }
}

/** The next moment at which time alone may change something. */
export function nextNodeLookMs(state: NodeState): number | undefined {
  const due = Object.values(state.cases)
    .filter(({ at }) => at !== "waiting" && at !== "told")
    .map(({ untilMs }) => untilMs);
  return due.length > 0 ? Math.min(...due) : undefined;
}

function weight(severity: Severity): number {
  return { low: 2, medium: 5, high: 7, critical: 9 }[severity];
}

function playOf(one: Case): NodeEffect {
  const { id, playbook, incident } = one;
  return { do: "play", id, playbook, incidentId: incident?.id ?? "", budgetMs: spanOf(one) };
}

function put(state: NodeState, trigger: string, one: Case, effects: readonly NodeEffect[]): NodeStep {
  return { state: { ...state, cases: { ...state.cases, [trigger]: one } }, effects };
}

function drop(state: NodeState, trigger: string, effects: readonly NodeEffect[]): NodeStep {
  const { [trigger]: _over, ...cases } = state.cases;
  return { state: { ...state, cases }, effects };
}

function stay(state: NodeState): NodeStep {
  return { state, effects: [] };
}

function noted(facts: IncidentFacts | undefined): NodeEffect[] {
  return facts ? [{ do: "incident", facts }] : [];
}

function audit(
  action: string,
  because: string,
  outcome: "success" | "failure" | "refused",
  tookMs?: number,
): NodeEffect {
  return { do: "audit", action, because, outcome, ...(tookMs !== undefined && { tookMs }) };
}
