/** Incidents and workloads in the few words that node and hub show of them. Pure. */
import { type Incident, IncidentState, Rung } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { WorkloadStatus } from "@blueflame/shared/gen/blueflame/link/v1/workload_pb.ts";

/** `config change (0.75)`, with the workload where it began when that is another one; empty before the first diagnosis. */
export function causeWords({ diagnosis }: Pick<Incident, "diagnosis">): string {
  return diagnosis ? causeOf(diagnosis.cause, diagnosis.confidence, diagnosis.root) : "";
}

/** The remedy at work, else how the last one ended: `config rollback at work`, `quick restart failed`; empty when none was tried. */
export function remedyWords({ attempts, state }: Pick<Incident, "attempts" | "state">): string {
  const last = attempts.at(-1);
  if (!last) return "";
  const { rung, playbook, ok } = last;
  const name = rung === Rung.UNSPECIFIED ? playbook : spaced(Rung[rung] ?? `rung ${rung}`);
  if (ok !== undefined) return `${name} ${ok ? "worked" : "failed"}`;
  return state === IncidentState.CLOSED ? `${name} was called off` : `${name} at work`;
}

/** What is special about a workload now: what is at work on it and why, safe mode, an older config. */
export function workloadMarks(one: WorkloadStatus): string[] {
  const { atWork, cause, confidence, safeMode, rolledBack } = one;
  return [
    atWork && `${spaced(atWork)} at work`,
    cause && causeOf(cause, confidence, ""),
    safeMode && "SAFE MODE",
    rolledBack && "rolled back",
  ].filter((mark) => typeof mark === "string" && mark !== "") as string[];
}

function causeOf(cause: string, confidence: number, root: string): string {
  return `${spaced(cause)} (${confidence.toFixed(2)}${root ? `, began in ${root}` : ""})`;
}

/** Stable words as people read them; names of playbooks stay as they are. */
function spaced(word: string): string {
  return word.toLowerCase().replaceAll("_", " ");
}
