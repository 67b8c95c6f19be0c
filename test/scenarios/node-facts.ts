/** What the diagnosis and the conditions of playbooks are told of a story's world. */
import type { Facts } from "@blueflame/agent/diagnosis/facts.ts";
import type { Seen } from "@blueflame/agent/remedies/conditions.ts";
import { dependentsOf, needsOf } from "@blueflame/agent/remedies/dependencies.ts";
import { isUp, standsOf } from "@blueflame/agent/supervise/stands.ts";
import type { NodeWorld } from "./node-world.ts";

/** The emergency bootstrap runs by itself once in this time (design.md, section 7, rule 11). */
const bootstrapEveryMs = 3_600_000;

/** As the remedies examine a workload that failed. */
export function factsOf(world: NodeWorld, name: string): Facts {
  const actor = world.actor(name);
  const nowMs = world.clock.monotonicMs();
  const { version, changedAtMs, healthy } = actor.config;
  const healthyVersion = healthy.filter((other) => other !== version).at(-1);
  const advice = world.advice(name);
  const demoted = world.demoted(name);
  const graph = new Map([...world.actors].map(([other, { spec }]) => [other, spec.dependsOn]));
  // As agent/recovery/around.driver.ts tells the diagnosis: one that a playbook is at work beside is well.
  const stands = (other: string) => {
    const { state } = world.actor(other);
    return isUp(state) ? "well" : standsOf(state);
  };
  const waiting = dependentsOf(name, graph).filter((other) => ["down", "recovering"].includes(stands(other)));
  const diskFull = actor.facts.exhausted.some((one) => one.startsWith("the disk of"));
  return {
    ...actor.facts,
    config: {
      version,
      ...(healthy.includes(version) && { wasHealthy: true as const }),
      ...(changedAtMs !== undefined && { changedAgoMs: nowMs - changedAtMs }),
      ...(healthyVersion !== undefined && { healthyVersion }),
    },
    dependencies: needsOf(name, graph).map((need) => ({ name: need, stands: stands(need) })),
    ...(waiting.length > 0 && { dependents: waiting }),
    ...(diskFull && { diskFull }),
    signature: "",
    bootstrapAllowed: mayBootstrap(world),
    ...(advice && { advice }),
    ...(demoted.length > 0 && { demoted }),
  };
}

/** There is one, and it has not run lately. */
export function mayBootstrap({ bootstrapAllowed, bootstrapMs, clock }: NodeWorld): boolean {
  const sinceMs = bootstrapMs === undefined ? Number.POSITIVE_INFINITY : clock.monotonicMs() - bootstrapMs;
  return bootstrapAllowed && sinceMs >= bootstrapEveryMs;
}

/** As a condition is looked at; `workload` empty: about the node. */
export function sightOf(world: NodeWorld, workload: string, failedBefore: boolean): Seen {
  const actor = workload === "" ? undefined : world.actor(workload);
  return {
    workload,
    alive: actor?.instance !== undefined,
    well: actor?.state.phase.at === "running",
    of: workload === "" ? {} : world.senses.figuresOf(workload),
    node: world.node,
    has: {
      safe_mode: actor?.spec.safeMode !== undefined,
      data: actor?.facts.backup !== undefined,
      artifacts: (actor?.spec.artifacts.length ?? 0) > 0,
      dependencies: (actor?.spec.dependsOn.length ?? 0) > 0,
      healthy_config: actor?.config.healthy.some((version) => version !== actor.config.version) ?? false,
    },
    failedBefore,
  };
}
