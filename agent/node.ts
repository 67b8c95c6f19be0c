import type { AuditRecord, DecisionRecord, Incident } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { WorkloadStatus } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import type {
  ConfigVersion,
  GetHealthResponse,
  GetStatusResponse,
  PlaybookInfo,
  RunPlaybookResponse,
  TriggerInfo,
} from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import type { AuditPage } from "./store/ports.ts";
import type { Page } from "./store/rows.ts";

import type { Forgotten, WorkloadSpace } from "./store/workload-spaces.ts";

/**
 * The running node, as its doors see it: the local API, the uplink and the command line's server side. Implemented by
 * `loop.ts`. Every method may be called at any time between start and close.
 */
export interface Node {
  status(): GetStatusResponse;
  /** Throws WORKLOAD_UNKNOWN, and CONDITION_FALSE while the kill switch is on: it then starts when that is turned off. */
  startWorkload(name: string, person: string): Promise<WorkloadStatus>;
  /** Durable on return; resolves when the workload's family is gone. Throws WORKLOAD_UNKNOWN. */
  stopWorkload(name: string, person: string): Promise<WorkloadStatus>;
  /** Throws WORKLOAD_UNKNOWN, WORKLOAD_STOPPED, and CONDITION_FALSE while the kill switch is on. */
  restartWorkload(name: string, who: string): Promise<WorkloadStatus>;
  /** Stops all workloads in reverse order of dependency; resolves with their number. The caller then ends the process. */
  down(person: string): Promise<number>;

  /** A workload beats. `token` is what it was handed at its start; throws DENIED for an unknown one. Returns its timeout. */
  beat(token: string, ready: boolean, status: string): { nextWithinMs: number };
  /** What the workload that holds the token keeps. Throws DENIED, STORE_WRITE_FAILED while the store cannot be opened. */
  state(token: string): WorkloadSpace;
  /** For people: by name. Throws NOT_FOUND for a name that no workload has or had. */
  stateOf(workload: string): WorkloadSpace;
  /** Of all workloads that keep something or are guarded, by name. */
  stateNames(): string[];
  /** A person gives up what a workload kept that is no longer guarded. Rejects with BAD_REQUEST, NOT_FOUND, RISK_LOCKED. */
  forgetState(workload: string, person: string, reason: string): Promise<Forgotten>;

  /** Newest first. */
  incidents(page: Page, openOnly: boolean): Promise<Incident[]>;
  audit(page: Page): Promise<AuditRecord[]>;
  /** See AgentStore.readAudit. */
  readAudit(after: string): Promise<AuditPage>;
  decisions(page: Page): Promise<DecisionRecord[]>;

  /** By name. */
  triggers(): TriggerInfo[];
  playbooks(): PlaybookInfo[];
  /** `workload` empty: on the node. Throws NOT_FOUND, WORKLOAD_UNKNOWN, DENIED (authority), LIMIT_REACHED (another one is at work). */
  runPlaybook(name: string, workload: string, dryRun: boolean, person: string): Promise<RunPlaybookResponse>;
  health(): Promise<GetHealthResponse>;
  /** Every config that this node was given, newest first. */
  configVersions(): ConfigVersion[];
  /** What one of them held; `version` may be cut. Throws NOT_FOUND, STORE_DAMAGED, STORE_WRITE_FAILED. */
  configText(version: string): Promise<string>;
  /** Durable on return; returns how many workloads were stopped or started. Throws STORE_WRITE_FAILED. */
  setKillSwitch(on: boolean, person: string, reason: string): Promise<number>;
  /** Changes a key of the sealed store; `escrowPem` instead entrusts it to one more holder. Durable on return; the new key's id. */
  changeStoreKey(which: "data" | "kek", escrowPem: string, person: string): Promise<string>;
  /** Requests that a workload's server has finished. Throws DENIED for an unknown token, LIMIT_REACHED above 100 calls a second. */
  report(token: string, requests: readonly FinishedRequest[]): void;
}

/** One request, as whoever served it reports it. */
export interface FinishedRequest {
  readonly latencyMs: number;
  readonly ok: boolean;
  readonly timedOut: boolean;
}
