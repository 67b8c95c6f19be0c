import type { Moment } from "@blueflame/shared/time/clock.ts";
import { inTime } from "../remedies/patience.driver.ts";
import { closing, withoutIncident } from "./moves.ts";
import type { SupervisorParts } from "./parts.ts";
import { incidentOf } from "./report.ts";
import type { State } from "./state.ts";

const because = "it is no longer in the config";
/** A disk that has not answered by then holds up no start of the others, as with every other step. */
const actAfterMs = 500;

/** A workload that is in no config any more. */
export interface Removed {
  readonly name: string;
  /** As the store remembers it; absent: not at all. */
  readonly state: State | undefined;
  /** Something of its family lives. */
  readonly lives: boolean;
}

/**
 * What runs of it is ended and then forgotten, and its incident is closed: nobody recovers it any more. What refuses to end, and what
 * the disk refuses, is tried again at the next start of the agent. Never rejects, and waits for no disk.
 */
export async function dismiss(parts: SupervisorParts, { name, state, lives }: Removed, now: Moment): Promise<void> {
  const { processes, store, log } = parts;
  const cleaned = lives ? await processes.clean({ name, clean: { files: [], sockets: [], ports: [] } }) : undefined;
  if (cleaned && !cleaned.ok) return log("error", { workload: name }, cleaned.because);
  if (cleaned) log("info", { workload: name }, `${because} and was ended`);
  const written = async () => {
    if (state?.incident) await closeIncident(parts, name, state, now);
    if (lives) await store.forgetWorkload(name);
  };
  // Of what the disk refuses the store says itself that it is in trouble.
  await inTime(parts.clock, actAfterMs, written());
}

async function closeIncident(parts: SupervisorParts, name: string, before: State, now: Moment): Promise<void> {
  const { nodeId, site, store, stageAlerts, incident, log } = parts;
  // Should it come back into a config, it starts anew: nothing that it was in the middle of is gone on with.
  const state: State = { ...withoutIncident(before), phase: { at: "stopped" }, attempt: 0, recentMs: [], because };
  for (const effect of closing({ ...before, because }, now)) {
    if (effect.do !== "incident") continue;
    const { facts } = effect;
    const untold = stageAlerts?.(name, before.incident, [facts]);
    const write = { workload: name, state, incident: incidentOf(facts, nodeId, site, name) };
    await store.saveStep({ ...write, ...(untold !== undefined && { untold }) }, "synced");
    log("info", { workload: name, incident: facts.id }, `${because}: its incident is closed`);
    incident?.(name, facts, state);
  }
}
