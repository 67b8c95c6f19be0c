import { type Before, beginAction, jsonOf } from "@blueflame/shared/audit/chain.ts";
import {
  AuditOutcome,
  type Incident,
  IncidentSchema,
  IncidentState,
  Severity,
  TimelineEntrySchema,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import {
  type Hello,
  type Record as LinkRecord,
  NodeHealth,
  OrderOutcome,
} from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Countersigner, headSigner, linkOf } from "./audit-heads.ts";
import type { Health } from "./escalation/state.ts";
import type { LinkDesk, SessionDesk } from "./ingest/desk.ts";
import type { Quarantine } from "./ingest/quarantine.driver.ts";
import { clip, credibleEpoch, type OpenSession } from "./ingest/session.ts";
import type { Entry } from "./judge/entry.ts";
import type { Judge } from "./judge/judge.ts";
import type { HubStore } from "./store/hub-store.ts";
import { openIncidentsMax } from "./store/intake.ts";
import { type NodeRow, nodeBytes } from "./store/rows.ts";

const healths: Readonly<Record<number, Health>> = {
  [NodeHealth.HEALTHY]: "healthy",
  [NodeHealth.DEGRADED]: "degraded",
  [NodeHealth.FAILED]: "failed",
};
const outcomes: Readonly<Record<number, "done" | "failed" | "refused">> = {
  [OrderOutcome.DONE]: "done",
  [OrderOutcome.REFUSED]: "refused",
};
/** Whoever holds a certificate could fill the audit with refusals otherwise; the log has them all. */
const refusalsPerMinute = 60;
/** What a node says of itself is for people, and bounded like everything that comes from outside. */
const labelsMax = 32;
const workloadsMax = 1_000;
const readingsMax = 1_000;

export interface DeskOptions {
  readonly judge: Judge;
  readonly store: HubStore;
  readonly quarantine: Quarantine;
  readonly heartbeatIntervalMs: number;
  readonly countersigner: Countersigner;
  nodeChanged(id: string): void;
}

/** Where the link meets the rest of the hub: sessions become events of the judge, records become rows of the store. */
export function linkDesk(options: DeskOptions): LinkDesk {
  const { judge, store, quarantine, heartbeatIntervalMs, nodeChanged } = options;
  const { clock, log } = judge.ports;
  let refusalMinute = 0;
  let refusals = 0;
  return {
    async known(nodeId, generation) {
      const row = judge.entries.get(nodeId)?.row;
      const storeEpoch = row?.storeGeneration === generation ? row.storeEpoch : 0n;
      const durableThrough = await store.durableThrough(nodeId, generation);
      return { incarnation: row?.incarnation ?? 0n, durableThrough, storeEpoch };
    },
    async open(session, hello, storeBehind) {
      await store.raiseEpoch(credibleEpoch(hello.lastHubEpoch));
      const known = judge.entries.get(session.nodeId);
      const row = rowOf(session, hello, known?.row, Math.floor(clock.wallMs()));
      // A fleet that comes back after a restart of the hub is known already: no write for each of ten thousand nodes.
      if (!known || !sameRow(known.row, row)) await store.save({ nodes: [row] });
      const own = linkOf(hello.auditHead);
      // A store that was set back has lost its end as well: that is one thing to tell, not two.
      const differs = own && !storeBehind ? await store.hear(session.nodeId, own) : undefined;
      const leftSite = known?.row.site;
      const entry = known ?? judge.add(row, undefined);
      // The level may have changed while the row was being written.
      entry.row = { ...row, levelSinceWallMs: entry.row.levelSinceWallMs, levelBecause: entry.row.levelBecause };
      judge.groups.join(entry, leftSite);
      entry.connected = true;
      judge.step(entry, { is: "sessionOpened", incarnation: Number(session.incarnation) });
      const because = `session ${session.session} of life ${session.incarnation}: ${clip(hello.because) || "first"}`;
      note(judge, entry.id, "session.open", because);
      log.info({ node: entry.id, session: `${session.session}`, because: clip(hello.because) }, "session opened");
      if (storeBehind) tellStoreBehind(judge, entry);
      if (differs !== undefined) tellAudit(judge, entry, differs);
      nodeChanged(entry.id);
      return sessionDesk(options, entry, session, differs !== undefined);
    },
    welcome: () => ({
      heartbeatIntervalMs,
      hubEpoch: store.epoch(),
      hubTimeMs: Math.floor(clock.wallMs()),
      recordsPerSecond: paceFor(judge.entries.size),
    }),
    quarantine(nodeId, bytes, because) {
      log.warn(
        { node: nodeId, bytes: bytes.length, because: clip(because) },
        "a message could not be decoded and was set aside",
      );
      try {
        quarantine.keep(nodeId, bytes, clock.wallMs());
      } catch (error) {
        // A full disk. The message is counted all the same; thrown on, this would end the hub.
        log.error({ node: nodeId, because: String(error) }, "what could not be decoded could not be set aside either");
      }
    },
    clone(nodeId) {
      const entry = judge.entries.get(nodeId);
      if (entry) tellClone(judge, entry);
    },
    refused(nodeId, fault) {
      const minute = Math.floor(clock.monotonicMs() / 60_000);
      refusals = minute === refusalMinute ? refusals + 1 : 1;
      refusalMinute = minute;
      if (refusals <= refusalsPerMinute) {
        note(judge, nodeId, "session.refuse", `[${fault.code}] ${clip(fault.saw)}`, AuditOutcome.REFUSED);
      }
      log.warn({ node: nodeId, code: fault.code, because: fault.saw }, "session refused");
    },
  };
}

/** What all nodes together may send of their backlogs, shared among those that are known: all of them may come back at once. */
const fleetRecordsPerSecond = 10_000;
const pace = { least: 2, most: 500 };

function paceFor(nodes: number): number {
  return Math.min(pace.most, Math.max(pace.least, Math.floor(fleetRecordsPerSecond / Math.max(1, nodes))));
}

/** `isDoubted`: that its audit differs was told when it opened, and what follows from that pages nobody once more. */
function sessionDesk(options: DeskOptions, entry: Entry, session: OpenSession, isDoubted: boolean): SessionDesk {
  const { judge, store, countersigner, nodeChanged } = options;
  const signHeads = headSigner(countersigner, session);
  let lifeTold = false;
  return {
    beat(heartbeat) {
      entry.heartbeat = heartbeat.readings.length > readingsMax ? { ...heartbeat, readings: [] } : heartbeat;
      entry.row = withEpoch(entry.row, heartbeat.storeEpoch);
      judge.beat(entry, healths[heartbeat.health] ?? "unspecified");
      nodeChanged(entry.id);
    },
    status(status) {
      for (const incident of aheadOfRecords(judge, entry, status.openIncidents)) judge.carrier.reported(incident);
      entry.status = { ...status, workloads: status.workloads.slice(0, workloadsMax), openIncidents: [] };
      nodeChanged(entry.id);
    },
    goingAway({ because, workloadsContinue }) {
      // An agent that stops for good says so; one that upgrades or restarts comes back, and silence after it is a symptom.
      const comesBack = because === "upgrade" || because === "agent_restart";
      judge.ports.log.info({ node: entry.id, because: clip(because), workloadsContinue }, "the node goes away");
      note(
        judge,
        entry.id,
        "node.leave",
        `it leaves: ${clip(because)}; its workloads ${workloadsContinue ? "go on" : "stop"}`,
      );
      judge.step(entry, { is: "goingAway", because: clip(because), comesBack });
      nodeChanged(entry.id);
    },
    async keep(records) {
      const { generation } = session;
      const kept = await store.keep({ nodeId: entry.id, site: entry.row.site, generation, records });
      for (const incident of kept.incidents) judge.carrier.reported(incident);
      for (const result of kept.orderResults) {
        judge.carrier.orderResult(entry.id, result.orderId, outcomes[result.outcome] ?? "failed", clip(result.because));
      }
      const life = lifeTold ? undefined : newLifeIn(records, generation);
      if (life !== undefined) tellNewLife(judge, entry, life);
      lifeTold ||= life !== undefined;
      for (const because of kept.brokenAudit) tellAudit(judge, entry, because, isDoubted);
      if (kept.incidents.length > 0) nodeChanged(entry.id);
    },
    auditHeads: (first) => signHeads(store.chains(entry.id), first),
    closed() {
      note(judge, entry.id, "session.close", `the stream of session ${session.session} has ended`);
      entry.connected = false;
      judge.step(entry, { is: "sessionClosed" });
      nodeChanged(entry.id);
    },
  };
}

function rowOf(session: OpenSession, hello: Hello, known: NodeRow | undefined, nowMs: number): NodeRow {
  const labels = Object.entries(hello.labels).slice(0, labelsMax);
  return {
    id: session.nodeId,
    site: clip(hello.site),
    labels: Object.fromEntries(labels.map(([key, value]) => [clip(key), clip(value)])),
    incarnation: session.incarnation,
    session: session.session,
    bootId: session.bootId,
    version: clip(hello.version),
    inventory: hello.inventory,
    storeGeneration: session.generation,
    storeEpoch:
      known?.storeGeneration === session.generation ? max(known.storeEpoch, hello.storeEpoch) : hello.storeEpoch,
    seenWallMs: known?.seenWallMs ?? 0,
    levelSinceWallMs: known?.levelSinceWallMs ?? nowMs,
    levelBecause: known?.levelBecause ?? "beats arrive",
  };
}

/** It only grows, and is written with whatever else is written of the node: of ten thousand nodes each beat would be too much. */
function withEpoch(row: NodeRow, told: bigint): NodeRow {
  return told > row.storeEpoch ? { ...row, storeEpoch: told } : row;
}
function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

/** An entry of the activity log that is no decision of a machine. */
function note(judge: Judge, nodeId: string, action: string, because: string, outcome = AuditOutcome.SUCCESS): void {
  judge.carrier.act(judge.now(), { action, target: `node/${nodeId}`, because, nodeId, outcome });
  judge.write();
}

/** But for what every heartbeat changes. */
function sameRow(left: NodeRow, right: NodeRow): boolean {
  const { storeEpoch } = right;
  return Buffer.compare(nodeBytes({ ...left, storeEpoch }), nodeBytes(right)) === 0;
}

/** Closes what was opened for clones that have been quiet since `sinceMs`: a person has removed one, or it gave up. */
export function closeQuietClones(judge: Judge, lastContestMs: (nodeId: string) => number, sinceMs: number): void {
  for (const incident of [...judge.carrier.incidents.values()]) {
    if (incident.symptom !== "clone" || lastContestMs(incident.nodeId) > sinceMs) continue;
    const because = "nobody has taken the session from another agent for ten minutes";
    const change = { what: "closed", because, stage: "closed", needsPerson: false } as const;
    const about = { nodeId: incident.nodeId, site: incident.site, symptom: "node_silent" } as const;
    judge.carrier.incident({ do: "closeIncident", id: incident.id, change }, about, judge.now());
  }
  judge.write();
}

/** Two machines with one identity: a person has to tell them apart; see {@link closeQuietClones}. */
function tellClone(judge: Judge, entry: Entry): void {
  const because = `two agents take the session of ${entry.id} from each other: one of them is a clone`;
  tell(judge, entry, "clone", because, Severity.HIGH);
}

/** Its next records carry numbers that this hub takes for duplicates; the agent is told, and begins a new life of its store, locked. */
function tellStoreBehind(judge: Judge, entry: Entry): void {
  const because = `the store of ${entry.id} knows less than it once sent: it was set back without starting anew`;
  judge.ports.log.warn({ node: entry.id, because }, "store behind");
  note(judge, entry.id, "node.store_behind", because, AuditOutcome.FAILURE);
  tell(judge, entry, "store_rolled_back", because, Severity.HIGH);
}

/** What the first record of a life says of the lives before it; undefined where none begins, and for the first life of all. */
function newLifeIn(records: readonly LinkRecord[], generation: string): string | undefined {
  for (const { kind } of records) {
    if (kind.case !== "audit" || kind.value.action !== beginAction || kind.value.generation !== generation) continue;
    if (jsonOf<Before>(kind.value.beforeJson)?.generation) return clip(kind.value.because);
  }
  return undefined;
}

/** Mended, restored or set back: something may be missing, and each workload's risk is locked until a person opens it. Once for each session. */
function tellNewLife(judge: Judge, entry: Entry, because: string): void {
  const words = `${entry.id} goes on as life ${entry.row.incarnation}, its risk locked: ${because}`;
  note(judge, entry.id, "node.new_life", words);
  const about = { node: entry.id, site: entry.row.site, because: words, incidentId: "" };
  judge.carrier.alert({ kind: "store_new_life", ...about }, judge.now());
  judge.write();
}

/** Somebody has changed what the node has recorded, or taken the end of it away; `blueflame audit verify` says where. */
function tellAudit(judge: Judge, entry: Entry, because: string, isKnown = false): void {
  const words = `${entry.id}: ${because}`;
  note(judge, entry.id, "audit.broken", words, AuditOutcome.FAILURE);
  const about = { node: entry.id, site: entry.row.site, because: words, incidentId: "" };
  if (!isKnown) judge.carrier.alert({ kind: "audit_broken", ...about }, judge.now());
  judge.write();
}

/** Newest revisions of open incidents that come before their records: bounded, and only where they can be the node's own. */
function aheadOfRecords(judge: Judge, entry: Entry, told: readonly Incident[]): Incident[] {
  if (told.length === 0) return [];
  let open = 0;
  for (const { nodeId } of judge.carrier.incidents.values()) if (nodeId === entry.id) open += 1;
  return told
    .slice(0, Math.max(0, openIncidentsMax - open))
    .filter(({ id, state }) => /^[\w-]{1,64}$/.test(id) && state !== IncidentState.CLOSED)
    .map((incident) => ({ ...incident, nodeId: entry.id, site: entry.row.site }));
}

function tell(judge: Judge, entry: Entry, symptom: string, because: string, severity: Severity): void {
  const now = judge.now();
  const at = timestampFromMs(now.wallMs);
  const held = [...judge.carrier.incidents.values()].find((one) => one.nodeId === entry.id && one.symptom === symptom);
  const incident: Incident = create(IncidentSchema, {
    ...(held ?? {
      id: now.id,
      nodeId: entry.id,
      site: entry.row.site,
      symptom,
      severity,
      state: IncidentState.OPEN,
      summary: because,
      faultAt: at,
      detectedAt: at,
      needsPerson: true,
    }),
    revision: (held?.revision ?? 0n) + 1n,
    timeline: [...(held?.timeline ?? []), create(TimelineEntrySchema, { at, what: "symptom", because })].slice(-100),
  });
  judge.carrier.took(incident, held);
  judge.draft.incident(incident, true);
  judge.carrier.alert({ kind: symptom, node: entry.id, site: entry.row.site, because, incidentId: incident.id }, now);
  judge.write();
}
