import { unreachable } from "@blueflame/shared/errors/fault.ts";
import type { Moment } from "@blueflame/shared/time/clock.ts";
import type { Change } from "../incidents/change.ts";
import { type Policy, seconds } from "./policy.ts";

/**
 * Mass silence is not mass death: a switch, a site's uplink or the hub itself is the likelier cause. One group of nodes,
 * a site or all of them; pure, fed with a census at each sweep at which something changed.
 *
 *             ≥ minNodes and ≥ minShare of those that were alive fell silent within windowMs
 *    calm ──────────────────────────────────────────────────────────────────────────────────▶ frozen
 *     ▲        one incident and one alert for the group; no node of it climbs                    │
 *     └──────────── fewer are missing, and stay so for thawAfterMs; or a person ends it ◀────────┘
 *
 * Who was silent before is not part of "together". A fleet below minNodes follows the plain rules. The freeze has no end
 * of its own: as long as most of the group is missing, a person decides; the alert has called one.
 */
export type Group = Calm | Frozen;

export interface Calm {
  readonly at: "calm";
  readonly group: string;
  /** Who fell silent within the window and is still silent, oldest first. */
  readonly fallen: readonly Fallen[];
}
export interface Frozen {
  readonly at: "frozen";
  readonly group: string;
  /** Empty while a larger group's incident explains this one. */
  readonly incidentId: string;
  /** Null after a restart of the hub: the time to recover is then unknown. */
  readonly sinceMs: number | null;
  /** Who fell silent together, or while frozen, and is still silent. */
  readonly missing: readonly string[];
  /** Since when few enough are missing; null while too many are. */
  readonly fewSinceMs: number | null;
}
export interface Fallen {
  readonly node: string;
  readonly atMs: number;
}

/** When silence is common; minNodes 3, minShare 0.5, thawAfterMs 30 s unless set. */
export interface MassPolicy {
  readonly minNodes: number;
  readonly minShare: number;
  /** One detection window: beats are spread over an interval, so one cause is noticed over that long. */
  readonly windowMs: number;
  readonly thawAfterMs: number;
}

export type MassEvent =
  /**
   * `fell`: turned from GREEN to YELLOW since the last census. `back`: beat, or left on purpose, since then. `alive`: nodes
   * of the group that are GREEN and have not left, now. A node that the hub has not heard since its own start counts as
   * alive until it turns YELLOW. `covered`: a larger group is frozen, whose incident explains this one.
   */
  | {
      readonly is: "census";
      readonly fell: readonly string[];
      readonly back: readonly string[];
      readonly alive: number;
      readonly covered: boolean;
    }
  /** The hub was late or away. */
  | { readonly is: "amnesty"; readonly byMs: number }
  /** A person says: these are dead after all, go on. */
  | { readonly is: "overridden"; readonly person: string };

export type MassEffect =
  /** Step every node of the group with `frozen`, and every node that joins it until the thaw. */
  | { readonly do: "freeze"; readonly group: string }
  /** Step every node with `thawed` that the group has frozen: its `frozenBy` names it, wherever the node belongs by now. */
  | { readonly do: "thaw"; readonly group: string }
  | { readonly do: "openIncident" | "updateIncident" | "closeIncident"; readonly id: string; readonly change: Change }
  | { readonly do: "alert"; readonly kind: "mass_silence"; readonly because: string };

export interface MassStep {
  readonly state: Group;
  readonly effects: readonly MassEffect[];
  readonly because: string;
}

/** The group that holds every node. */
export const everyone = "all";

/** The groups of a node: its site, and everyone where there is more than one site. */
export function groupsOf(site: string, sites: number): readonly string[] {
  if (site === "") return [everyone];
  return sites > 1 ? [`site/${site}`, everyone] : [`site/${site}`];
}

export function newGroup(group: string): Group {
  return { at: "calm", group, fallen: [] };
}

/** The mass policy that goes with an escalation policy. */
export function massPolicyOf(policy: Policy, set: Partial<MassPolicy> = {}): MassPolicy {
  const windowMs = policy.heartbeatIntervalMs * (1 + policy.late);
  return { minNodes: 3, minShare: 0.5, windowMs, thawAfterMs: 30_000, ...set };
}

/** After a restart of the hub: a freeze holds, what had begun to fall is judged anew. */
export function restoredGroup(state: Group): Group {
  return state.at === "calm" ? newGroup(state.group) : { ...state, sinceMs: null, fewSinceMs: null };
}

/** When a census without news will have something to do; Infinity: not before something else happens. */
export function massDeadline(policy: MassPolicy, state: Group): number {
  if (state.at === "calm") return Number.POSITIVE_INFINITY;
  // Asked at every sweep whether the larger group still explains it.
  if (state.incidentId === "") return Number.NEGATIVE_INFINITY;
  if (state.fewSinceMs === null) return Number.POSITIVE_INFINITY;
  return state.fewSinceMs + policy.thawAfterMs;
}

/** Feed it before the nodes' own ORANGE: in one sweep first all that turn YELLOW, then this, then the rest. */
export function massStep(policy: MassPolicy, state: Group, event: MassEvent, now: Moment): MassStep {
  switch (event.is) {
    case "census":
      return state.at === "calm" ? watch(policy, state, event, now) : hold(policy, state, event, now);
    case "amnesty":
      return { state: forgive(state, Math.max(0, event.byMs)), effects: [], because: "the hub was away" };
    case "overridden":
      if (state.at === "calm") return { state, effects: [], because: `${state.group} is not frozen` };
      return thaw(state, `${event.person} ended the freeze`, now);
    default:
      return unreachable(event);
  }
}

type Census = Extract<MassEvent, { is: "census" }>;

function watch(policy: MassPolicy, state: Calm, census: Census, now: Moment): MassStep {
  const back = new Set(census.back);
  const fresh = new Set(census.fell);
  const kept = state.fallen.filter(
    ({ node, atMs }) => atMs >= now.ms - policy.windowMs && !back.has(node) && !fresh.has(node),
  );
  const fallen = [...kept, ...census.fell.filter((node) => !back.has(node)).map((node) => ({ node, atMs: now.ms }))];
  if (!many(policy, fallen.length, census.alive)) {
    return { state: { ...state, fallen }, effects: [], because: `${fallen.length} fell silent: not many together` };
  }
  return freeze(state, fallen, census, now);
}

function freeze(state: Calm, fallen: readonly Fallen[], census: Census, now: Moment): MassStep {
  const { group } = state;
  const spanMs = now.ms - (fallen[0]?.atMs ?? now.ms);
  const because = `${fallen.length} of ${fallen.length + census.alive} nodes of ${group} fell silent within ${seconds(spanMs)}`;
  const missing = fallen.map(({ node }) => node);
  const next: Frozen = { at: "frozen", group, incidentId: "", sinceMs: now.ms, missing, fewSinceMs: null };
  const told = explain(next, census, spanMs, because, now);
  return { state: told.state, effects: [{ do: "freeze", group }, ...told.effects], because };
}

// One cause, one incident: a site says nothing while the incident of a larger group explains its silence.
function explain(state: Frozen, census: Census, faultAgoMs: number, because: string, now: Moment): Told {
  if (census.covered || state.incidentId !== "") return { state, effects: [] };
  const summary = `${because}: the network or the hub is the likelier cause; nobody is restarted`;
  const change = { what: "symptom", because, stage: "open", severity: "high", summary, needsPerson: true } as const;
  return {
    state: { ...state, incidentId: now.id },
    effects: [
      { do: "openIncident", id: now.id, change: { ...change, faultAgoMs } },
      { do: "alert", kind: "mass_silence", because: summary },
    ],
  };
}

interface Told {
  readonly state: Frozen;
  readonly effects: readonly MassEffect[];
}

function hold(policy: MassPolicy, state: Frozen, census: Census, now: Moment): MassStep {
  const back = new Set(census.back);
  const missing = [...new Set([...state.missing, ...census.fell])].filter((node) => !back.has(node));
  const kept = { ...state, missing };
  if (many(policy, missing.length, census.alive)) {
    const because = `${missing.length} of ${missing.length + census.alive} nodes of ${state.group} are missing`;
    const told = explain(kept, census, now.ms - (state.sinceMs ?? now.ms), because, now);
    return { state: { ...told.state, fewSinceMs: null }, effects: told.effects, because };
  }
  const fewSinceMs = state.fewSinceMs ?? now.ms;
  if (now.ms <= fewSinceMs + policy.thawAfterMs) {
    return { state: { ...kept, fewSinceMs }, effects: [], because: `only ${missing.length} are missing: thaws soon` };
  }
  return thaw(kept, `only ${missing.length} are missing for ${seconds(policy.thawAfterMs)}`, now);
}

function thaw(state: Frozen, because: string, now: Moment): MassStep {
  const { group, incidentId, missing } = state;
  const effects: MassEffect[] = [{ do: "thaw", group }];
  const recoverMs = state.sinceMs === null ? null : now.ms - state.sinceMs;
  const names = missing.length > 0 ? `; still silent: ${some(missing)}` : "";
  const change = {
    what: "closed",
    because: `${because}${names}`,
    stage: "closed",
    needsPerson: false,
    recoverMs,
  } as const;
  if (incidentId !== "") effects.push({ do: "closeIncident", id: incidentId, change });
  return { state: newGroup(group), effects, because };
}

function many(policy: MassPolicy, silent: number, alive: number): boolean {
  return silent >= policy.minNodes && silent >= policy.minShare * (silent + alive);
}

function forgive(state: Group, byMs: number): Group {
  if (state.at === "calm") {
    return { ...state, fallen: state.fallen.map(({ node, atMs }) => ({ node, atMs: atMs + byMs })) };
  }
  return { ...state, fewSinceMs: state.fewSinceMs === null ? null : state.fewSinceMs + byMs };
}

// Names are for people: the first ten say enough.
function some(names: readonly string[], limit = 10): string {
  const rest = names.length - limit;
  return rest > 0 ? `${names.slice(0, limit).join(", ")} and ${rest} more` : names.join(", ");
}
