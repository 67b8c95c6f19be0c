import {
  AuditOutcome,
  type AuditRecord,
  AuditRecordSchema,
  type Incident,
  IncidentState,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { uuid7 } from "@blueflame/shared/ids/uuid7.ts";
import type { Random } from "@blueflame/shared/random/random.ts";
import type { Clock } from "@blueflame/shared/time/clock.ts";
import { create } from "@bufbuild/protobuf";
import { durationFromMs, type Timestamp, timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { AgentStore } from "./ports.ts";

/** Every incident that is open when an agent dies; a node has far fewer. */
const incidentsMax = 1000;

/**
 * What a store is told that opened long after its agent started, before anybody else writes: an audit record that says from
 * when to when nothing was recorded, and the end of the incidents of workloads that the earlier agent left open, since nobody
 * who knew of them lives; those of the node are in its memory, which the next agent reads. A disk that refuses again loses these,
 * and only these. Never rejects.
 */
export async function tellOfLateOpening(
  store: AgentStore,
  since: { readonly wallMs: number; readonly because: string },
  chance: { readonly clock: Clock; readonly random: Random },
): Promise<void> {
  const wallMs = chance.clock.wallMs();
  const at = timestampFromMs(Math.round(wallMs));
  const { nodeId } = store.identity;
  const record: AuditRecord = create(AuditRecordSchema, {
    id: uuid7(wallMs, chance.random),
    at,
    actor: "agent",
    action: "store.opened_late",
    target: `node/${nodeId}`,
    because: `since ${new Date(since.wallMs).toISOString()} decisions were made and not recorded: ${since.because}`,
    outcome: AuditOutcome.SUCCESS,
    took: durationFromMs(Math.max(0, Math.round(wallMs - since.wallMs))),
    beforeJson: JSON.stringify({ recording: false }),
    afterJson: JSON.stringify({ recording: true }),
    nodeId,
  });
  try {
    await store.appendAudit([record]);
    for (const incident of await store.incidents(incidentsMax, true)) {
      if (incident.workload === "") continue;
      await store.saveStep({ workload: incident.workload, incident: ended(incident, at) }, "batched");
    }
  } catch {
    // The store says itself that it is in trouble.
  }
}

function ended(incident: Incident, at: Timestamp): Incident {
  const because = "the agent that knew of it ended, and the next one started without its memory";
  const entry = { $typeName: "blueflame.link.v1.TimelineEntry", what: "closed", because, decisionId: "", at } as const;
  return {
    ...incident,
    revision: incident.revision + 1n,
    state: IncidentState.CLOSED,
    needsPerson: false,
    closedAt: at,
    timeline: [...incident.timeline, entry],
  };
}
