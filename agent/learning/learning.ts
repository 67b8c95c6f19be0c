import { createHash } from "node:crypto";
import type { Rung } from "../ladder/rungs.ts";
import { type Instant, passTo, startTimeline, type Timeline } from "../slo/timeline.ts";
import { type Histories, happened, type Suggestion, suggestionsFor } from "./patterns.ts";
import { type Recommendation, recommend, type Strategies, tried, unlearned } from "./strategy.ts";
import { judged, type Subject, type TrustBook, type TrustReport, trustIn, type Use } from "./trust.ts";

/**
 * All that a node has learned. JSON-able and under 500 KB, whatever happens: trust in 1700 subjects, tries for 500 failure
 * patterns, histories of 100, 30 suggestions. What has not been heard of for longest is forgotten first. Its times are ages
 * of its own timeline, so restarts, reboots and a wall clock that jumps change nothing.
 */
export interface LearningState {
  readonly version: 1;
  readonly line: Timeline;
  readonly trust: TrustBook;
  readonly strategies: Strategies;
  readonly histories: Histories;
  readonly suggestions: readonly Told[];
  /** Whose word froze the order of rungs; absent: it adapts. */
  readonly frozenBy?: string;
}

/** A suggestion that was told, and at which age. */
export interface Told extends Suggestion {
  readonly toldAtMs: number;
}

/** What was tried for a failure. */
interface Tried {
  /** Empty: the node, which has playbooks and no rungs. */
  readonly workload: string;
  /** The failure's signature, as text: see `signature.ts`. */
  readonly signature: string;
  readonly rung?: Rung;
  readonly ok: boolean;
  readonly tookMs: number;
}

/** What there is to learn from. */
export type LearningEvent =
  /** A remedy came to its end, by a rung or a playbook or both; `ok`: what it was for was verified afterwards. */
  | ({ readonly is: "remedied"; readonly playbook?: string } & Tried)
  /** By what a failure is known again was found out after a rung had been tried: it counts for that failure, and trust stays. */
  | ({ readonly is: "recognised" } & Tried)
  /** An incident ended, healed or by a person's word. Times are differences on the monotonic scale, all at least 0. */
  | {
      readonly is: "incidentClosed";
      readonly workload: string;
      readonly signature: string;
      /** How long ago the failure was. */
      readonly agoMs: number;
      /** How long it had run then; absent when nobody knows. */
      readonly uptimeMs?: number;
      /** How long before the failure its config had been changed; absent: not lately. */
      readonly sinceConfigMs?: number;
      /** What it depends on and had failed within five minutes before it; absent: nothing had. */
      readonly dependency?: string;
    }
  /** A person fixes the ladder's own order. What is seen is still learned, and counts again after the thaw. */
  | { readonly is: "frozen"; readonly who: string }
  | { readonly is: "thawed" };

/** What one event has taught. */
export interface Lesson {
  readonly state: LearningState;
  /** Only what is to be told now: a pattern is told when it is found, and again at most once a week while it goes on. */
  readonly suggestions: readonly Suggestion[];
}

/** A playbook that others go before, and one sentence why. */
export interface Demoted {
  readonly playbook: string;
  readonly because: string;
}

/** What the past says about a failure. */
export interface Advice extends Recommendation {
  readonly trust: TrustReport;
}

const suggestionsMax = 30;
const tellAgainMs = 7 * 86_400_000;

/** A node that has learned nothing yet. */
export function freshLearning(now: Instant): LearningState {
  return { version: 1, line: startTimeline(now), trust: {}, strategies: {}, histories: {}, suggestions: [] };
}

/** Takes in one event. Takes about a millisecond with a full memory. */
export function learn(state: LearningState, event: LearningEvent, now: Instant): Lesson {
  const line = passTo(state.line, now);
  const aged = { ...state, line };
  switch (event.is) {
    case "remedied":
      return { state: remedied(aged, event), suggestions: [] };
    case "recognised":
      return { state: counted(aged, event), suggestions: [] };
    case "incidentClosed":
      return closed(aged, event, now);
    case "frozen":
      return { state: { ...aged, frozenBy: event.who.slice(0, 64) }, suggestions: [] };
    case "thawed": {
      const { frozenBy: _who, ...thawed } = aged;
      return { state: thawed, suggestions: [] };
    }
  }
}

/** In which order to try the rungs for this failure of `workload`, and why; and how far the workload is trusted. */
export function advise(state: LearningState, workload: string, signature: string, now: Instant): Advice {
  const { ageMs } = passTo(state.line, now);
  const trust = trustIn(state.trust, `workload:${short(workload)}`, ageMs);
  if (state.frozenBy !== undefined) {
    return { ...unlearned(`the ladder's own order: ${state.frozenBy} has frozen it`), trust };
  }
  return { ...recommend(state.strategies, keyOf(workload, signature), ageMs), trust };
}

/** How far a subject is trusted, in words and figures. */
export function trustOf(state: LearningState, subject: Subject, now: Instant): TrustReport {
  return trustIn(state.trust, subject, passTo(state.line, now).ageMs);
}

/** The playbooks that others go before at `workload`; none while a person has frozen the order. */
export function demotedFor(state: LearningState, workload: string, now: Instant): Demoted[] {
  if (state.frozenBy !== undefined) return [];
  const { ageMs } = passTo(state.line, now);
  const end = ` for ${short(workload)}`;
  const uses = Object.keys(state.trust).filter((one): one is Use => one.startsWith("use:") && one.endsWith(end));
  const reports = uses.map((one) => trustIn(state.trust, one, ageMs)).filter(({ demoted }) => demoted);
  return reports.map(({ subject, because }) => ({ playbook: subject.slice("use:".length, -end.length), because }));
}

type Remedied = Extract<LearningEvent, { is: "remedied" }>;
type Closed = Extract<LearningEvent, { is: "incidentClosed" }>;

/** GRC-5: trust changes for the healer and for the unit; and for the tool that was used. */
function remedied(state: LearningState, event: Remedied): LearningState {
  const { workload, rung, playbook, ok } = event;
  const subjects: Subject[] = workload === "" ? ["node"] : ["node", `workload:${short(workload)}`];
  if (rung !== undefined) subjects.push(`rung:${rung}`);
  if (playbook !== undefined) subjects.push(`playbook:${short(playbook)}`);
  if (playbook !== undefined && workload !== "") subjects.push(useOf(playbook, workload));
  return counted({ ...state, trust: judged(state.trust, subjects, ok, state.line.ageMs) }, event);
}

/** What a rung is good for. */
function counted(state: LearningState, { workload, signature, rung, ok, tookMs }: Tried): LearningState {
  if (rung === undefined) return state;
  const attempt = { rung, ok, tookMs: Math.max(0, tookMs) };
  return { ...state, strategies: tried(state.strategies, keyOf(workload, signature), attempt, state.line.ageMs) };
}

function closed(state: LearningState, event: Closed, now: Instant): Lesson {
  const { workload, signature, agoMs, uptimeMs, sinceConfigMs, dependency } = event;
  const occurrence = {
    atMs: Math.round(Math.max(0, state.line.ageMs - agoMs)),
    wallMs: Math.round(now.wallMs - agoMs),
    ...(uptimeMs !== undefined && { uptimeMs: Math.round(uptimeMs) }),
    ...(sinceConfigMs !== undefined && { sinceConfigMs: Math.round(sinceConfigMs) }),
    ...(dependency !== undefined && { dependency: short(dependency) }),
  };
  const key = keyOf(workload, signature);
  const histories = happened(state.histories, key, workload, signature, occurrence);
  const history = histories[key];
  const found = history ? suggestionsFor(history) : [];
  return tell({ ...state, histories }, found);
}

/** Remembers what was found, and says what of it is to be told now. */
function tell(state: LearningState, found: readonly Suggestion[]): Lesson {
  const { ageMs } = state.line;
  const before = new Map(state.suggestions.map((one) => [one.id, one]));
  const told = found.map((one): Told => {
    const toldAtMs = before.get(one.id)?.toldAtMs;
    return { ...one, toldAtMs: toldAtMs !== undefined && ageMs - toldAtMs < tellAgainMs ? toldAtMs : ageMs };
  });
  const others = state.suggestions.filter((one) => !found.some(({ id }) => id === one.id));
  return {
    state: { ...state, suggestions: [...others, ...told].slice(-suggestionsMax) },
    suggestions: found.filter(
      (one, index) => told[index]?.toldAtMs === ageMs && before.get(one.id)?.toldAtMs !== ageMs,
    ),
  };
}

/** What healed one workload says nothing about another: its name is part of the pattern. */
function keyOf(workload: string, signature: string): string {
  return createHash("sha256").update(`${workload}\n${signature}`).digest("hex").slice(0, 12);
}

/** A tool that is useless for one workload may be the right one for another: it is demoted where it failed. */
function useOf(playbook: string, workload: string): Use {
  return `use:${short(playbook)} for ${short(workload)}`;
}

function short(name: string): string {
  return name.slice(0, 64);
}
