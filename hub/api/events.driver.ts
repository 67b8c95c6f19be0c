import type { IncomingMessage, ServerResponse } from "node:http";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { type Incident, IncidentSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import {
  type GetHubResponse,
  GetHubResponseSchema,
  type Node,
  NodeSchema,
} from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import type { Cancel, Clock } from "@blueflame/shared/time/clock.ts";
import { type JsonValue, toJson } from "@bufbuild/protobuf";
import type { Fleet } from "../fleet.ts";
import { latest } from "./latest.ts";
import { counts, incidentCard, nodeRow } from "./page/fragments.ts";

/** Event streams open at once; more are refused with LIMIT_REACHED. */
export const eventStreamsMax = 64;
const waitingMax = 100_000;
const incidentsMost = 20;
const closedMost = 5;
/** The fleet's own event comes this often even when nothing changes, so that a reader can tell silence from loss. */
const pulseMs = 3000;

/** How a thing is told: as protojson for programs, or as the page's fragment for the page. */
interface Telling {
  node(node: Node): JsonValue;
  incident(incident: Incident): JsonValue;
  fleet(hub: GetHubResponse): JsonValue;
}

const asJson: Telling = {
  node: (node) => toJson(NodeSchema, node, { alwaysEmitImplicit: true }),
  incident: (incident) => toJson(IncidentSchema, incident, { alwaysEmitImplicit: true }),
  fleet: (hub) => toJson(GetHubResponseSchema, hub, { alwaysEmitImplicit: true }),
};
const asHtml: Telling = {
  node: (node) => ({ key: node.id, html: nodeRow(node).text }),
  incident: (incident) => ({ key: incident.id, html: incidentCard(incident).text }),
  fleet: (hub) => ({ verdict: hub.verdict, html: counts(hub).text }),
};

/**
 * Serves `/events` as server-sent events: `begin`, every `node`, the newest `incident`s, `complete`, then each change, and
 * `fleet` at least every 3 s. Each has an id that grows; a reader that comes back is sent everything anew, because what counts
 * is the state and not the way to it. A slow reader gets the latest of each node and incident only.
 */
export function eventStreams(fleet: Fleet, clock: Clock) {
  let open = 0;
  let lastId = 0;
  return async (request: IncomingMessage, response: ServerResponse, kind: "json" | "html"): Promise<void> => {
    if (open >= eventStreamsMax) throw new Fault("LIMIT_REACHED", `${eventStreamsMax} event streams are open`);
    open += 1;
    const left = new AbortController();
    response.on("close", () => left.abort());
    const telling = kind === "html" ? asHtml : asJson;
    const say = async (event: string, value: JsonValue): Promise<void> => {
      lastId += 1;
      const room = response.write(`id: ${lastId}\nevent: ${event}\ndata: ${JSON.stringify(value)}\n\n`);
      if (!room && !left.signal.aborted) await drained(response, left.signal);
    };
    try {
      response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store" });
      response.write("retry: 2000\n\n");
      request.resume();
      await tell(fleet, clock, telling, say, left.signal);
    } finally {
      open -= 1;
      response.end();
    }
  };
}

async function tell(
  fleet: Fleet,
  clock: Clock,
  telling: Telling,
  say: (event: string, value: JsonValue) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const waiting = latest<{ node: string } | { incident: Incident } | "pulse">(waitingMax);
  const stops = [
    fleet.onNode((id) => waiting.put(`n${id}`, { node: id })),
    fleet.onIncident((incident) => waiting.put(`i${incident.id}`, { incident })),
    every(clock, pulseMs, () => waiting.put("pulse", "pulse")),
  ];
  try {
    await say("begin", {});
    await say("fleet", telling.fleet(fleet.hub()));
    for (const node of fleet.nodes()) if (!signal.aborted) await say("node", telling.node(node));
    for (const incident of await recentIncidents(fleet)) await say("incident", telling.incident(incident));
    await say("complete", {});
    while (!signal.aborted) {
      const changes = await waiting.take(signal);
      for (const change of changes) {
        if (change === "pulse" || signal.aborted) continue;
        if ("incident" in change) await say("incident", telling.incident(change.incident));
        else {
          const node = fleet.node(change.node);
          if (node !== undefined) await say("node", telling.node(node));
        }
      }
      if (!signal.aborted) await say("fleet", telling.fleet(fleet.hub()));
    }
  } finally {
    for (const stop of stops) stop();
  }
}

/** Everything open, and the newest of what is closed. */
export async function recentIncidents(fleet: Fleet): Promise<Incident[]> {
  const open = await fleet.incidents({ openOnly: true, limit: 100 });
  const recent = await fleet.incidents({ openOnly: false, limit: incidentsMost });
  const known = new Set(open.map(({ id }) => id));
  return [...open, ...recent.filter(({ id }) => !known.has(id)).slice(0, closedMost)];
}

function every(clock: Clock, ms: number, run: () => void): Cancel {
  let cancel = clock.wakeAt(clock.monotonicMs() + ms, function again() {
    run();
    cancel = clock.wakeAt(clock.monotonicMs() + ms, again);
  });
  return () => cancel();
}

function drained(response: ServerResponse, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      response.off("drain", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    response.on("drain", done);
    signal.addEventListener("abort", done);
  });
}
