/** A story's node as one of the example configs has it, read as the agent reads it. */
import { fileURLToPath } from "node:url";
import { readAgentConfig } from "@blueflame/agent/config/config.driver.ts";
import type { AgentConfig } from "@blueflame/agent/config/config.ts";
import { loadPlaybooks } from "@blueflame/agent/playbooks/load.driver.ts";
import type { Playbook } from "@blueflame/agent/playbooks/playbook.ts";
import { DeadDesk } from "@blueflame/agent/recovery/dead.driver.ts";
import { dependencyOrder } from "@blueflame/agent/supervise/order.ts";
import { standsOf } from "@blueflame/agent/supervise/stands.ts";
import type { NodeWorld } from "./node-world.ts";

/** An example config with its playbooks. */
export interface System {
  readonly config: AgentConfig;
  readonly playbooks: ReadonlyMap<string, Playbook>;
}

const examples = fileURLToPath(new URL("../../examples/", import.meta.url));
const known = new Map<string, Promise<System>>();

/** One of the example configs with its playbooks; read once. */
export function systemOf(name: string): Promise<System> {
  const system = known.get(name) ?? read(`${examples}${name}.yaml`);
  known.set(name, system);
  return system;
}

async function read(path: string): Promise<System> {
  const config = readAgentConfig(path, process.env);
  const { playbooks, problems } = await loadPlaybooks(config.playbooks);
  if (problems.length > 0) throw new Error(problems.join("\n"));
  return { config, playbooks };
}

/** Takes over the workloads, triggers, playbooks, jobs, pools and meta-health of a config file. */
export function useSystem(world: NodeWorld, { config, playbooks }: System): void {
  const { senses, triggers } = world;
  for (const spec of config.workloads) world.add(spec);
  triggers.all = config.triggers;
  triggers.jobs = config.jobs;
  Object.assign(world.pools, config.pools);
  for (const [name, playbook] of playbooks) world.playbooks.set(name, playbook);
  const { meta } = config;
  if (meta.ports.length + meta.sources.length + meta.coherence.length + meta.controlPlane.length === 0) return;
  senses.metaSpec = meta;
  deadDesk(world, config);
}

/** The real order of a dead node: its promises are settled between two steps of the clock. */
function deadDesk(world: NodeWorld, { meta, jobs }: AgentConfig): void {
  const { senses, triggers, clock } = world;
  const specs = () => [...world.actors.values()].map(({ spec }) => spec);
  const untilWell = (name: string, limitMs: number): Promise<boolean> =>
    new Promise((resolve) => {
      const look = (leftMs: number): void => {
        const well = standsOf(world.actor(name).state) === "well";
        if (well || leftMs <= 0) resolve(well);
        else world.later(200, () => look(leftMs - 200));
      };
      look(limitMs);
    });
  const fresh = () =>
    new DeadDesk({
      meta,
      jobs,
      clock,
      order: () => dependencyOrder(specs()),
      state: (name) => world.actor(name).state,
      post: (name, event) => world.tell(name, event),
      untilWell,
      late: () => senses.lateJobs,
      trigger: (job) => {
        triggers.trigger(job);
        return { started: true };
      },
      audit: (action, target, because) => world.see({ is: "node", what: `${action} ${target}`, because }),
    });
  let [desk, bornIn] = [fresh(), world.lives];
  let told = "GREEN";
  world.onMeta = () => {
    const now = senses.meta;
    if (!now) return;
    if (now.status !== told)
      world.see({ is: "node", what: `meta-health ${told} -> ${now.status}`, because: now.because[0] ?? "all is well" });
    told = now.status;
    if (bornIn !== world.lives) [desk, bornIn] = [fresh(), world.lives];
    if (!world.killSwitch) desk.computed(now);
  };
}
