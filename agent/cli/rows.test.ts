import { IncidentSchema, IncidentState, Rung } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { NodeHealth } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import {
  WorkloadHealth,
  WorkloadPhase,
  WorkloadStatusSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import {
  type GetStatusResponse,
  GetStatusResponseSchema,
  LinkState,
} from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { allWell, incidentFacts, limitLines, nodeLines, nodeTone, workloadColumns } from "./rows.ts";

const nowMs = Date.UTC(2026, 10, 25, 12);
const up = { phase: WorkloadPhase.RUNNING, health: WorkloadHealth.HEALTHY, pid: 7 };

function status(more: MessageInitShape<typeof GetStatusResponseSchema>): GetStatusResponse {
  return create(GetStatusResponseSchema, {
    nodeId: "edge-1",
    version: "0.1.0",
    pid: 4_194_304,
    startedAt: timestampFromMs(nowMs - 99 * 3_600_000),
    link: LinkState.NONE,
    health: NodeHealth.HEALTHY,
    metaStatus: "DEGRADED",
    metaHealth: 0.8,
    outboxDepth: 1800n,
    workloads: [
      { name: "web", ...up },
      { name: "db", ...up },
    ],
    ...more,
  });
}

test("DOL-2 the node is two lines within 80 columns, with its meta-health; without a hub nobody waits for records", () => {
  const lines = nodeLines(status({}), nowMs);
  expect(lines).toEqual([
    "edge-1 healthy · 2 workloads, all well · meta-health DEGRADED 0.80",
    "agent 0.1.0, pid 4194304, up 4d3h · no hub",
  ]);
  const connecting = nodeLines(
    status({ link: LinkState.CONNECTING, hub: "10.0.0.1:7443", linkBecause: "away" }),
    nowMs,
  );
  expect(connecting.slice(1)).toEqual([
    "agent 0.1.0, pid 4194304, up 4d3h · connecting to 10.0.0.1:7443, 1800 records wait for it",
    "away",
  ]);
  expect(nodeLines(status({ metaStatus: "", metaHealth: -1 }), nowMs)[0]).toBe(
    "edge-1 healthy · 2 workloads, all well",
  );
});

test("what is on its way up is not called unwell, but not all is well before it is there", () => {
  const coming = status({
    workloads: [
      { name: "web", ...up },
      { name: "db", phase: WorkloadPhase.STARTING },
    ],
  });
  expect(nodeLines(coming, nowMs)[0]).toMatch(/ · 1 of 2 workloads not up yet · /);
  expect(allWell(coming)).toBe(false);
  const sick = { name: "db", phase: WorkloadPhase.STARTING, health: WorkloadHealth.UNHEALTHY };
  expect(nodeLines(status({ workloads: [{ name: "web", ...up }, sick] }), nowMs)[0]).toMatch(
    / 1 of 2 workloads not healthy/,
  );
});

test("GRC-7 a kill switch that is on is the first thing that is said of a node, in red", () => {
  const killed = status({ killSwitch: true, warnings: ["the kill switch is on since noon, by asha"] });
  expect(nodeLines(killed, nowMs)).toEqual([
    "edge-1 THE KILL SWITCH IS ON · 2 workloads, all well",
    "agent 0.1.0, pid 4194304, up 4d3h · no hub",
    "warning: the kill switch is on since noon, by asha",
  ]);
  expect([nodeTone(killed), nodeTone(status({}))]).toEqual(["worst", "good"]);
});

test("a workload says when it was adopted, runs in safe mode or behind its config; each once", () => {
  const why = (more: MessageInitShape<typeof WorkloadStatusSchema>) =>
    workloadColumns(nowMs)
      .find(({ title }) => title === "WHY")
      ?.value(create(WorkloadStatusSchema, more));
  expect(why({ because: "well", adopted: true, safeMode: true, rolledBack: true })).toBe(
    "well (adopted, SAFE MODE, rolled back)",
  );
  expect(why({ because: "adopted pid 9", adopted: true })).toBe("adopted pid 9");
  expect(why({ because: "well", backoffRemaining: { seconds: 2n, nanos: 0 } })).toBe("next start in 2.0s; well");
  const mending = create(WorkloadStatusSchema, { phase: WorkloadPhase.MENDING });
  expect(
    workloadColumns(nowMs)
      .find(({ title }) => title === "PHASE")
      ?.value(mending),
  ).toBe("mending");
});

test("DOL-5 a declared limit says who holds it: status where no cgroup does, health for each with the reason", () => {
  const tasks = { what: "tasks", limit: "4096", how: "cgroup", because: "" };
  const memory = { what: "memory", limit: "512 MiB", how: "watched", because: "no memory controller" };
  const cpu = { what: "cpu", limit: "50 %", how: "told", because: "no cpu controller" };
  const web = create(WorkloadStatusSchema, { name: "web", because: "well", limits: [memory, cpu, tasks] });
  const db = create(WorkloadStatusSchema, { name: "db", because: "well", limits: [tasks] });
  const why = workloadColumns(nowMs).find(({ title }) => title === "WHY");
  expect(why?.value(web)).toBe("well (memory 512 MiB by watching, cpu 50 % only told)");
  expect(why?.value(db)).toBe("well");
  expect(limitLines([db, web])).toEqual([
    "limits of web: memory 512 MiB by watching, cpu 50 % only told, tasks 4096 held by a cgroup (no memory controller; no cpu controller)",
  ]);
});

test("STARTS tells what was started once from what never was; an agent that does not say leaves it open", () => {
  const shown = (more: MessageInitShape<typeof WorkloadStatusSchema>) =>
    workloadColumns(nowMs)
      .find(({ title }) => title === "STARTS")
      ?.value(create(WorkloadStatusSchema, { phase: WorkloadPhase.STOPPED, ...more }));
  expect([shown({ starts: 0n }), shown({ starts: 1n }), shown({ starts: 7n, restarts: 6n })]).toEqual(["0", "1", "7"]);
  expect([shown({}), shown({ restarts: 2n }), shown({ phase: WorkloadPhase.COMPLETED })]).toEqual(["-", "3", "1"]);
});

test("SYN-4 an incident shows its cause and what was tried once they are known, and no empty lines before", () => {
  const facts = (more: MessageInitShape<typeof IncidentSchema>) => {
    const incident = create(IncidentSchema, { id: "i", workload: "web", state: IncidentState.RECOVERING, ...more });
    return incidentFacts(incident, nowMs).map(({ title, value }) => `${title} ${value(incident)}`);
  };
  const more = facts({
    diagnosis: { cause: "config_change", confidence: 0.95, root: "db", evidence: ["its config changed", "it says so"] },
    attempts: [
      { rung: Rung.QUICK_RESTART, ok: false, took: { seconds: 1n, nanos: 0 } },
      { rung: Rung.QUICK_RESTART, ok: false, took: { seconds: 2n, nanos: 0 } },
      { rung: Rung.SAFE_MODE, ok: false, took: { seconds: 1n, nanos: 0 } },
      { rung: Rung.CONFIG_ROLLBACK, ok: true, took: { seconds: 2n, nanos: 0 } },
      { playbook: "restart-service" },
    ],
  }).slice(-2);
  expect(more).toEqual([
    "CAUSE config_change (0.95, began in db): its config changed; it says so",
    "TRIED quick restart failed 2 times, safe mode failed after 1.0s, config rollback worked after 2.0s, restart-service (at work)",
  ]);
  expect(facts({}).some((line) => /^(CAUSE|TRIED)/.test(line))).toBe(false);
});
