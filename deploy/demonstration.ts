import type { Hub } from "./fleet.ts";
import type { IncidentJson, WorkloadJson } from "./fleet-json.ts";
import { isRunning, workloadOf } from "./fleet-json.ts";
import type { Story } from "./follow.ts";
import { processesOf, signalIfThere } from "./running.ts";

const giveUpAfterMs = 30_000;

/** The workload that is going to be killed. */
export interface Victim {
  readonly name: string;
  readonly pid: number;
  readonly node: string;
  /** The installation it must belong to: a PID that somebody else got meanwhile is not touched. */
  readonly dir: string;
}

/**
 * Kills the workload once, in front of the reader, and tells how it comes back. Resolves with the new PID; undefined when it
 * was not there to be killed or did not come back in 30 s.
 */
export async function demonstrate(
  hub: Hub,
  story: Story,
  victim: Victim,
  say: (line: string) => void,
  rest: (ms: number) => Promise<void>,
): Promise<number | undefined> {
  if (!processesOf(victim.dir).includes(victim.pid)) return undefined;
  say(`Nobody has killed anything yet, so this program does it once: kill -9 ${victim.pid}`);
  const killedAtMs = Date.now();
  const began = performance.now();
  signalIfThere(victim.pid, "SIGKILL");
  while (performance.now() - began < giveUpAfterMs) {
    await rest(100);
    const [nodes, incidents] = [await hub.nodes(), await hub.incidents()];
    for (const line of story.incidents(incidents)) say(line);
    const workload = workloadOf(
      nodes.find(({ id }) => id === victim.node),
      victim.name,
    );
    const incident = incidents.find(
      (one) => one.workload === victim.name && Date.parse(one.detectedAt ?? "") >= killedAtMs - 1000,
    );
    if (workload?.pid === undefined || workload.pid === victim.pid || !isRunning(workload)) continue;
    if (incident?.recoveredAt === undefined) continue;
    say(verdict(victim, workload, incident, killedAtMs));
    return workload.pid;
  }
  say(`Not back after ${giveUpAfterMs / 1000} s: look at .blueflame/agent.log.`);
  return undefined;
}

function verdict(victim: Victim, workload: WorkloadJson, incident: IncidentJson, killedAtMs: number): string {
  const sinceKill = (at: string | undefined) => Math.max(0, Date.parse(at ?? "") - killedAtMs);
  const started = sinceKill(workload.startedAt);
  return `Healed: ${victim.name} was started again ${started} ms after the kill as PID ${workload.pid}, and verified healthy ${sinceKill(incident.recoveredAt)} ms after it. \`npx blueflame incidents\` tells why.`;
}
