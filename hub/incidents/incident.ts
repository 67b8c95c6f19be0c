import {
  type Incident,
  IncidentSchema,
  IncidentState,
  Severity,
  type TimelineEntry,
  TimelineEntrySchema,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { Moment } from "@blueflame/shared/time/clock.ts";
import { create } from "@bufbuild/protobuf";
import { durationFromMs, type Timestamp, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { Change, Stage } from "./change.ts";

/**
 * Builds and revises incidents. Pure: every function returns a new message and leaves the given one as it was.
 *
 *    open ──▶ recovering ──▶ verifying ──▶ probation ──▶ closed
 *                 ▲              │             │             (from anywhere; nothing leads out)
 *                 └── relapse ───┴─────────────┘
 */
export const timelineMax = 100;

/** What an incident is about. */
export interface About {
  /** Empty for an incident of a whole site. */
  readonly nodeId: string;
  readonly site: string;
  readonly symptom: "node_silent" | "site_silent";
}

/** A machine's incident effect, by its shape. */
export interface IncidentEffect {
  readonly do: "openIncident" | "updateIncident" | "closeIncident";
  readonly id: string;
  readonly change: Change;
}

const states: Readonly<Record<Stage, IncidentState>> = {
  open: IncidentState.OPEN,
  recovering: IncidentState.RECOVERING,
  verifying: IncidentState.VERIFYING,
  probation: IncidentState.PROBATION,
  closed: IncidentState.CLOSED,
};
const severities = {
  low: Severity.LOW,
  medium: Severity.MEDIUM,
  high: Severity.HIGH,
  critical: Severity.CRITICAL,
} as const;

/**
 * Carries out an incident effect of a machine. `held` is the incident as it is stored, undefined when there is none:
 * then an update opens it, so that a lost row never loses the news. Several effects of one decision follow each other.
 */
export function carryOut(
  held: Incident | undefined,
  effect: IncidentEffect,
  about: About,
  now: Pick<Moment, "wallMs" | "id">,
): Incident {
  return held ? revise(held, effect.change, now) : open(effect.id, effect.change, about, now);
}

/** A new incident, revision 1. */
export function open(id: string, change: Change, about: About, now: Pick<Moment, "wallMs" | "id">): Incident {
  const first = create(IncidentSchema, {
    id,
    nodeId: about.nodeId,
    site: about.site,
    symptom: about.symptom,
    state: IncidentState.OPEN,
    severity: Severity.MEDIUM,
    summary: change.because,
    faultAt: timestampFromMs(Math.round(now.wallMs - (change.faultAgoMs ?? 0))),
    detectedAt: timestampFromMs(now.wallMs),
  });
  return revise(first, change, now);
}

/** The next revision. A closed incident stays closed: what comes after only lengthens its timeline. */
export function revise(held: Incident, change: Change, now: Pick<Moment, "wallMs" | "id">): Incident {
  const at = timestampFromMs(now.wallMs);
  const state = change.stage && mayGo(held.state, states[change.stage]) ? states[change.stage] : held.state;
  const next = create(IncidentSchema, {
    ...held,
    revision: held.revision + 1n,
    state,
    timeline: bounded([...held.timeline, entry(change, at, now.id)]),
  });
  if (change.severity) next.severity = severities[change.severity];
  if (change.summary !== undefined) next.summary = change.summary;
  if (change.needsPerson !== undefined) next.needsPerson = change.needsPerson;
  if (change.recoverMs !== undefined) {
    next.recoveredAt = at;
    if (change.recoverMs !== null) next.timeToRecover = durationFromMs(Math.round(change.recoverMs));
  }
  // A relapse takes the recovery back: it was none.
  if (state === IncidentState.RECOVERING && held.recoveredAt) {
    delete next.recoveredAt;
    delete next.timeToRecover;
  }
  if (state === IncidentState.CLOSED && !held.closedAt) next.closedAt = at;
  return next;
}

function mayGo(from: IncidentState, to: IncidentState): boolean {
  if (from === IncidentState.CLOSED) return false;
  return to >= from || to === IncidentState.RECOVERING;
}

function entry(change: Change, at: Timestamp, decisionId: string): TimelineEntry {
  return create(TimelineEntrySchema, { at, what: change.what, because: change.because, decisionId });
}

// How it began and how it went last are worth more than what lies between: the middle goes first.
function bounded(timeline: TimelineEntry[]): TimelineEntry[] {
  const excess = timeline.length - timelineMax;
  if (excess <= 0) return timeline;
  const middle = timelineMax / 2;
  return [...timeline.slice(0, middle), ...timeline.slice(middle + excess)];
}

/** The newer of what is held and what arrived: an older revision never replaces a newer one. */
export function merge(held: Incident | undefined, arrived: Incident): Incident {
  return held && held.revision >= arrived.revision ? held : arrived;
}

export function isOpen(incident: Incident): boolean {
  return incident.state !== IncidentState.CLOSED;
}

/** Fault to detection in milliseconds, for the mean time to detect; undefined when one end is not known. */
export function detectMs(incident: Incident): number | undefined {
  const { faultAt, detectedAt } = incident;
  if (!faultAt || !detectedAt) return undefined;
  // Both were written at the same moment by one side, the fault as the moment less a measured time.
  return Math.max(0, timestampMs(detectedAt) - timestampMs(faultAt));
}

/** Detection to verification in milliseconds as measured on the monotonic clock; undefined while not known. */
export function recoverMs(incident: Incident): number | undefined {
  const took = incident.timeToRecover;
  return took && Number(took.seconds) * 1000 + took.nanos / 1e6;
}
