import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inRoot } from "../../deploy/root.ts";
import { run } from "../../deploy/running.ts";
import { HubRig } from "../prove/hub-rig.ts";
import { AgentRig, type WorkloadConfig } from "../prove/rig.ts";

export const nodeId = "edge-1";

/** The default figures, thirty times as fast: YELLOW after 1 s of silence, ORANGE after 2 s. */
export const quick = { heartbeat_interval: "500ms", late: "100%" };

/** Stable again soon: tests do not wait ten seconds between two faults. */
const pace = { backoff: { reset_after: "300ms" }, starts: { max: 1000, within: "60s" }, probation: "1s" };

/** A workload that does nothing, for as long as it is let. */
export const idle = (name: string): WorkloadConfig => ({
  ...pace,
  name,
  command: ["/bin/sh", "-c", `echo $$ ${name}; while :; do sleep 1; done`],
});

/** A hub process and an agent process that speak mutual TLS. Whoever opened it closes it, also after a failure. */
export interface Fleet {
  readonly hub: HubRig;
  readonly agent: AgentRig;
  /** Runs a built program to its end. */
  cli(program: string, ...args: string[]): ReturnType<typeof run>;
  close(): Promise<void>;
}

export interface FleetOptions {
  /** The hub config's section. */
  readonly escalation?: object;
  readonly workloads?: readonly WorkloadConfig[];
  /** The hub may resurrect the agent, as `npm start` has it. */
  readonly respawns?: boolean;
}

/** Both are started, and nothing is waited for but that both answer. */
export async function openFleet(options: FleetOptions = {}): Promise<Fleet> {
  const dir = mkdtempSync(join(tmpdir(), "bf-fleet-"));
  const hub = await HubRig.open(dir, {});
  const section = await hub.section(nodeId);
  const agent = new AgentRig({ node: { id: nodeId }, hub: section, workloads: options.workloads ?? [idle("engine")] });
  const fleet: Fleet = {
    hub,
    agent,
    cli: (program, ...args) => run([process.execPath, inRoot("dist", program), ...args], 60_000, dir),
    async close() {
      await hub.kill(); // first: it must not resurrect what is being ended
      await agent.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
  try {
    const respawns = options.respawns ? [respawn(agent)] : [];
    hub.configure({ ...(options.escalation && { escalation: options.escalation }), respawns });
    await hub.start();
    await agent.start();
    return fleet;
  } catch (error) {
    await fleet.close();
    throw error;
  }
}

/** How `npm start` lets the hub resurrect its agent. */
function respawn(agent: AgentRig): object {
  const status = agent.command("status");
  const up = agent.command("up", "--config", join(agent.dir, "agent.yaml"));
  const detach = [process.execPath, inRoot("deploy", "detach.ts"), join(agent.dir, "agent.log")];
  return {
    node: nodeId,
    probe: { command: status, timeout: "1s" },
    exec: { command: [...detach, ...status, "--", ...up], timeout: "15s" },
  };
}
