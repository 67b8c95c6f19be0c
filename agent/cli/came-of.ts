/** What came of a person's start, restart or stop. Pure. */
import { WorkloadPhase, type WorkloadStatus } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";
import { timestampMs } from "@bufbuild/protobuf/wkt";

/** What a person can ask of a workload. */
export type Verb = "start" | "stop" | "restart";

/** Still on its way, done, or not to be waited for any more. */
export type CameOf = "waits" | "done" | "failed";

/** `before` is the workload when it was asked for; what is completed has done its work. */
export function cameOf(verb: Verb, before: WorkloadStatus, now: WorkloadStatus): CameOf {
  const { phase } = now;
  if (verb === "stop") return phase === WorkloadPhase.STOPPED || phase === WorkloadPhase.COMPLETED ? "done" : "waits";
  switch (phase) {
    case WorkloadPhase.RUNNING:
      // The one that is to be replaced runs until it is told.
      return verb === "restart" && isSame(before, now) ? "waits" : "done";
    case WorkloadPhase.COMPLETED:
      return "done";
    // Stopped by somebody else, or it has failed and waits for its next start, or for a remedy.
    case WorkloadPhase.STOPPED:
    case WorkloadPhase.BACKOFF:
    case WorkloadPhase.MENDING:
      return "failed";
    default:
      return "waits";
  }
}

function isSame(before: WorkloadStatus, now: WorkloadStatus): boolean {
  const startedMs = ({ startedAt }: WorkloadStatus) => startedAt && timestampMs(startedAt);
  return before.pid === now.pid && startedMs(before) === startedMs(now);
}
