import { formatTime } from "@blueflame/shared/cli/text.ts";
import type { Incident } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { GetHubResponse, Node } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { counts, incidentCard, isOpen, nodeRow } from "./fragments.ts";
import { html } from "./html.ts";

/** Rows on the page; the worst come first, and what is left out is said. */
export const rowsMost = 500;

/** The whole status page as it is now; without its script it is a snapshot, and says so. */
export function statusPage(hub: GetHubResponse, nodes: readonly Node[], incidents: readonly Incident[]): string {
  const since = hub.startedAt === undefined ? "-" : formatTime(timestampMs(hub.startedAt));
  const left = Math.max(0, nodes.length - rowsMost);
  const openFirst = [...incidents].sort((a, b) => Number(isOpen(b)) - Number(isOpen(a)));
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>${hub.verdict} · Blue Flame</title>
<link rel="icon" href="/icon.svg" type="image/svg+xml"><link rel="stylesheet" href="/page.css"><script src="/page.js" defer></script></head>
<body><header><div class="brand"><img src="/icon.svg" alt="" width="28" height="28"><h1>Blue Flame</h1>
<p id="link" role="status" class="link"><noscript>A snapshot: reload for newer figures.</noscript></p></div>
<p id="verdict" class="verdict" aria-live="polite">${hub.verdict}</p>
<ul id="counts" class="counts" aria-label="Nodes by level">${counts(hub)}</ul></header>
<main><section aria-labelledby="incidents-title"><h2 id="incidents-title">Incidents</h2>
<div id="incidents">${openFirst.map(incidentCard)}</div><p class="empty">Nothing has happened.</p></section>
<section aria-labelledby="nodes-title"><h2 id="nodes-title">Nodes</h2>
<table role="table"><thead role="rowgroup"><tr role="row"><th role="columnheader" scope="col">Level</th><th role="columnheader" scope="col">Node</th><th role="columnheader" scope="col">State</th><th role="columnheader" scope="col">Workloads</th><th role="columnheader" scope="col">Last beat</th><th role="columnheader" scope="col">Because</th></tr></thead>
<tbody role="rowgroup" id="nodes">${nodes.slice(0, rowsMost).map(nodeRow)}</tbody></table>
<p class="empty">No node has reported yet. Start one: <code>npx blueflame-agent up --hub HOST:7443 -- COMMAND</code></p>
${left > 0 ? html`<p class="more">${left} more nodes, none worse, are not shown: <code>npx blueflame nodes</code> lists all.</p>` : undefined}</section></main>
<footer><p>Hub ${hub.version} · epoch ${hub.epoch.toString()} · up since ${since} · <a href="/metrics">metrics</a> · <a href="/health/ready">health</a> · <a href="/health/performance">performance</a></p></footer></body></html>
`.text;
}
