// What of the operator service's JSON `npm start` reads. Fields that are empty are absent, as proto's JSON has it.

export interface NodeJson {
  readonly id: string;
  readonly level?: string;
  readonly presence?: string;
  readonly because?: string;
  readonly workloads?: readonly WorkloadJson[];
}

export interface WorkloadJson {
  readonly name: string;
  readonly phase?: string;
  readonly health?: string;
  readonly pid?: number;
  readonly startedAt?: string;
}

export interface IncidentJson {
  readonly id: string;
  readonly nodeId?: string;
  readonly workload?: string;
  readonly state?: string;
  readonly detectedAt?: string;
  readonly recoveredAt?: string;
  readonly timeToRecover?: string;
  readonly timeline?: readonly { readonly at?: string; readonly what?: string; readonly because?: string }[];
}

export interface ListNodesResponseJson {
  readonly nodes?: NodeJson[];
}

export interface ListIncidentsResponseJson {
  readonly incidents?: IncidentJson[];
}

/** The workload of that name on a node. */
export const workloadOf = (node: NodeJson | undefined, name: string): WorkloadJson | undefined =>
  node?.workloads?.find((one) => one.name === name);

/** Up and past its start. */
export const isRunning = (workload: WorkloadJson | undefined): boolean =>
  workload?.phase === "WORKLOAD_PHASE_RUNNING" && (workload.pid ?? 0) > 0;
