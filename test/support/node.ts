import { createHash } from "node:crypto";
import type { FinishedRequest, Node } from "@blueflame/agent/node.ts";
import { fitting } from "@blueflame/agent/store/rows.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import {
  AuditOutcome,
  type AuditRecord,
  AuditRecordSchema,
  type DecisionRecord,
  DecisionRecordSchema,
  type Incident,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { NodeHealth } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import {
  WorkloadHealth,
  WorkloadPhase,
  type WorkloadStatus,
  WorkloadStatusSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import {
  type ConfigVersion,
  type GetHealthResponse,
  GetHealthResponseSchema,
  GetStatusResponseSchema,
  LinkState,
  type PlaybookInfo,
  RunPlaybookResponseSchema,
  type TriggerInfo,
} from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { create, toBinary } from "@bufbuild/protobuf";
import { MemorySpace } from "./memory-space.ts";

/** A workload of the {@link memoryNode}, and what it has done. */
export interface MemoryWorkload {
  readonly name: string;
  readonly token: string;
  phase: WorkloadPhase;
  pid: number;
  restarts: number;
  /** Shown as the reason while it runs, as the real node shows a beat's status. */
  says: string;
  readonly beats: { ready: boolean; status: string }[];
  readonly requests: FinishedRequest[];
  readonly state: MemorySpace;
}

/** What a test may set and look at. */
export interface MemoryNode extends Node {
  readonly workloads: Map<string, MemoryWorkload>;
  readonly actions: AuditRecord[];
  incidentList: Incident[];
  decisionList: DecisionRecord[];
  triggerList: TriggerInfo[];
  configList: ConfigVersion[];
  readonly configTexts: Map<string, string>;
  playbookList: PlaybookInfo[];
  healthReport: GetHealthResponse;
  /** Shown in the status. */
  warnings: string[];
  dataDir: string;
}

/** For a command that a test starts itself although it serves the socket: it would count as started by the agent. */
export const asPerson = () => ({ is: "person", pid: 0 }) as const;

/** A node that behaves like the real one towards its doors, and forgets everything when the test ends. */
export function memoryNode(names: readonly string[]): MemoryNode {
  const workloads = new Map<string, MemoryWorkload>();
  for (const [at, name] of names.entries()) {
    const token = `token-of-${name}`;
    const phase = WorkloadPhase.RUNNING;
    workloads.set(name, {
      name,
      token,
      phase,
      pid: 1000 + at,
      restarts: 0,
      says: "running and ready",
      beats: [],
      requests: [],
      state: new MemorySpace(name),
    });
  }
  const actions: AuditRecord[] = [];
  const named = (name: string): MemoryWorkload => {
    const found = workloads.get(name);
    if (found === undefined) throw new Fault("WORKLOAD_UNKNOWN", `there is no workload '${name}'`);
    return found;
  };
  const holding = (token: string): MemoryWorkload => {
    const found = [...workloads.values()].find((workload) => workload.token === token);
    if (found === undefined) throw new Fault("DENIED", "the token belongs to no workload");
    return found;
  };
  const record = (actor: string, action: string, name: string) => {
    const id = createHash("sha256").update(`${actions.length}`).digest("hex").slice(0, 32);
    const at = { seconds: BigInt(Math.floor(Date.now() / 1000)), nanos: 0 };
    const outcome = AuditOutcome.SUCCESS;
    actions.push(
      create(AuditRecordSchema, { id, at, actor, action, target: `workload/${name}`, because: "asked", outcome }),
    );
  };

  const node: MemoryNode = {
    workloads,
    actions,
    incidentList: [],
    decisionList: [],
    triggerList: [],
    playbookList: [],
    configList: [],
    configTexts: new Map(),
    healthReport: create(GetHealthResponseSchema),
    warnings: [],
    dataDir: "",
    status: () =>
      create(GetStatusResponseSchema, {
        nodeId: "node-under-test",
        version: "0.1.0",
        pid: process.pid,
        startedAt: { seconds: BigInt(Math.floor(Date.now() / 1000)) - 3700n, nanos: 0 },
        incarnation: 1n,
        session: 3n,
        link: LinkState.NONE,
        health: NodeHealth.HEALTHY,
        dataDir: node.dataDir,
        warnings: node.warnings,
        workloads: [...workloads.values()].map(statusOf),
      }),
    configVersions: () => node.configList,
    async configText(version) {
      const text = node.configTexts.get(version);
      if (text === undefined) throw new Fault("NOT_FOUND", `there is no version '${version}' of the config`);
      return text;
    },
    async startWorkload(name, person) {
      const workload = named(name);
      workload.phase = WorkloadPhase.RUNNING;
      record(`person:${person}`, "intent.start", name);
      return statusOf(workload);
    },
    async stopWorkload(name, person) {
      const workload = named(name);
      workload.phase = WorkloadPhase.STOPPED;
      record(`person:${person}`, "intent.stop", name);
      return statusOf(workload);
    },
    async restartWorkload(name, who) {
      const workload = named(name);
      if (workload.phase === WorkloadPhase.STOPPED) throw new Fault("WORKLOAD_STOPPED", `'${name}' is stopped`);
      workload.restarts += 1;
      workload.pid += 1000;
      record(who, "workload.restart", name);
      return statusOf(workload);
    },
    async down(person) {
      const running = [...workloads.values()].filter((workload) => workload.phase !== WorkloadPhase.STOPPED);
      for (const workload of running) workload.phase = WorkloadPhase.STOPPED;
      record(`person:${person}`, "agent.down", "*");
      return running.length;
    },
    beat(token, ready, status) {
      const workload = holding(token);
      workload.beats.push({ ready, status });
      if (status !== "") workload.says = status;
      return { nextWithinMs: 3000 };
    },
    state: (token) => holding(token).state,
    stateOf(name) {
      const found = workloads.get(name);
      if (found === undefined) throw new Fault("NOT_FOUND", `no workload '${name}' keeps anything here`);
      return found.state;
    },
    forgetState: async (name) => {
      throw new Fault("BAD_REQUEST", `'${name}' is guarded here`);
    },
    stateNames: () => [...workloads.keys()].sort(),
    incidents: async ({ limit, skip = 0 }, openOnly) =>
      node.incidentList.filter((incident) => !openOnly || incident.closedAt === undefined).slice(skip, skip + limit),
    audit: async ({ limit, skip = 0 }) => actions.toReversed().slice(skip, skip + limit),
    readAudit: async () => ({ records: [...actions], next: "" }),
    decisions: async ({ limit, skip = 0, bytesMax = Number.POSITIVE_INFINITY }) => {
      const fits = fitting(bytesMax);
      const found = node.decisionList.slice(skip, skip + limit);
      const end = found.findIndex((one) => !fits(toBinary(DecisionRecordSchema, one)));
      return end < 0 ? found : found.slice(0, end);
    },
    triggers: () => node.triggerList,
    playbooks: () => node.playbookList,
    async runPlaybook(name, workload, dryRun, person) {
      const playbook = node.playbookList.find((one) => one.name === name);
      if (playbook === undefined) throw new Fault("NOT_FOUND", `there is no playbook '${name}'`);
      if (!dryRun) record(`person:${person}`, `playbook.${name}`, workload || "*");
      const outcome = dryRun ? "would" : "done";
      return create(RunPlaybookResponseSchema, {
        ok: true,
        steps: playbook.steps.map((step) => ({ step, outcome, because: "" })),
      });
    },
    health: async () => node.healthReport,
    async setKillSwitch(on, person, reason) {
      record(`person:${person}`, on ? "kill-switch.on" : "kill-switch.off", reason);
      for (const workload of workloads.values()) workload.phase = on ? WorkloadPhase.STOPPED : WorkloadPhase.RUNNING;
      return workloads.size;
    },
    async changeStoreKey(which, escrowPem, person) {
      record(`person:${person}`, escrowPem === "" ? `store.rotate_${which}` : "store.entrust", "node");
      return "2";
    },
    report(token, requests) {
      holding(token).requests.push(...requests);
    },
  };
  return node;
}

function statusOf(workload: MemoryWorkload): WorkloadStatus {
  const running = workload.phase === WorkloadPhase.RUNNING;
  return create(WorkloadStatusSchema, {
    name: workload.name,
    phase: workload.phase,
    health: running ? WorkloadHealth.HEALTHY : WorkloadHealth.UNSPECIFIED,
    pid: running ? workload.pid : 0,
    ...(running ? { startedAt: { seconds: BigInt(Math.floor(Date.now() / 1000)) - 65n, nanos: 0 } } : {}),
    restarts: BigInt(workload.restarts),
    because: running ? workload.says : "stopped by a person",
  });
}
