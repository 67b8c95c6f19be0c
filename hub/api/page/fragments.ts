import { causeWords, remedyWords, workloadMarks } from "@blueflame/shared/cli/incident-words.ts";
import { formatAge, formatDuration, formatTime } from "@blueflame/shared/cli/text.ts";
import { type Incident, IncidentState, Severity } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import {
  WorkloadHealth,
  WorkloadPhase,
  type WorkloadStatus,
} from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import {
  FleetState,
  type GetHubResponse,
  Level,
  type Node,
} from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { durationMs, type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import { html, type Markup } from "./html.ts";

/** Letter and word beside the colour: one person in twelve does not see the colour. */
const levels: Readonly<Record<Level, readonly [letter: string, name: string]>> = {
  [Level.UNSPECIFIED]: ["?", "unknown"],
  [Level.GREEN]: ["G", "green"],
  [Level.YELLOW]: ["Y", "yellow"],
  [Level.ORANGE]: ["O", "orange"],
  [Level.RED]: ["R", "red"],
};
const states: Readonly<Record<FleetState, string>> = {
  [FleetState.UNSPECIFIED]: "Not known",
  [FleetState.HEALTHY]: "Healthy",
  [FleetState.DEGRADED]: "Degraded",
  [FleetState.FAILED]: "Failed",
};
const healths: Readonly<Record<WorkloadHealth, string>> = {
  [WorkloadHealth.UNSPECIFIED]: "quiet",
  [WorkloadHealth.HEALTHY]: "good",
  [WorkloadHealth.DEGRADED]: "warn",
  [WorkloadHealth.UNHEALTHY]: "bad",
};
/** Chips in one row; a node with a hundred workloads names the worst. */
const workloadsMost = 12;

/** One row of the nodes' table. `data-rank` sorts as text: worst first, then by id. */
export function nodeRow(node: Node): Markup {
  const [letter, name] = levels[node.level] ?? levels[Level.UNSPECIFIED];
  const ageMs = node.lastBeatAgo === undefined ? undefined : durationMs(node.lastBeatAgo);
  const place = [node.site, ...Object.entries(node.labels).map(([key, value]) => `${key}=${value}`)].filter(Boolean);
  return html`<tr role="row" class="${name}" data-key="${node.id}" data-rank="${9 - node.level}${node.id}">
<td role="cell" data-title="Level"><span class="level ${name}"><b aria-hidden="true">${letter}</b>${name.toUpperCase()}</span></td>
<th role="rowheader" scope="row" data-title="Node"><span class="id">${node.id}</span><small>${place.join(" · ")}</small></th>
<td role="cell" data-title="State">${states[node.state] ?? "Not known"}<small>${presence(node)}</small></td>
<td role="cell" data-title="Workloads"><span class="chips">${chips(node.workloads)}</span></td>
<td role="cell" data-title="Last beat" class="beat">${age(ageMs)}<small>${node.missed > 0 ? `${node.missed} missed` : ""}</small></td>
<td role="cell" data-title="Because">${node.because}</td></tr>`;
}

function presence(node: Node): string {
  const link = node.connected ? "connected" : "not connected";
  return `${node.presence.toLowerCase()}, ${link}${node.frozen ? ", escalation frozen" : ""}`;
}

function age(ms: number | undefined): Markup {
  if (ms === undefined) return html`<span>never</span>`;
  return html`<span data-age-ms="${Math.round(ms)}">${formatAge(ms)}</span>`;
}

function chips(workloads: readonly WorkloadStatus[]): Markup[] {
  if (workloads.length === 0) return [html`<span class="none">none</span>`];
  const worstFirst = [...workloads].sort((a, b) => b.health - a.health || (a.name < b.name ? -1 : 1));
  const shown = worstFirst.slice(0, workloadsMost).map((one) => {
    const pid = one.pid > 0 ? ` · pid ${one.pid}` : "";
    const restarts = one.restarts > 0n ? ` · ${one.restarts} ${one.restarts === 1n ? "restart" : "restarts"}` : "";
    const phase = (WorkloadPhase[one.phase] ?? "unknown").toLowerCase();
    const marks = workloadMarks(one).map((mark) => html` · <i>${mark}</i>`);
    return html`<span class="chip ${healths[one.health] ?? "quiet"}" title="${one.because}"><b>${one.name}</b> ${phase}${pid}${restarts}${marks}</span>`;
  });
  const more = workloads.length - shown.length;
  return more > 0 ? [...shown, html`<span class="none">and ${more} more, no worse</span>`] : shown;
}

/** True while something is to be done or watched. */
export function isOpen(incident: Incident): boolean {
  return incident.state !== IncidentState.CLOSED;
}

/** One incident with its timeline. Open ones rank first, then the newest. */
export function incidentCard(incident: Incident): Markup {
  const open = isOpen(incident);
  const atMs = ms(incident.detectedAt) ?? 0;
  const state = (IncidentState[incident.state] ?? "unknown").toLowerCase();
  const where = [incident.site, incident.nodeId, incident.workload].filter(Boolean).join(" / ");
  const took = incident.timeToRecover === undefined ? undefined : durationMs(incident.timeToRecover);
  const rank = `${open ? 0 : 1}${String(1e15 - atMs).padStart(16, "0")}${incident.id}`;
  return html`<article class="incident ${open ? "open" : "closed"}" data-key="${incident.id}" data-rank="${rank}" data-open="${open ? "yes" : "no"}">
<details ${open ? html`open` : undefined}><summary><span class="state ${state}">${state}</span>
<span class="what">${incident.summary === "" ? incident.symptom : incident.summary}</span>
<small>${where}${severity(incident)}${believed(incident)} · ${clockTime(incident.detectedAt)}${took === undefined ? "" : ` · recovered in ${formatDuration(took)}`}</small>
${incident.needsPerson ? html`<span class="needs">needs you</span>` : undefined}</summary>
<ol class="timeline">${incident.timeline.map((entry) => html`<li>${clockTime(entry.at)} <b>${entry.what}</b> ${entry.because}</li>`)}</ol>
<small class="id">${incident.id}</small></details></article>`;
}

function severity(incident: Incident): string {
  return incident.severity === Severity.UNSPECIFIED ? "" : ` · ${(Severity[incident.severity] ?? "").toLowerCase()}`;
}

/** The cause with its confidence, and the rung or playbook at work, or how the last one ended. */
function believed(incident: Incident): Markup[] {
  return [causeWords(incident), remedyWords(incident)].filter(Boolean).map((words) => html` · <i>${words}</i>`);
}

/** Nodes by level, worst first; a level that nobody has is not shown, except GREEN. */
export function counts(hub: GetHubResponse): Markup {
  const rows: readonly (readonly [string, string, number])[] = [
    ["R", "red", hub.red],
    ["O", "orange", hub.orange],
    ["Y", "yellow", hub.yellow],
    ["G", "green", hub.green],
  ];
  const shown = rows.filter(([, name, count]) => count > 0 || name === "green");
  const frozen =
    hub.frozen.length === 0 ? undefined : html`<li class="frozen">Escalation frozen: ${hub.frozen.join(", ")}</li>`;
  return html`${shown.map(([letter, name, count]) => html`<li><span class="level ${name}"><b aria-hidden="true">${letter}</b>${name.toUpperCase()}</span> ${count}</li>`)}${frozen}`;
}

function clockTime(at: Timestamp | undefined): Markup {
  const full = formatTime(ms(at));
  const iso = at === undefined ? "" : new Date(timestampMs(at)).toISOString();
  return html`<time datetime="${iso}" title="${full}">${full.slice(11)}</time>`;
}

function ms(at: Timestamp | undefined): number | undefined {
  return at === undefined ? undefined : timestampMs(at);
}
