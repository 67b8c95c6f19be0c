import type {
  GetHealthResponse,
  PlaybookInfo,
  RunPlaybookResponse,
  TriggerInfo,
} from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import type { FinishedRequest } from "./node.ts";

/** What the node's recovery tells and takes; `loop.ts` hands it to the doors. */
export interface RecoveryDesk {
  triggers(): TriggerInfo[];
  playbooks(): PlaybookInfo[];
  /** Throws NOT_FOUND, WORKLOAD_UNKNOWN, BAD_REQUEST (it is for a workload, and none is named), DENIED, LIMIT_REACHED. */
  runPlaybook(name: string, workload: string, dryRun: boolean, person: string): Promise<RunPlaybookResponse>;
  health(): Promise<GetHealthResponse>;
  /** Undefined before the first computation; `value` is from 0 to 1. */
  meta(): { readonly value: number; readonly status: string } | undefined;
  killSwitch(): boolean;
  /** Durable on return. */
  setKillSwitch(on: boolean, person: string, reason: string): Promise<number>;
  report(workload: string, requests: readonly FinishedRequest[]): void;
}
